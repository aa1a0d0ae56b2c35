"""Curves of a share against the width of a network, and their gain g.

The gain is the factor by which the number of units of a kind grows when the width of the network is
doubled.  At a gain of 2 it grows in proportion to the width, above 2 faster.

Source: Casper et al., "Frivolous Units", AAAI 2021, section 5, figures 3 and 4.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, UsageError

UNITS = ("prunable", "redundant", "not prunable", "not redundant")
"""Panels whose values are shares of a network's own units, so that units can be counted."""
SHARES = (*UNITS, "train accuracy", "test accuracy")
"""Panels whose values are in [0, 1]."""

ANY_WIDTHS = "widths"
"""The figure of networks that are not the paper's, whose widths need not be doublings."""

_OPPOSITES = dict(zip(UNITS, (*UNITS[2:], *UNITS[:2]), strict=True))
_DRAWS = 4000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class WidthCurve:
    """The values of the trials of one kind of network at each width.

    Attributes:
        panel: The quantity: one of ``SHARES``, or another panel of a figure.
        series: The kind of network, as in the legend.
        widths: Factors on the width of the network, above 0 and rising.
        values: For each width the values of its trials, empty if there are none.  In the panels of
            ``UNITS`` a value is the share of the network's own units, in [0, 1].
        figure: The figure that it was measured for, such as ``"4a"``; empty for none.
        fixed: Whether the number of measured units is the same at all widths.
        note: A remark for the reader of the figure, such as the reductions against the paper.

    Raises:
        DataError: widths do not rise or are not as many as the lists of values, or a value is out
            of range.

    Example:
        >>> WidthCurve("prunable", "MLP", (1, 2), ((0.25, 0.35), (0.4,))).means
        (0.3, 0.4)
    """

    panel: str
    series: str
    widths: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    figure: str = ""
    fixed: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        where = f"the curve {self.series!r} of {self.panel!r}"
        if len(self.widths) != len(self.values):
            raise DataError(
                f"{where} has {len(self.widths)} widths and values at {len(self.values)}; "
                "give a tuple of values, which may be empty, for each width"
            )
        if not all(a < b < math.inf for a, b in pairwise((-1, *self.widths))):
            raise DataError(f"{where} has the widths {self.widths}; give each once, in order")
        wrong = [value for trials in self.values for value in trials if not self._allows(value)]
        if wrong:
            allowed = "a number from 0 to 1" if self.panel in SHARES else "a number"
            raise DataError(f"{where} holds the value {wrong[0]}; a value is {allowed}")

    def _allows(self, value: float) -> bool:
        return math.isfinite(value) and (self.panel not in SHARES or 0 <= value <= 1)

    @property
    def means(self) -> tuple[float, ...]:
        """The mean over the trials at each width; NaN if there are none."""
        return tuple(math.fsum(v) / len(v) if v else math.nan for v in self.values)

    @property
    def deviations(self) -> tuple[float, ...]:
        """The population standard deviation of the trials at each width; NaN if there are none."""
        return tuple(float(np.std(v)) if v else math.nan for v in self.values)

    @property
    def sizes(self) -> tuple[float, ...]:
        """The number of units at each width, relative to width 1: the width, or 1 if ``fixed``."""
        return tuple(1.0 if self.fixed else width for width in self.widths)

    def complement(self) -> "WidthCurve":
        """Return the curve of the other units, such as those not prunable for the prunable ones.

        Raises:
            UsageError: the panel is none of ``UNITS``.

        Example:
            >>> WidthCurve("prunable", "MLP", (1, 2), ((0.25,), (0.5,))).complement().values
            ((0.75,), (0.5,))
        """
        _must_count_units(self)
        others = tuple(tuple(1 - value for value in trials) for trials in self.values)
        return replace(self, panel=_OPPOSITES[self.panel], values=others)


