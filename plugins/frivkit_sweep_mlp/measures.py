"""Accuracy, prunability and redundancy of every network of a stack."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frivkit.units.masks import keep_mask, random_order
from frivkit.units.statistics import (
    KEPT,
    UNEXPLAINED,
    ablated_units,
    crossings,
    curve_level,
    rank_at,
    reference_dropped,
)
from frivkit_sweep_mlp.data import Data
from frivkit_sweep_mlp.protocol import Kind, Protocol
from frivkit_sweep_mlp.stack import Networks, Stack
from frivkit_sweep_mlp.training import accuracy

LAYER = "fc1"
"""The hidden layer's name in exported files, on which the order of ablation depends."""

LEVELS = [float(level) for level in np.linspace(0.0, 1.0, 7)]
REPEATS = 3
REFINE = 2

Unchanged = Callable[[int, int], float]
"""Returns the share of labels unchanged when a repeat ablates a number of units."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The measurements of one network; shares are in [0, 1].

    Attributes:
        train_accuracy: Share of training labels predicted.
        validation_accuracy: Share of validation labels predicted.
        test_accuracy: Share of test labels predicted.
        prunability: Share of units; None if activations are not finite.
        redundancy: Share of units; None if activations are not finite.
        unchanged: Shares of labels unchanged at the seven levels of ablation, shape (repeats, 7);
            NaN if activations are not finite.
        variances: Of the principal components, times the number of examples, ascending, shape
            (units,); NaN if activations are not finite.
    """

    train_accuracy: float
    validation_accuracy: float
    test_accuracy: float
    prunability: float | None
    redundancy: float | None
    unchanged: NDArray[np.float64]
    variances: NDArray[np.float64]


def measure(networks: Networks, stack: Stack, protocol: Protocol, data: Data) -> list[Measured]:
    """Return the measurements of every network of a stack, in the order of its nets.

    Prunability and redundancy equal those of ``frivkit analyze --protocol`` on the measured test
    examples with the stack's seed.
    """
    accuracies = []
    for name, part in data.parts.items():
        examples = protocol.measured(len(part.labels))
        accuracies.append(accuracy(networks, name, part.first(examples)).tolist())
    tested = protocol.measured(len(data.parts["test"].labels))
    hidden = networks.hidden("test", slice(tested))
    orders = np.stack([random_order(stack.seed, LAYER, r, stack.units) for r in range(REPEATS)])
    measured = []
    for net, (train, validation, test) in enumerate(zip(*accuracies, strict=True)):
        units = hidden[:, net].to(torch.float64)
        prunable, redundant = None, None
        unchanged = np.full((REPEATS, len(LEVELS)), np.nan)
        spectrum = np.full(stack.units, np.nan)
        if units.isfinite().all() and networks.slope[net].isfinite().all():
            ablate = ablation(units, networks.slope[net], networks.offset[net], orders)
            prunable = prunability(ablate, stack.units, protocol.measures)
            counts = [ablated_units(level, stack.units, protocol.measures) for level in LEVELS]
            unchanged = np.array([[ablate(r, count) for count in counts] for r in range(REPEATS)])
            spectrum = variances(units)
            redundant = redundancy(spectrum, protocol.measures)
        measured.append(Measured(train, validation, test, prunable, redundant, unchanged, spectrum))
    return measured


