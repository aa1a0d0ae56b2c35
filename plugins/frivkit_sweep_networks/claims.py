"""The paper's claims on networks for CIFAR-10, compared with the curves of a sweep.

A claim is about estimates with 95 % intervals.  It *agrees* if all intervals are inside the claimed
ranges, *disagrees* if one of them is wholly outside, and is *undecided* otherwise.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from frivkit.experiments.gain import WidthCurve, gain

AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "undecided at this scale"
NOTHING = "not measured yet"
INITS = ("Glorot", "He", "LeCun")
SAME = 0.05
"""Largest difference of shares that count as the same; chosen before any result was compared with it."""
MODEST = 0.5
"""Largest change of a gain by a regulariser that counts as modest; chosen likewise."""
BELOW, ABOVE = (-math.inf, 0.0), (0.0, math.inf)

Interval = tuple[float, float]
Curves = Mapping[tuple[str, str, str], WidthCurve]
"""Curves by figure, panel and series."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number that a claim is about.

    Attributes:
        name: The series, or the difference of two.
        value: The estimate.
        interval: 95 % interval; None if there are too few trials.
        claimed: The range in which the claim puts it.
        count: The number of values that it is the mean of, and the word for one of them; with fewer
            than two, nothing is decided.
    """

    name: str
    value: float
    interval: Interval | None
    claimed: Interval
    count: tuple[int, str] = (2, "")

    @property
    def verdict(self) -> str:
        """Whether the interval is in the claimed range."""
        if self.interval is None or math.isnan(self.value) or self.count[0] < 2:
            return UNDECIDED
        (low, high), (least, most) = self.interval, self.claimed
        if least < low and high < most:
            return AGREES
        return DISAGREES if high < least or low > most else UNDECIDED

    def __str__(self) -> str:
        """Return the estimate with its interval as text."""
        if math.isnan(self.value):
            return f"{self.name}: none yet"
        if self.interval is None:
            return f"{self.name}: {self.value:.2f} (no interval yet)"
        low, high = self.interval
        number, unit = self.count
        more = f"; {number} {unit}{'' if number == 1 else 's'}" if unit else ""
        return f"{self.name}: {self.value:.2f} ({low:.2f} to {high:.2f}{more})"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper, with the estimates of a sweep.

    Attributes:
        text: The claim, in a few words.
        figure: The paper's figure.
        estimates: The estimates that it is about.
    """

    text: str
    figure: str
    estimates: tuple[Estimate, ...]

    @property
    def verdict(self) -> str:
        """Whether the estimates agree with the claim.

        Example:
            >>> inside = Estimate("a", 2.5, (2.1, 2.9), (2, 9))
            >>> Claim("", "", (inside, Estimate("b", 2.5, (1.9, 2.9), (2, 9)))).verdict
            'undecided at this scale'
        """
        if all(math.isnan(estimate.value) for estimate in self.estimates):
            return NOTHING
        verdicts = {estimate.verdict for estimate in self.estimates}
        if DISAGREES in verdicts:
            return DISAGREES
        return AGREES if verdicts == {AGREES} else UNDECIDED


def compared_with_2(interval: Interval | None) -> str:
    """Return a few words on the interval of a gain and the number 2.

    Example:
        >>> compared_with_2((2.1, 2.5)), compared_with_2((1.9, 2.5)), compared_with_2(None)
        ('exceeds 2', 'contains 2', 'no interval')
    """
    if interval is None:
        return "no interval"
    low, high = interval
    return "exceeds 2" if low > 2 else "falls short of 2" if high < 2 else "contains 2"


