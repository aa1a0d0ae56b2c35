"""Stacked training equals training one network at a time with torch's own pieces."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from frivkit.errors import DataError, UsageError
from frivkit_sweep_mlp.data import make_data, truncated
from frivkit_sweep_mlp.protocol import PAPER, REFERENCE
from frivkit_sweep_mlp.stack import Dual, Net, Primal, Stack, draw_start
from frivkit_sweep_mlp.training import accuracy, batches, train

SHORT = {"paper": PAPER.changed(epochs=4), "reference": REFERENCE.changed(epochs=4)}
LIKELY = {"momentum": 0.1, "sgd": 1.0, "adam": 0.01, "rmsprop": 0.1}


def one_at_a_time(stack, net, protocol, data, dtype=torch.float32):
    """Train one network as the published code does: two logits, autograd, textbook rules."""
    start = draw_start(stack, protocol)
    network = nn.Sequential(
        nn.Linear(stack.inputs, stack.units), nn.ReLU(), nn.Linear(stack.units, 2)
    )
    with torch.no_grad():
        for layer, weight in ((network[0], start.hidden[:-1]), (network[2], start.output)):
            layer.weight.copy_(torch.from_numpy(weight.T * np.float32(net.factor)))
            layer.bias.zero_()
    network.to(dtype)
    parts = {
        name: (part.inputs[:, :-1].to(dtype), part.labels.long())
        for name, part in data.parts.items()
    }
    square = 1 if stack.optimiser == "rmsprop" else 0
    state = [{"velocity": 0, "mean": 0, "square": square} for _ in network.parameters()]
    x, y = parts["train"]
    limit = 128 * (stack.examples // 128) if protocol.spared else stack.examples
    best, kept, steps = -1.0, None, 0

    def look():
        nonlocal best, kept
        inputs, labels = parts["validation"]
        reached = (network(inputs[:limit]).argmax(1) == labels[:limit]).double().mean().item()
        if reached > best:
            best, kept = reached, [p.detach().clone() for p in network.parameters()]

    for epoch, rows_of_batches in enumerate(batches(stack.examples, protocol, stack.seed)):
        if protocol.ahead:
            look()
        falling = net.rate * protocol.decay**epoch
        constant = (protocol.adam if stack.optimiser == "adam" else 0) or net.rate
        for rows in rows_of_batches:
            network.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            steps += 1
            with torch.no_grad():
                for p, s in zip(network.parameters(), state, strict=True):
                    step(p, s, stack.optimiser, falling, constant, steps)
        if not protocol.ahead:
            look()
    with torch.no_grad():
        for p, weight in zip(network.parameters(), kept, strict=True):
            p.copy_(weight)
    return network


def step(p, s, optimiser, falling, constant, steps):  # noqa: PLR0917  # a rule by the book
    g = p.grad
    match optimiser:
        case "sgd":
            p -= falling * g
        case "momentum":
            s["velocity"] = 0.9 * s["velocity"] + g
            p -= falling * s["velocity"]
        case "adam":
            s["mean"] = 0.9 * s["mean"] + 0.1 * g
            s["square"] = 0.999 * s["square"] + 0.001 * g * g
            corrected = constant * math.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
            p -= corrected * s["mean"] / (s["square"].sqrt() + 1e-8)
        case "rmsprop":
            s["square"] = 0.9 * s["square"] + 0.1 * g * g
            p -= constant / 10 * g / (s["square"] + 1e-10).sqrt()


@pytest.mark.parametrize("optimiser", LIKELY)
@pytest.mark.parametrize("inputs", [10, 600])
@pytest.mark.parametrize("kind", SHORT)
def test_each_network_of_a_stack_is_what_it_would_be_alone(kind, inputs, optimiser):
    rate = LIKELY[optimiser]
    nets = tuple(Net(r, f) for r in (rate, rate / 10) for f in (1.0, 100.0))
    stack = Stack(inputs, 300, optimiser, 0.25, 3, nets)
    data = make_data(inputs, 300, 3, 0.0)
    networks = train(stack, SHORT[kind], data)
    assert isinstance(networks.first, Dual) == (inputs > 300 and optimiser in {"momentum", "sgd"})
    x = data.parts["test"].inputs
    together = networks.margins(networks.hidden("test", slice(None)))
    for i, net in enumerate(nets):
        alone = one_at_a_time(stack, net, SHORT[kind], data)
        logits = alone(x[:, :-1]).detach()
        margin = logits[:, 1] - logits[:, 0]
        torch.testing.assert_close(together[:, i], margin, rtol=1e-3, atol=1e-3 * margin.std())
        expected = [p.detach() for p in alone.parameters()]
        for found, weight in zip(networks.weights(i), expected, strict=True):
            scale = float(weight.abs().max())
            torch.testing.assert_close(found, weight, rtol=1e-3, atol=2e-4 * scale + 1e-7)


def test_another_rate_gives_another_network():
    """The comparison above could tell them apart."""
    stack = Stack(10, 300, "momentum", 0.25, 3, (Net(0.1, 1.0), Net(0.09, 1.0)))
    data = make_data(10, 300, 3, 0.0)
    networks = train(stack, SHORT["paper"], data)
    first, second = networks.margins(networks.hidden("test", slice(None))).t()
    assert not torch.allclose(first, second, rtol=1e-2, atol=float(1e-2 * first.std()))


@pytest.mark.parametrize("optimiser", ["momentum", "sgd"])
def test_coefficients_and_weights_train_alike(optimiser, monkeypatch):
    stack = Stack(500, 300, optimiser, 0.5, 0, (Net(0.1, 1.0), Net(0.1, 100.0)))
    data = make_data(500, 300, 0, 0.0)
    dual = train(stack, SHORT["reference"], data)
    monkeypatch.setattr("frivkit_sweep_mlp.stack.Dual", Primal)
    primal = train(stack, SHORT["reference"], data)
    assert isinstance(dual.first, Dual)
    assert isinstance(primal.first, Primal)
    for net in range(2):
        wanted, found = primal.first.weight(net), dual.first.weight(net)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=float(1e-4 * wanted.abs().max()))


def test_network_that_overflows_meets_no_label_and_harms_no_other():
    nets = (Net(1e30, 1.0), Net(0.1, 1.0))
    data = make_data(10, 300, 0, 0.0)
    last = SHORT["reference"].changed(best=False)
    pair = train(Stack(10, 300, "sgd", 0.25, 0, nets), last, data)
    alone = train(Stack(10, 300, "sgd", 0.25, 0, nets[1:]), last, data)
    wild, tame = accuracy(pair, "test", data.parts["test"]).tolist()
    assert wild == 0.0
    assert [tame] == accuracy(alone, "test", data.parts["test"]).tolist()


def test_best_weights_are_kept():
    stack = Stack(10, 300, "momentum", 0.25, 0, (Net(1.0, 1.0), Net(1.0, 1e4)))
    data = make_data(10, 300, 0, 0.0)
    long = PAPER.changed(epochs=30)
    reached = [
        accuracy(train(stack, p, data), "validation", data.parts["validation"])
        for p in (long, long.changed(best=False))
    ]
    assert (reached[0] >= reached[1]).all()
    assert (reached[0] > reached[1]).any()


class TestBatches:
    def test_reference_reads_seven_batches_and_trains_on_six(self):
        epochs = list(batches(1000, REFERENCE, 0))
        assert len(epochs) == 50
        assert {len(epoch) for epoch in epochs} == {6}
        assert {len(rows) for epoch in epochs for rows in epoch} == {128}
        assert epochs[0][0].tolist() == list(range(128, 256))
        assert epochs[1][0][0] == 8 * 128 - 1000  # the examples begin again within a batch
        assert epochs[1][-1][-1] == 14 * 128 - 1 - 1000

    def test_paper_sees_every_example_once_in_an_order_of_its_own(self):
        first, second, *_ = batches(1000, PAPER, 0)
        for epoch in (first, second):
            assert sorted(torch.cat(epoch).tolist()) == list(range(1000))
        assert torch.cat(first).tolist() != torch.cat(second).tolist()

    def test_too_few_examples_for_a_step_are_refused(self):
        with pytest.raises(UsageError, match=r"200 examples are 1 batch.* give more examples"):
            next(batches(200, REFERENCE, 0))
        assert len(next(batches(200, PAPER, 0))) == 2


class TestData:
    def test_balance_is_kept(self):
        shares = [make_data(100, 500, seed, 0.4).share for seed in range(6)]
        assert all(0.4 <= share <= 0.6 for share in shares)
        assert not all(0.4 <= make_data(100, 500, seed, 0.0).share <= 0.6 for seed in range(6))

    def test_parts_are_labelled_by_one_teacher_and_share_no_example(self):
        data = make_data(10, 200, 0, 0.0)
        sizes = {name: len(part.labels) for name, part in data.parts.items()}
        assert sizes == {"train": 200, "validation": 200, "test": 1000}
        whole = torch.cat([part.inputs for part in data.parts.values()])
        assert len(whole.unique(dim=0)) == 1400

    def test_impossible_balance_is_refused(self):
        with pytest.raises(DataError, match="ask for less balance"):
            make_data(10, 3, 0, 0.4)

    def test_truncated_normal_has_the_spread_of_tensorflow(self):
        drawn = truncated(np.random.default_rng(0), (100_000,), 0.5)
        assert np.abs(drawn).max() <= 1.0
        assert drawn.std() == pytest.approx(0.5 * 0.8796, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balanse": 0.4}, "no field of a protocol is named 'balanse'; did you mean balance"),
        ({"epochs": 0}, "epochs is 0; it must be 1 or more"),
        ({"epochs": 1.5}, "epochs is 1.5; write a value such as"),
        ({"shuffled": 1}, "shuffled is 1"),
        ({"measures": "mine"}, "measures is 'mine'; it must be paper or reference"),
    ],
)
def test_protocol_refuses_what_means_nothing(changes, message):
    with pytest.raises(UsageError, match=message):
        REFERENCE.changed(**changes)
