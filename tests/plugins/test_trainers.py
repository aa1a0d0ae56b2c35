from itertools import chain

import numpy as np
import pytest
import torch
from torch import nn

from frivkit.data import open_data
from frivkit.errors import UsageError
from frivkit.experiments.train import TrainingError, accuracy
from frivkit.progress import Silent
from frivkit_papernets.mlp import MlpOptions, mlp
from frivkit_trainers import loaders
from frivkit_trainers.loaders import ShuffledLoader
from frivkit_trainers.sgd import SgdOptions, sgd


@pytest.fixture
def numbered(tmp_path):
    """Return 11 examples of which each holds its own number, in x and in y."""
    np.savez(tmp_path / "n.npz", x=np.arange(11.0).reshape(11, 1), y=np.arange(11))
    return open_data(f"npz:{tmp_path / 'n.npz'}", None)


def epoch(source: ShuffledLoader) -> list[list[int]]:
    batches = []
    for inputs, labels in source.epoch():
        assert inputs[:, 0].tolist() == labels.tolist()
        batches.append(labels.tolist())
    return batches


@pytest.mark.parametrize("held", [2**30, 0])
def test_an_epoch_gives_every_example_once_in_an_order_that_the_seed_decides(
    numbered, monkeypatch, held
):
    monkeypatch.setattr(loaders, "IN_MEMORY", held)
    source = ShuffledLoader(numbered, 4, seed=0)
    first, second = epoch(source), epoch(source)
    assert sorted(chain(*first)) == list(range(11))
    assert sorted(map(len, first)) == [3, 4, 4]
    again, other = ShuffledLoader(numbered, 4, seed=0), ShuffledLoader(numbered, 4, seed=1)
    assert [epoch(again), epoch(again)] == [first, second]
    assert [epoch(other), epoch(other)] != [first, second]


def test_held_examples_are_mixed_anew_each_epoch(numbered):
    source = ShuffledLoader(numbered, 4, seed=0)
    batches = {frozenset(batch) for _ in range(5) for batch in epoch(source)}
    assert len(batches) == 15


def test_streamed_batches_keep_their_members_and_change_their_order(numbered, monkeypatch):
    monkeypatch.setattr(loaders, "IN_MEMORY", 43)  # one byte less than the 11 numbers take
    source = ShuffledLoader(numbered, 4, seed=0)
    orders = [epoch(source) for _ in range(9)]
    parts = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert all(sorted(order) == parts for order in orders)
    assert len({str(order) for order in orders}) > 1


@pytest.mark.parametrize("held", [2**30, 0])
def test_single_example_left_over_is_skipped(numbered, monkeypatch, held):
    monkeypatch.setattr(loaders, "IN_MEMORY", held)
    assert sorted(map(len, epoch(ShuffledLoader(numbered, 5, seed=0)))) == [5, 5]


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def test_training_follows_momentum_descent_worked_out_in_numpy(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(30, 4)).astype(np.float32)
    y = random.integers(0, 3, 30)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    network = nn.Linear(4, 3)
    weight = network.weight.detach().numpy().astype(float).T.copy()
    bias = network.bias.detach().numpy().astype(float)
    options = SgdOptions(epochs=5, lr=0.3, decay=0.8, momentum=0.7, batch=64, weight_decay=0.1)
    data = open_data(f"npz:{tmp_path / 'd.npz'}", None)
    record = sgd(network, data, None, 0, options, Silent())

    losses, speeds = [], [np.zeros_like(weight), np.zeros_like(bias)]
    for number in range(5):  # one batch holds all, so an epoch is one step
        shares = softmax(x @ weight + bias)
        losses.append(-np.log(shares[np.arange(30), y]).mean())
        error = (shares - np.eye(3)[y]) / 30
        slopes = [x.T @ error + 0.1 * weight, error.sum(axis=0) + 0.1 * bias]
        speeds = [0.7 * speed + slope for speed, slope in zip(speeds, slopes, strict=True)]
        weight -= 0.3 * 0.8**number * speeds[0]
        bias -= 0.3 * 0.8**number * speeds[1]
    np.testing.assert_allclose(record.losses, losses, rtol=1e-5)
    np.testing.assert_allclose(network.weight.detach().numpy().T, weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(network.bias.detach().numpy(), bias, rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def digits():
    return open_data("digits?split=train&n=300", None), open_data("digits?split=test&n=100", None)


def fitted(digits, validation, **settings):
    torch.manual_seed(3)
    network = mlp((1, 8, 8), 10, 0.25, MlpOptions())
    record = sgd(network, digits[0], validation, 3, SgdOptions(**settings), Silent())
    return network, record


def test_validation_data_choose_the_first_best_epoch(digits, tmp_path):
    """Labels that are all off by one are met the less, the more is learnt."""
    batch = digits[0].read(0, 300)
    np.savez(tmp_path / "off.npz", x=batch.inputs["x"], y=(batch.labels + 1) % 10)
    off = open_data(f"npz:{tmp_path / 'off.npz'}", None)
    runs = [fitted(digits, None, epochs=count)[0] for count in range(1, 6)]
    reached = [accuracy(network, off) for network in runs]
    best = int(np.argmax(reached))
    assert reached[best] > reached[-1]
    network, record = fitted(digits, off, epochs=5)
    assert record.validation_accuracy == reached[best]
    for name, weight in runs[best].state_dict().items():
        assert torch.equal(weight, network.state_dict()[name])


def test_no_epochs_leave_the_network_as_it_was_drawn(digits):
    torch.manual_seed(3)
    drawn = mlp((1, 8, 8), 10, 0.25, MlpOptions()).state_dict()
    network, record = fitted(digits, digits[1], epochs=0)
    assert all(torch.equal(drawn[key], value) for key, value in network.state_dict().items())
    assert (record.epochs, record.losses, record.validation_accuracy) == (0, (), None)


def test_each_epoch_is_reported(digits):
    told = []

    class Told:
        def start(self, what, steps):
            told.append(steps)

        def advance(self, steps=1):
            told.append("step")

        def finish(self):
            told.append("end")

    network = mlp((1, 8, 8), 10, 0.25, MlpOptions())
    sgd(network, digits[0], None, 0, SgdOptions(epochs=2), Told())
    assert told == [2, "step", "step", "end"]


def test_diverging_training_is_stopped_with_the_learning_rate_named(digits):
    with pytest.raises(TrainingError, match=r"lr=1e\+09 is too high"):
        fitted(digits, None, lr=1e9)


def test_weights_that_overflow_in_the_last_step_are_noticed(digits):
    """The loss of the only batch is still fine, what the step leaves is not."""
    with pytest.raises(TrainingError, match="epoch 1"):
        fitted(digits, None, lr=1e38, batch=1000, epochs=1, momentum=0.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"lr": 0.0},
        {"decay": 0.0},
        {"decay": 1.1},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"batch": 1},
        {"weight_decay": -1e-9},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=f"option {next(iter(wrong))}="):
        SgdOptions(**wrong)
