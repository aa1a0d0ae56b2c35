"""What is measured of every network of a stack, as ``frivkit analyze`` would measure it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frivkit.units.masks import keep_mask, random_order
from frivkit_sweep_mlp.data import Data
from frivkit_sweep_mlp.protocol import Kind, Protocol
from frivkit_sweep_mlp.stack import Networks, Stack
from frivkit_sweep_mlp.training import accuracy

LAYER = "fc1"
"""The hidden layer's name in exported files, on which the order of ablation depends."""

LEVELS = [float(level) for level in np.linspace(0.0, 1.0, 7)]
REPEATS = 3
REFINE = 2
KEPT = 0.8
"""The share of labels that must stay: 1 less the paper's tolerance of 0.2."""

UNEXPLAINED = 0.05
EXACT = 1e-12
"""What a sum of shares may miss of a threshold by rounding and still count as meeting it."""

Unchanged = Callable[[int, int], float]
"""Gives the share of labels that one repeat leaves when so many units are switched off."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What is known of one network; all are shares in [0, 1].

    Attributes:
        train_accuracy: Of training labels met.
        validation_accuracy: Of validation labels met.
        test_accuracy: Of test labels met.
        prunability: Of units that can be switched off; None where activations are not finite.
        redundancy: Of units that are redundant; None where activations are not finite.
        unchanged: Shares of labels that stay at the seven levels of ablation, shape (repeats, 7);
            NaN where activations are not finite.
        variances: Of the principal components, ascending, shape (units,); NaN likewise.
    """

    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    prunability: float | None
    redundancy: float | None
    unchanged: NDArray[np.float64]
    variances: NDArray[np.float64]


def measure(networks: Networks, stack: Stack, protocol: Protocol, data: Data) -> list[Measured]:
    """Measure every network of a stack, in the order of its nets.

    Prunability and redundancy are those that ``frivkit analyze --protocol`` finds on the measured
    test examples with the stack's seed.
    """
    accuracies = []
    for name, part in data.parts.items():
        examples = protocol.measured(len(part.labels))
        accuracies.append(accuracy(networks, name, part.first(examples)).tolist())
    tested = protocol.measured(len(data.parts["test"].labels))
    hidden = networks.hidden("test", slice(tested))
    orders = np.stack([random_order(stack.seed, LAYER, r, stack.units) for r in range(REPEATS)])
    found = []
    for net, (train, validation, test) in enumerate(zip(*accuracies, strict=True)):
        units = hidden[:, net].to(torch.float64)
        prunable, redundant = None, None
        unchanged = np.full((REPEATS, len(LEVELS)), np.nan)
        spread = np.full(stack.units, np.nan)
        if units.isfinite().all() and networks.slope[net].isfinite().all():
            ablate = ablation(units, networks.slope[net], networks.offset[net], orders)
            prunable = prunability(ablate, stack.units, protocol.measures)
            counts = [switched_off(level, stack.units, protocol.measures) for level in LEVELS]
            unchanged = np.array([[ablate(r, count) for count in counts] for r in range(REPEATS)])
            spread = variances(units)
            redundant = redundancy(spread, protocol.measures)
        found.append(Measured(train, validation, test, prunable, redundant, unchanged, spread))
    return found


def curves_of(stack: Stack, measured: Sequence[Measured]) -> dict[str, NDArray[np.float64]]:
    """Return what numbers alone do not tell, for the networks of a stack in their order.

    Returns:
        ``rates`` and ``factors`` (networks,), ``levels`` (7,), ``unchanged`` (networks, repeats, 7)
        and ``variances`` (networks, units), all float64.
    """
    return {
        "rates": np.array([net.rate for net in stack.nets]),
        "factors": np.array([net.factor for net in stack.nets]),
        "levels": np.array(LEVELS),
        "unchanged": np.stack([each.unchanged for each in measured]),
        "variances": np.stack([each.variances for each in measured]),
    }


def switched_off(level: float, units: int, kind: Kind) -> int:
    """Return how many units go at a level: rounded down (``reference``), or half up.

    Example:
        >>> switched_off(0.5, 33, "reference"), switched_off(0.5, 33, "paper")
        (16, 17)
    """
    return int(level * units) if kind == "reference" else int(level * units + 0.5)


