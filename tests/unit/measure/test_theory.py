"""What the paper constructs and proves, measured (Casper et al. 2021, section 3, appendix A, B)."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from frivkit.experiments.gain import WidthCurve, gain
from frivkit.measure.pipeline import Request, analyze
from frivkit.runtime.execution import Execution
from frivkit.torch_io.export import exported
from frivkit.units.masks import random_order
from frivkit_papernets.mlp import MlpOptions, mlp
from frivkit_redundancy.spectrum import Spectrum


def dense(hidden, shift, output, bias):
    """Return ``relu(x @ hidden + shift) @ output + bias`` with its first layer called fc1."""
    hidden, output = np.asarray(hidden, float), np.asarray(output, float)
    net = mlp((hidden.shape[0],), output.shape[1], hidden.shape[1] / 128, MlpOptions())
    values = {
        "fc1.weight": hidden.T,
        "fc1.bias": np.broadcast_to(shift, hidden.shape[1]),
        "output.weight": output.T,
        "output.bias": bias,
    }
    net.load_state_dict({name: torch.tensor(np.array(v)) for name, v in values.items()})
    return net


def logits(net, x):
    with torch.no_grad():
        return net(torch.from_numpy(x)).numpy()


def measured(net: nn.Module, x, tmp_path, *metrics, seed=0, **options):
    """Return prunability and redundancy of the one hidden layer on ``x``, by name."""
    (tmp_path / "net.onnx").write_bytes(exported(net, x[:8], {}))
    np.savez(tmp_path / "x.npz", x=x)
    request = Request(
        tmp_path / "net.onnx", data=f"npz:{tmp_path / 'x.npz'}", execution=Execution(seed=seed)
    )
    found = analyze(request, list(metrics or ("prunability", "redundancy")), options).measurements
    return {m.metric: m for m in found if m.scope == "layer"}


BITS = 4
LAST = np.array(list(product([-1.0, 1.0], repeat=BITS)), np.float32)
PARITY = (LAST > 0).sum(axis=1) % 2
POINTS = np.column_stack([PARITY, LAST]).astype(np.float32)
ABSTAIN = [0.0, 0.0, 0.5]  # a third label, won where neither of the others has a unit's vote
VOTES = np.eye(3)


def minterms():
    """One unit for each pattern of bits, 1 on that pattern and 0 on all others."""
    hidden = np.vstack([np.zeros(len(LAST)), LAST.T])
    return dense(hidden, 1 - BITS, VOTES[PARITY], ABSTAIN)


def identity(others):
    """A unit that copies the first number, and others of which nothing is read."""
    hidden = np.zeros((1 + BITS, 1 + others))
    hidden[0] = 1.0  # the others copy it, too
    output = np.zeros((1 + others, 3))
    output[0] = [-1.0, 1.0, 0.0]
    return dense(hidden, 0.0, output, [1.0, 0.0, 0.5])


def test_wide_parity_and_one_copying_unit_give_the_same_labels():
    """Appendix A: 2^N minterms and a single unit compute the same labels on these data."""
    for net in (identity(0), identity(len(LAST) - 1), minterms()):
        np.testing.assert_array_equal(logits(net, POINTS).argmax(axis=1), PARITY)
    off = POINTS * [-1, *[1] * BITS] + [1, *[0] * BITS]  # the first number denies the parity
    off = off.astype(np.float32)
    np.testing.assert_array_equal(logits(minterms(), off).argmax(axis=1), PARITY)
    np.testing.assert_array_equal(logits(identity(0), off).argmax(axis=1), 1 - PARITY)


def test_wide_net_of_minterms_has_no_frivolous_units(tmp_path):
    """Appendix A: with 2^N units of which each decides one point, all are equally needed."""
    found = measured(minterms(), POINTS, tmp_path, levels="17")
    shares = np.linspace(0, 1, 17)
    for unchanged in found["prunability"].detail["unchanged"]:
        assert unchanged == pytest.approx((1 - shares).tolist())
    assert found["prunability"].value == pytest.approx(0.2)  # no more than the tolerance itself
    # Their activations are independent, and so lie in a space with one dimension less than units.
    assert found["redundancy"].value == pytest.approx(1 / 16)


def test_wide_net_with_one_copying_unit_has_all_others_frivolous(tmp_path):
    """Appendix A: the same labels by one unit make the other 2^N - 1 frivolous."""
    found = measured(identity(len(LAST) - 1), POINTS, tmp_path, levels="17")
    assert found["redundancy"].value == pytest.approx(15 / 16)
    # Nothing changes until the unit itself goes; then half of the labels do: 0.4 of a unit.
    before = [list(random_order(0, "fc1", repeat, 16)).index(0) for repeat in range(3)]
    by_hand = [(units + 0.4) / 16 for units in before]
    assert found["prunability"].detail["values"] == pytest.approx(by_hand)
    assert found["prunability"].value == pytest.approx(max(by_hand))
    assert max(by_hand) > 0.2


THETA = np.array([[1.0, -2.0, 0.5], [0.3, 1.0, -1.0]])
X = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
NARROW = np.eye(4)[:, :2]  # u = relu of the first two numbers, v = of the last two
SAME, OTHER = np.hstack([NARROW, NARROW]), np.eye(4)
ZERO = np.vstack([THETA, 0 * THETA])
B = 30.0
SEED = 1
FIRST = [int(random_order(SEED, "fc1", repeat, 4)[0]) for repeat in range(3)]
BALANCED = np.vstack([THETA + B * np.abs(THETA), THETA - B * np.abs(THETA)]) / 2


@pytest.mark.parametrize(
    ("hidden", "output", "redundant", "prunable"),
    [(SAME, ZERO, 0.5, True), (OTHER, ZERO, 0.0, True), (SAME, BALANCED, 0.5, False)],
    ids=["both", "only prunable", "only redundant"],
)
def test_constructions_of_a_wide_net_that_computes_the_same(
    hidden, output, redundant, prunable, tmp_path
):
    """Section 3: [u, u] with [theta, 0]; [u, v] with [theta, 0]; [u, u] with balanced weights."""
    narrow, wide = (dense(*each, [0.0] * 3) for each in ((NARROW, 0, THETA), (hidden, 0, output)))
    np.testing.assert_allclose(logits(wide, X), logits(narrow, X), atol=1e-4)
    found = measured(wide, X, tmp_path, seed=SEED, levels="5")
    assert found["redundancy"].value == redundant
    one_gone = [unchanged[1] for unchanged in found["prunability"].detail["unchanged"]]
    assert {unit > 1 for unit in FIRST} == {False, True}  # a unit of either half goes first once
    for unit, share in zip(FIRST, one_gone, strict=True):
        assert (share == 1.0) == (prunable and unit > 1)


def untrained(width, seed, inputs, examples):
    torch.manual_seed(seed)
    net = mlp((inputs,), 2, width, MlpOptions(init="gaussian"))
    return net, np.random.default_rng(seed).normal(size=(examples, inputs)).astype(np.float32)


def test_prunable_units_of_untrained_nets_double_with_the_width(tmp_path):
    """Appendix B: the share of units to which a net is robust does not depend on its width.

    Two labels, as in the paper's MLP.  With ten, narrow nets withstand more: in a simulation of 60
    nets each the share was 0.106 at 32 units, 0.097 at 64 and 128, 0.089 at 256 and 512.
    """
    widths = (0.5, 1, 2)
    values = [
        tuple(
            measured(*untrained(width, seed, 50, 200), tmp_path, "prunability")["prunability"].value
            for seed in range(10)
        )
        for width in widths
    ]
    low, high = gain(WidthCurve("prunable", "untrained", widths, tuple(values))).interval
    assert low < 2 < high
    assert high - low < 1


def redundant_of_endless_data(units, inputs, seed):
    """Return the redundant share of an untrained ReLU layer over all inputs from a normal.

    Products of rows of weights are drawn without the rows (Bartlett 1933), so inputs may be many;
    the covariance of ReLUs follows from them (Cho and Saul 2009, arc-cosine kernel of order 1).
    """
    random = np.random.default_rng(seed)
    root = np.tril(random.normal(size=(units, units)), -1)
    root += np.diag(np.sqrt(random.chisquare(inputs - np.arange(units))))
    products = root @ root.T
    lengths = np.sqrt(np.diag(products))
    cosine = np.clip(products / np.outer(lengths, lengths), -1, 1)
    angle = np.arccos(cosine)
    second = np.sin(angle) + (np.pi - angle) * cosine
    values = np.linalg.eigvalsh(np.outer(lengths, lengths) * (second - 1))[::-1]
    return 1 - Spectrum(values, float(values.sum()), units).rank(0.05) / units


def test_redundant_units_double_once_units_are_uncorrelated():
    """Appendix B rests on uncorrelated units: endless data do not do, it takes endless inputs, too.

    Random weights of few inputs are correlated, the more so the more units there are.
    """
    widths = (100, 200, 400)
    gains = [
        gain(
            WidthCurve(
                "redundant",
                "untrained",
                widths,
                tuple(
                    tuple(redundant_of_endless_data(units, inputs, seed) for seed in range(5))
                    for units in widths
                ),
            )
        ).value
        for inputs in (10**3, 10**4, 10**5, 10**6)
    ]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 2.4
    assert gains[2] < 2.1
    assert gains[3] == pytest.approx(2)


def test_redundant_units_of_untrained_nets_double_with_the_width(tmp_path):
    """Appendix B: units of random weights are uncorrelated, and 5 % of them hold 5 % of variance.

    That takes many more inputs and examples than units: with few, wide layers are more redundant.
    With enough all trials count one unit of 20 and two of 40, so that there is no interval.
    """
    gains = {}
    for size in (400, 2000):
        values = [
            tuple(
                measured(*untrained(units / 128, seed, size, size), tmp_path, "redundancy")[
                    "redundancy"
                ].value
                for seed in range(2)
            )
            for units in (20, 40)
        ]
        gains[size] = gain(WidthCurve("redundant", "untrained", (1, 2), tuple(values)))
    assert gains[2000].value == pytest.approx(2)
    assert gains[2000].interval is None
    assert gains[400].value > 2