@dataclass(frozen=True, slots=True)
class Gain:
    """The factor on a number of units when the width of the network is doubled.

    Attributes:
        value: The mean factor over the doublings, at least 0; infinite if units grow from 0, NaN if
            no doubling is defined.
        factors: The factor of each step that counts, in the order of the widths; NaN if one of its
            ends has no trials, or both have no units.
        interval: A 95 % interval for the gain of infinitely many trials; None unless every width
            that counts has two trials or more, and if it would have no width: trials that are
            alike do not say how others differ.  Of :func:`gain_as_measured` it is another one.
    """

    value: float
    factors: tuple[float, ...]
    interval: tuple[float, float] | None


def gain(curve: WidthCurve, protocol: str = "paper", seed: int = 0) -> Gain:
    """Return the gain g of a curve.

    With the mean share y(w) over the trials at width w, and s(w) units there (in proportion to w,
    or the same at all w if the curve is ``fixed``),

        g = mean over doublings of  s(2 w) y(2 w) / (s(w) y(w)).

    1. Only pairs of neighbouring widths of which one is twice the other count.
    2. Under the ``"reference"`` protocol the doubling of the narrowest width that has trials is
       left out of curves of redundant units, and of units that are not redundant.  So the gain does
       not depend on which other curves a panel has, whose widths may begin earlier.
    3. A doubling without trials at one of its ends, or without units at both, is left out.

    The interval is a bootstrap: at each width one trial fewer than there are is drawn with
    replacement, so that the variance of their mean is unbiased.  The ratio of the drawn mean to the
    mean is raised to the power of Student's 97.5 % point over the normal one, since there are few
    trials.  The interval leaves out the outer 2.5 % of 4,000 such gains on each side.  For trials
    drawn around a known curve it contained the true gain 91 % of the time with three trials a
    width, 95 % with ten.

    Args:
        curve: A curve of one of the panels ``UNITS``.
        protocol: ``"paper"`` for the text, ``"reference"`` for the published code.
        seed: Seed of the draws behind the interval.

    Raises:
        UsageError: there is no such protocol, or the values of the curve are not shares of units.

    Source:
        Casper et al. 2021, section 5: "the average increase in the number of prunable and redundant
        units as network width is doubled".  The published notebooks average all four ratios for
        prunability, but only the last three for redundancy; both leave out what is NaN.  Drawing
        one fewer: P. J. McCarthy and C. B. Snowden, The bootstrap and finite population sampling,
        Vital and Health Statistics 2(95), 1985.

    Example:
        >>> curve = WidthCurve("redundant", "MLP", (0.25, 0.5, 1), ((0.4,), (0.5,), (0.5,)))
        >>> gain(curve).value, gain(curve, "reference").value
        (2.25, 2.0)
        >>> gain(curve).factors, gain(curve).interval
        ((2.5, 2.0), None)
    """
    _must_count_units(curve)
    if protocol not in ("paper", "reference"):
        raise UsageError(f"no protocol is named {protocol!r}; known: paper, reference")
    ends = [i for i, (a, b) in enumerate(pairwise(curve.widths)) if math.isclose(b, 2 * a)]
    if protocol == "reference" and curve.panel.endswith("redundant"):
        first = next((i for i, trials in enumerate(curve.values) if trials), 0)
        ends = [i for i in ends if i > first]
    steps = _Steps.of(curve, ends, [i + 1 for i in ends])
    used = steps.used()
    if not used or any(len(curve.values[i]) < 2 for i in used):
        return steps.gain(None)
    return steps.gain(_redrawn(curve, used, seed))