def ablation(hidden: Tensor, slope: Tensor, offset: Tensor, orders: NDArray[np.int64]) -> Unchanged:
    """Return a function that switches off units of one network and counts unchanged labels.

    Units that are switched off count as exactly 0, and no other is rescaled.

    Args:
        hidden: Activations, shape (n, units), float64.
        slope: Weights of the margin, shape (units,).
        offset: Bias of the margin, shape (1,).
        orders: For each repeat the order in which units go, shape (repeats, units).

    Returns:
        A function of a repeat and a number of units that gives the share of labels unchanged.
    """
    baseline = hidden @ slope.to(torch.float64) + offset > 0
    known: dict[tuple[int, int], float] = {}

    def unchanged(repeat: int, count: int) -> float:
        if (repeat, count) not in known:
            keep = torch.from_numpy(keep_mask(orders[repeat], count))
            labels = hidden @ (slope * keep).to(torch.float64) + offset > 0
            known[repeat, count] = float((labels == baseline).to(torch.float64).mean())
        return known[repeat, count]

    return unchanged


def prunability(unchanged: Unchanged, units: int, kind: Kind) -> float:
    """Return the largest share of units over repeats that leaves 80 % of labels unchanged.

    Both protocols walk seven levels and interpolate.  The paper's then halves each repeat's bracket
    twice, with all repeats at each new level; it rounds counts to the nearest and places them at
    the share really switched off, where the reference rounds down and keeps the nominal level.

    Source:
        Casper et al. 2021, section 4, and ``get_threshold`` of the published notebooks; the same
        numbers as frivkit's metric ``prunability``.

    Example:
        >>> round(prunability(lambda repeat, count: 1 - count / 60, 60, "reference"), 9)
        0.2
    """
    levels = set(LEVELS)
    for _ in range(REFINE if kind == "paper" else 0):
        found = [_crossing(_points(unchanged, levels, r, units, kind)) for r in range(REPEATS)]
        levels |= {(low + high) / 2 for _, low, high in found if low < high}
    crossed = [_crossing(_points(unchanged, levels, r, units, kind))[0] for r in range(REPEATS)]
    return max(crossed)


def _points(
    unchanged: Unchanged, levels: Iterable[float], repeat: int, units: int, kind: Kind
) -> list[tuple[float, float, float]]:
    """Return (place on the curve, share unchanged, nominal level), sorted, one for each place."""
    points: dict[float, tuple[float, float]] = {}
    for level in sorted(levels):
        count = switched_off(level, units, kind)
        place = level if kind == "reference" else count / units
        points.setdefault(place, (unchanged(repeat, count), level))
    return [(place, share, level) for place, (share, level) in points.items()]


def _crossing(points: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Return where a curve first falls below the threshold, and the levels on both sides."""
    for (x, high, before), (y, low, after) in pairwise(points):
        if high >= KEPT - EXACT > low:
            share = min(max((high - KEPT) / (high - low), 0.0), 1.0)
            return x + share * (y - x), before, after
    last = points[-1]
    return last[0], last[2], last[2]


def variances(hidden: Tensor) -> NDArray[np.float64]:
    """Return the variances of the principal components of activations (n, units), times n.

    Returns:
        Ascending, shape (units,), float64, none below 0.
    """
    centred = hidden - hidden.mean(0)
    found: NDArray[np.float64] = torch.linalg.eigvalsh(centred.t() @ centred).clamp_(min=0).numpy()
    return found


def redundancy(spread: NDArray[np.float64], kind: Kind) -> float:
    """Return the share of units that are linear combinations of others.

    1. ``paper``: all components but the fewest that leave at most 5 % of the variance unexplained.
    2. ``reference``: the fewest smallest components that exceed 5 % together.
    3. A layer that never changes: all units, and one component.

    Args:
        spread: What :func:`variances` gives.
        kind: Whose count.

    Source:
        Casper et al. 2021, section 4, and ``get_redundancy.py`` of the published code; the same
        numbers as frivkit's metric ``redundancy``.

    Example:
        >>> one = torch.tensor([[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]], dtype=torch.float64)
        >>> redundancy(variances(one), "paper"), redundancy(variances(one), "reference")
        (0.5, 1.0)
    """
    units, total = len(spread), spread.sum()
    if total <= 0:
        return 1.0 if kind == "paper" else 1 / units
    if kind == "paper":
        explained = np.cumsum(spread[::-1]) / total
        return 1 - (int((explained >= 1 - UNEXPLAINED - EXACT).argmax()) + 1) / units
    smallest = np.cumsum(spread) / total
    dropped = int(np.searchsorted(smallest, UNEXPLAINED, side="right")) + 1
    return min(dropped, units) / units