def _common(
    one: WidthCurve, other: WidthCurve
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the trials of both curves at each width at which both have some."""
    others = dict(zip(other.widths, other.values, strict=True))
    return [
        (trials, others[width])
        for width, trials in zip(one.widths, one.values, strict=True)
        if trials and others.get(width)
    ]


def difference(one: WidthCurve, other: WidthCurve) -> tuple[float, Interval | None]:
    """Return the mean difference of two curves over widths, ``one`` minus ``other``, and interval.

    Only widths at which both have trials count.  The interval is Student's, with one variance for
    all widths and both curves; None if no width has two trials.

    Example:
        >>> low, high = (WidthCurve("redundant", "", (1,), ((v,),)) for v in (0.25, 0.5))
        >>> difference(high, low)
        (0.25, None)
    """
    pairs = _common(one, other)
    if not pairs:
        return math.nan, None
    value = fmean(fmean(trials) - fmean(others) for trials, others in pairs)
    cells = [cell for pair in pairs for cell in pair]
    freedom = sum(len(cell) - 1 for cell in cells)
    if not freedom:
        return value, None
    from scipy.stats import t

    variance = sum((v - fmean(cell)) ** 2 for cell in cells for v in cell) / freedom
    error = math.sqrt(variance * sum(1 / len(cell) for cell in cells)) / len(pairs)
    reach = float(t.ppf(0.975, freedom)) * error
    return value, (value - reach, value + reach)


def gain_difference(
    one: WidthCurve, other: WidthCurve, protocol: str
) -> tuple[float, Interval | None]:
    """Return the difference of two gains, ``one`` minus ``other``, and its interval.

    Source:
        G. Y. Zou and A. Donner, Construction of confidence limits about effect measures: a general
        approach, Statistics in Medicine 27, 2008, for the interval from those of both.
    """
    first, second = gain(one, protocol), gain(other, protocol)
    value = first.value - second.value
    if first.interval is None or second.interval is None:
        return value, None
    (low, high), (least, most) = first.interval, second.interval
    below = math.hypot(first.value - low, most - second.value)
    above = math.hypot(high - first.value, second.value - least)
    return value, (value - below, value + above)


def claims(curves: Curves, protocol: str) -> list[Claim]:
    """Return all claims that have an estimate.

    Args:
        curves: Curves of a sweep; claims about other curves are left out.
        protocol: ``paper`` or ``reference``, which decides how gains are averaged.
    """
    stated = [
        *_growth(curves, protocol),
        *_labels(curves),
        *_regularisers(curves, protocol),
        *_initialisations(curves),
        *_accuracy(curves),
        *_epochs(curves),
    ]
    return [claim for claim in stated if claim.estimates]


def _gains(
    curves: Curves, where: tuple[str, str], claimed: Interval, protocol: str, ending: str = ""
) -> tuple[Estimate, ...]:
    """Return the gains of a figure's panel, of the series whose names have that ending."""
    estimates = []
    for (figure, panel, series), curve in curves.items():
        if (figure, panel) == where and series.endswith(ending):
            result = gain(curve, protocol)
            count = sum(not math.isnan(each) for each in result.factors), "doubling"
            estimates.append(Estimate(series, result.value, result.interval, claimed, count))
    return tuple(estimates)


def _growth(curves: Curves, protocol: str) -> Iterator[Claim]:
    above = (2.0, math.inf)
    for figure in ("4a", "4b", "4c", "E6", "E11"):
        for panel in ("prunable", "redundant"):
            gains = _gains(curves, (figure, panel), above, protocol)
            true_labels = tuple(one for one in gains if not one.name.endswith("-rand"))
            labels = "with true labels " if figure == "4a" else ""
            text = f"{panel} units {labels}more than double with the width: g > 2"
            yield Claim(text, figure, true_labels)
    for panel, net in (("prunable", "AlexNet"), ("redundant", "")):
        chosen = _gains(curves, ("4a", panel), above, protocol, f"{net}-rand")
        of = f" of {net}s" if net else ""
        text = f"{panel} units{of} with random labels more than double with the width: g > 2"
        yield Claim(text, "4a", chosen)
    chosen = _gains(curves, ("4a", "prunable"), (-math.inf, 2.0), protocol, "20-rand")
    text = "prunable units of ResNets with random labels less than double with the width: g < 2"
    yield Claim(text, "4a", chosen)
    for figure in ("4a", "4b", "4c"):
        for panel in ("not prunable", "not redundant"):
            chosen = _gains(curves, (figure, panel), (1.0, 2.0), protocol)
            text = f"units that are {panel} grow, but less than double: 1 < g < 2"
            yield Claim(text, f"E3, networks of {figure}", chosen)


def _difference(
    curves: Curves, one: tuple[str, str], other: tuple[str, str], panel: str, claimed: Interval
) -> tuple[Estimate, ...]:
    """Return the difference of the shares of two series, each named by figure and series."""
    first, second = curves.get((one[0], panel, one[1])), curves.get((other[0], panel, other[1]))
    if first is None or second is None:
        return ()
    count = len(_common(first, second)), "width"
    return (Estimate(f"{one[1]} minus {other[1]}", *difference(first, second), claimed, count),)


def _labels(curves: Curves) -> Iterator[Claim]:
    alexnet = ("4a", "AlexNet-rand"), ("4a", "AlexNet(all reg)")
    resnet = ("4a", "ResNet20-rand"), ("4a", "ResNet20")
    yield Claim(
        "random labels leave a smaller share prunable",
        "4a",
        _difference(curves, *alexnet, "prunable", BELOW)
        + _difference(curves, *resnet, "prunable", BELOW),
    )
    yield Claim(
        "random labels leave AlexNets less redundant than all regularisers do",
        "4a",
        _difference(curves, *alexnet, "redundant", BELOW),
    )
    yield Claim(
        "random labels leave ResNets more redundant",
        "4a",
        _difference(curves, *resnet, "redundant", ABOVE),
    )


def _regularisers(curves: Curves, protocol: str) -> Iterator[Claim]:
    for panel in ("prunable", "redundant"):
        plain = curves.get(("4b", panel, "None"))
        estimates = [
            Estimate(
                f"{series} minus None", *gain_difference(curve, plain, protocol), (-MODEST, MODEST)
            )
            for (figure, its_panel, series), curve in curves.items()
            if plain is not None and (figure, its_panel) == ("4b", panel) and series != "None"
        ]
        text = f"regularisers change the trend of {panel} units modestly: g by less than {MODEST}"
        yield Claim(text, "4b", tuple(estimates))


def _initialisations(curves: Curves) -> Iterator[Claim]:
    for figure, kind in (("4c", "N"), ("E6", "U")):
        for panel, claimed, word in (("prunable", BELOW, "fewer"), ("redundant", ABOVE, "more")):
            chosen = tuple(
                estimate
                for init in INITS[1:]
                for estimate in _difference(
                    curves, (figure, f"{init}-{kind}"), (figure, f"Glorot-{kind}"), panel, claimed
                )
            )
            text = f"initial weights of He and LeCun leave {word} units {panel} than Glorot's"
            yield Claim(text, figure, chosen)
    for panel in ("prunable", "redundant"):
        chosen = tuple(
            estimate
            for init in INITS
            for estimate in _difference(
                curves, ("E6", f"{init}-U"), ("4c", f"{init}-N"), panel, (-SAME, SAME)
            )
        )
        text = f"uniform weights leave as many units {panel} as normal weights: within {SAME}"
        yield Claim(text, "E6", chosen)


def _accuracy(curves: Curves) -> Iterator[Claim]:
    estimates = []
    for (figure, panel, series), curve in curves.items():
        if (figure, panel) not in {("4a", "test accuracy"), ("4c", "test accuracy")}:
            continue
        measured = [i for i, values in enumerate(curve.values) if values]
        if len(measured) > 1 and not series.endswith("-rand"):
            before, last = (WidthCurve(panel, "", (1,), (curve.values[i],)) for i in measured[-2:])
            result = difference(last, before)
            estimates.append(Estimate(f"{series}, widest minus next", *result, (-0.01, 1.0)))
    text = "width costs no test accuracy, or less than 0.01"
    yield Claim(text, "1", tuple(estimates))


def _epochs(curves: Curves) -> Iterator[Claim]:
    for panel in ("prunable", "redundant"):
        chosen = [
            curve
            for (figure, its_panel, _), curve in curves.items()
            if (figure, its_panel) == ("cifar epochs", f"{panel} by epochs")
        ]
        numbers = tuple(range(1, len(chosen) + 1))
        first, last = (
            WidthCurve(panel, "", numbers, tuple(curve.values[at] for curve in chosen))
            for at in (0, -1)
        )
        result = difference(last, first)
        estimate = Estimate("last minus first", *result, (-SAME, SAME))
        text = f"shares of {panel} units stay within {SAME} after convergence"
        yield Claim(text, "E12, there on ImageNet", (estimate,) if chosen else ())