def gain_as_measured(
    curve: WidthCurve, intervals: Sequence[tuple[float, float] | None], seed: int = 0
) -> Gain:
    """Return the gain of a curve at any widths, with an interval that needs no trials.

    Unlike :func:`gain`, widths need not be doublings.  From the widest down, a step leads to the
    next width that is at most 1/√2 times it; widths between are left out.  If there is none, the
    only step leads from the narrowest to the widest.  With the ratio 2^k of its widths, the factor
    of a step is the kth root of the ratio of the numbers of units, so that it is one of a doubling,
    and a step has the weight k in the mean.  Where neighbouring widths are doublings, the value is
    that of :func:`gain` under ``"paper"``.

    An interval covers how exactly the shares were measured, and not how they differ between
    networks that are trained anew: 4,000 times each share is drawn from a normal distribution on
    each side of the measured one, whose 2.5 % points are the ends of its interval, independently at
    each width.  Where the same examples are used at all widths, errors partly cancel, and the
    interval is too wide.

    If every width that counts has two trials or more, the interval is that of :func:`gain`,
    extended to the ends of the other one where these are known: networks that happen to have the
    same number of units are known no better than each of them.

    Args:
        curve: A curve of one of the panels ``UNITS``.
        intervals: The 95 % interval of the mean share at each width; None if it is not known.
        seed: Seed of the draws behind the interval.

    Returns:
        The gain; its interval is None if a width that counts has neither trials nor an interval,
        or if it would have no width.

    Raises:
        UsageError: the values of the curve are not shares of units.

    Example:
        >>> curve = WidthCurve("redundant", "MLP", (1, 4), ((0.4,), (0.5,)))
        >>> round(gain_as_measured(curve, [None, None]).value, 3)
        2.236
    """
    _must_count_units(curve)
    steps = _Steps.of(curve, *_distant(curve.widths))
    used = steps.used()
    if not used:
        return steps.gain(None)
    trained = measured = None
    if all(len(curve.values[i]) > 1 for i in used):
        trained = steps.gain(_redrawn(curve, used, seed))
    if all(intervals[i] is not None for i in used):
        measured = steps.gain(_remeasured(steps.means, used, intervals, seed))
    known = [found.interval for found in (trained, measured) if found and found.interval]
    if not known:
        return steps.gain(None)
    return replace(steps.gain(None), interval=(min(a for a, _ in known), max(b for _, b in known)))


def shown_gain(curve: WidthCurve, protocol: str) -> Gain:
    """Return the gain of a curve that a figure and the tables beside it show.

    It is that of :func:`gain`, but of the figure :data:`ANY_WIDTHS` that of
    :func:`gain_as_measured`, whose interval needs trials here.

    Args:
        curve: A curve of one of the panels ``UNITS``.
        protocol: As for :func:`gain`; the figure :data:`ANY_WIDTHS` does not depend on it.

    Raises:
        UsageError: there is no such protocol, or the values of the curve are not shares of units.

    Example:
        >>> curve = WidthCurve("redundant", "MLP", (1, 4), ((0.4,), (0.5,)), figure="widths")
        >>> round(shown_gain(curve, "paper").value, 3)
        2.236
    """
    if curve.figure == ANY_WIDTHS:
        return gain_as_measured(curve, [None] * len(curve.widths))
    return gain(curve, protocol)


def _remeasured(
    means: NDArray[np.float64],
    used: Iterable[int],
    intervals: Sequence[tuple[float, float] | None],
    seed: int,
) -> NDArray[np.float64]:
    """Return shares that are drawn within their intervals, shape (draws, widths)."""
    generator = np.random.default_rng(seed)
    draws = np.tile(means, (_DRAWS, 1))
    for i in sorted(used):
        low, high = intervals[i] or (0.0, 0.0)
        normal = generator.standard_normal(_DRAWS) / 1.959964
        reach = np.where(normal < 0, max(0.0, means[i] - low), max(0.0, high - means[i]))
        draws[:, i] = np.clip(means[i] + normal * reach, 0, 1)
    return draws


def _distant(widths: Sequence[float]) -> tuple[list[int], list[int]]:
    """Return the lower and the upper ends of steps of half an octave or more, narrowest first."""
    ends = [len(widths) - 1]
    for i in range(len(widths) - 2, -1, -1):
        if widths[i] <= widths[ends[-1]] / math.sqrt(2) * (1 + 1e-9):
            ends.append(i)
    if len(ends) == 1 and len(widths) > 1:
        ends.append(0)
    ends.reverse()
    return ends[:-1], ends[1:]