def curves_of(stack: Stack, measured: Sequence[Measured]) -> dict[str, NDArray[np.float64]]:
    """Return the arrays that are written of a stack, its networks in their order.

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


def ablation(hidden: Tensor, slope: Tensor, offset: Tensor, orders: NDArray[np.int64]) -> Unchanged:
    """Return a function that ablates units of one network and counts unchanged labels.

    Ablated units are exactly 0, and no other is rescaled.

    Args:
        hidden: Activations, shape (n, units), float64.
        slope: Weights of the margin, shape (units,).
        offset: Bias of the margin, shape (1,).
        orders: For each repeat the order in which units are ablated, shape (repeats, units).

    Returns:
        A function of a repeat and a number of units that returns the share of labels unchanged.
    """
    baseline = hidden @ slope.to(torch.float64) + offset > 0
    shares: dict[tuple[int, int], float] = {}

    def unchanged(repeat: int, count: int) -> float:
        if (repeat, count) not in shares:
            keep = torch.from_numpy(keep_mask(orders[repeat], count))
            labels = hidden @ (slope * keep).to(torch.float64) + offset > 0
            shares[repeat, count] = float((labels == baseline).to(torch.float64).mean())
        return shares[repeat, count]

    return unchanged


def prunability(unchanged: Unchanged, units: int, kind: Kind) -> float:
    """Return the largest level over repeats at which 80 % of labels are unchanged.

    Both protocols measure seven levels and interpolate.  The paper's then halves the bracket of
    each repeat's crossing twice, with all repeats at each new level.

    Args:
        unchanged: What :func:`ablation` returns.
        units: Of the hidden layer, at least 1.
        kind: The protocol, which decides how counts are rounded and where they stand on the curve
            (:mod:`frivkit.units.statistics`).

    Returns:
        A share of the units, in [0, 1]; the same as frivkit's metric ``prunability``.

    Source:
        Casper et al. 2021, section 4, and ``get_threshold`` of the published notebooks.

    Example:
        >>> round(prunability(lambda repeat, count: 1 - count / 60, 60, "reference"), 9)
        0.2
    """
    nominal = set(LEVELS)
    for _ in range(REFINE if kind == "paper" else 0):
        levels, curves, at = _curves(unchanged, nominal, units, kind)
        _, r = crossings(levels, curves, KEPT)
        nominal |= {(at[i] + at[i + 1]) / 2 for i in r.tolist() if i >= 0}
    levels, curves, _ = _curves(unchanged, nominal, units, kind)
    return float(crossings(levels, curves, KEPT)[0].max())


def _curves(
    unchanged: Unchanged, nominal: Iterable[float], units: int, kind: Kind
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[float]]:
    """Return the ablation curves of all repeats.

    Returns:
        Levels, rising, shape (levels,); shares unchanged, shape (levels, repeats); and for each
        level the least of the nominal ones that ablate as many units.
    """
    at: dict[float, float] = {}
    for level in sorted(nominal):
        at.setdefault(curve_level(level, units, kind), level)
    counts = [ablated_units(level, units, kind) for level in at.values()]
    shares = [[unchanged(repeat, count) for repeat in range(REPEATS)] for count in counts]
    return np.array(list(at)), np.array(shares), list(at.values())


def variances(hidden: Tensor) -> NDArray[np.float64]:
    """Return the variances of the principal components of activations (n, units), times n.

    Returns:
        Ascending, shape (units,), float64, none below 0.
    """
    centred = hidden - hidden.mean(0)
    gram = centred.t() @ centred
    values: NDArray[np.float64] = torch.linalg.eigvalsh(gram).clamp_(min=0).numpy()
    return values


def redundancy(spectrum: NDArray[np.float64], kind: Kind) -> float:
    """Return the share of units that are linear combinations of others.

    1 - rank / units under ``"paper"`` and dropped / units under ``"reference"``, by
    :func:`~frivkit.units.statistics.rank_at` and
    :func:`~frivkit.units.statistics.reference_dropped`, with 5 % of the variance unexplained.

    Args:
        spectrum: What :func:`variances` returns.
        kind: The protocol.

    Returns:
        A share in [0, 1]; the same as frivkit's metric ``redundancy``.

    Source:
        Casper et al. 2021, section 4, and ``get_redundancy.py`` of the published code.

    Example:
        >>> one = torch.tensor([[1.0, 2.0], [2.0, 4.0], [4.0, 8.0]], dtype=torch.float64)
        >>> redundancy(variances(one), "paper"), redundancy(variances(one), "reference")
        (0.5, 1.0)
    """
    units, total = len(spectrum), float(spectrum.sum())
    if kind == "reference":
        return reference_dropped(spectrum[::-1], UNEXPLAINED, total) / units
    rank = rank_at(spectrum[::-1], UNEXPLAINED, total)
    return 1 - (units if rank is None else rank) / units