@dataclass(frozen=True, slots=True)
class _Steps:
    """The pairs of widths of a curve that count.

    Attributes:
        means: The mean share at each width, NaN without trials.
        sizes: The number of units at each width, relative to width 1.
        lower: The index of the lower width of each pair.
        upper: The index of its upper width.
        octaves: The logarithm to base 2 of the ratio of its widths.
    """

    means: NDArray[np.float64]
    sizes: NDArray[np.float64]
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]
    octaves: NDArray[np.float64]

    @classmethod
    def of(cls, curve: WidthCurve, lower: Sequence[int], upper: Sequence[int]) -> "_Steps":
        """Return the steps of a curve between these indices of widths."""
        begin, end = np.array(lower, np.intp), np.array(upper, np.intp)
        widths = np.array(curve.widths)
        octaves = np.log2(widths[end] / widths[begin])
        octaves = np.where(np.isclose(octaves, 1), 1.0, octaves)
        return cls(np.array(curve.means), np.array(curve.sizes), begin, end, octaves)

    def factors(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the factor of each step, from shares (draws, widths)."""
        counts = self.sizes * shares
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios: NDArray[np.float64] = counts[:, self.upper] / counts[:, self.lower]
            return ratios ** (1 / self.octaves)

    def used(self) -> set[int]:
        """Return the indices of the widths of the steps whose factor is defined."""
        defined = ~np.isnan(self.factors(self.means[None])[0])
        return {*self.lower[defined].tolist(), *self.upper[defined].tolist()}

    def mean(self, factors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean of each row without its NaN; NaN if there is nothing else."""
        weights = np.where(np.isnan(factors), 0, self.octaves)
        with np.errstate(invalid="ignore"):
            sums = np.where(weights > 0, factors * weights, 0).sum(axis=1)
            means: NDArray[np.float64] = sums / weights.sum(axis=1)
        return means

    def gain(self, draws: NDArray[np.float64] | None) -> Gain:
        """Return the gain, with an interval over drawn shares (draws, widths) if there are any."""
        factors = self.factors(self.means[None])
        interval = None if draws is None else _middle(self.mean(self.factors(draws)))
        return Gain(float(self.mean(factors)[0]), tuple(map(float, factors[0])), interval)


def _redrawn(curve: WidthCurve, used: Iterable[int], seed: int) -> NDArray[np.float64]:
    """Return mean shares of trials that are drawn with replacement, shape (draws, widths)."""
    means = np.array(curve.means)
    draws = np.tile(means, (_DRAWS, 1))
    generator = np.random.default_rng(seed)
    power = _student_over_normal(sum(len(curve.values[i]) - 1 for i in used))
    for i in sorted(used):
        trials = np.array(curve.values[i])
        again = generator.integers(0, len(trials), (_DRAWS, len(trials) - 1))
        ratio = trials[again].mean(axis=1) / (means[i] or 1)  # a mean of 0 stays 0
        draws[:, i] = means[i] * ratio**power
    return draws


def _must_count_units(curve: WidthCurve) -> None:
    if curve.panel not in UNITS:
        raise UsageError(
            f"{curve.panel!r} counts no units of a network, so it has no gain and no complement; "
            f"known: {', '.join(UNITS)}"
        )


def _student_over_normal(freedom: int) -> float:
    """Return Student's 97.5 % point over the normal one, by its series in degrees of freedom."""
    z = 1.959964
    first, second = (z**2 + 1) / 4, (5 * z**4 + 16 * z**2 + 3) / 96
    return 1 + first / freedom + second / freedom**2


def _middle(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the ends of the middle 95 %, rounded outwards: infinite values have no average.

    None if both ends are one number, but for rounding.
    """
    ordered = np.sort(values[~np.isnan(values)])  # draws without any units are undefined
    out = int(len(ordered) * (1 - _LEVEL) / 2)
    low, high = float(ordered[out]), float(ordered[-1 - out])
    return None if math.isclose(low, high, rel_tol=1e-9) else (low, high)
