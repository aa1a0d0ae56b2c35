"""What the paper claims of networks on CIFAR-10, and whether curves of a sweep agree.

A claim is about numbers with 95 % intervals.  It *agrees* where all intervals lie where the claim
says, *disagrees* where one of them lies wholly elsewhere, and is *undecided* otherwise.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean

from frivkit.gain import Curve, gain

AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "undecided at this scale"
NOTHING = "not measured yet"
INITS = ("Glorot", "He", "LeCun")
SAME = 0.05
"""How far apart shares may be that are called the same; chosen before anything was compared."""
MODEST = 0.5
"""How far a regulariser may move a gain and still have a modest effect; chosen likewise."""

Interval = tuple[float, float]
Curves = Mapping[tuple[str, str, str], Curve]
"""Curves by figure, panel and series."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number that a claim is about.

    Attributes:
        what: Whose it is.
        value: The number.
        interval: 95 % interval; None where there are too few trials.
        claimed: Where the claim says that it lies.
        count: How many of what it is the mean of; with less than two nothing is decided.
    """

    what: str
    value: float
    interval: Interval | None
    claimed: Interval
    count: tuple[int, str] = (2, "")

    @property
    def verdict(self) -> str:
        """Whether the interval lies where it should."""
        if self.interval is None or math.isnan(self.value) or self.count[0] < 2:
            return UNDECIDED
        (low, high), (least, most) = self.interval, self.claimed
        if least < low and high < most:
            return AGREES
        return DISAGREES if high < least or low > most else UNDECIDED

    def __str__(self) -> str:
        """Give the number with its interval."""
        if math.isnan(self.value):
            return f"{self.what}: none yet"
        if self.interval is None:
            return f"{self.what}: {self.value:.2f} (no interval yet)"
        low, high = self.interval
        number, what = self.count
        more = f"; {number} {what}{'' if number == 1 else 's'}" if what else ""
        return f"{self.what}: {self.value:.2f} ({low:.2f} to {high:.2f}{more})"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper, with what was found here.

    Attributes:
        says: The claim, in a few words.
        figure: Where the paper shows it.
        numbers: What was found.
    """

    says: str
    figure: str
    numbers: tuple[Number, ...]

    @property
    def verdict(self) -> str:
        """Whether what was found agrees.

        Example:
            >>> fine = Number("a", 2.5, (2.1, 2.9), (2, 9))
            >>> Claim("", "", (fine, Number("b", 2.5, (1.9, 2.9), (2, 9)))).verdict
            'undecided at this scale'
        """
        if all(math.isnan(number.value) for number in self.numbers):
            return NOTHING
        found = {number.verdict for number in self.numbers}
        if DISAGREES in found:
            return DISAGREES
        return AGREES if found == {AGREES} else UNDECIDED


def place(interval: Interval | None) -> str:
    """Say where the interval of a gain lies.

    Example:
        >>> place((2.1, 2.5)), place((1.9, 2.5)), place(None)
        ('exceeds 2', 'contains 2', 'no interval')
    """
    if interval is None:
        return "no interval"
    low, high = interval
    return "exceeds 2" if low > 2 else "falls short of 2" if high < 2 else "contains 2"


def _shared(one: Curve, other: Curve) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Give the trials of both at the widths at which both have some."""
    theirs = dict(zip(other.widths, other.values, strict=True))
    return [
        (mine, theirs[width])
        for width, mine in zip(one.widths, one.values, strict=True)
        if mine and theirs.get(width)
    ]


def difference(one: Curve, other: Curve) -> tuple[float, Interval | None]:
    """Give the mean over widths of how much larger the values of one curve are, with its interval.

    Widths count at which both have trials.  The interval is Student's, with one variance for all
    widths and both curves; None where no width has two trials.

    Example:
        >>> low, high = (Curve("redundant", "", (1,), ((value,),)) for value in (0.25, 0.5))
        >>> difference(high, low)
        (0.25, None)
    """
    pairs = _shared(one, other)
    if not pairs:
        return math.nan, None
    value = fmean(fmean(mine) - fmean(its) for mine, its in pairs)
    cells = [cell for pair in pairs for cell in pair]
    freedom = sum(len(cell) - 1 for cell in cells)
    if not freedom:
        return value, None
    from scipy.stats import t

    variance = sum((v - fmean(cell)) ** 2 for cell in cells for v in cell) / freedom
    error = math.sqrt(variance * sum(1 / len(cell) for cell in cells)) / len(pairs)
    reach = float(t.ppf(0.975, freedom)) * error
    return value, (value - reach, value + reach)


def apart(one: Curve, other: Curve, protocol: str) -> tuple[float, Interval | None]:
    """Give the difference of two gains, with its interval.

    Source:
        G. Y. Zou and A. Donner, Construction of confidence limits about effect measures: a general
        approach, Statistics in Medicine 27, 2008, for the interval from those of both.
    """
    mine, its = gain(one, protocol), gain(other, protocol)
    value = mine.value - its.value
    if mine.interval is None or its.interval is None:
        return value, None
    (low, high), (least, most) = mine.interval, its.interval
    below = math.hypot(mine.value - low, most - its.value)
    above = math.hypot(high - mine.value, its.value - least)
    return value, (value - below, value + above)


def claims(curves: Curves, protocol: str) -> list[Claim]:
    """Give all claims of which at least one number is there.

    Args:
        curves: Curves of a sweep; of those that are missing, nothing is said.
        protocol: How gains are averaged.
    """
    made = [
        *_growth(curves, protocol),
        *_labels(curves),
        *_regularisers(curves, protocol),
        *_initialisations(curves),
        *_accuracy(curves),
        *_epochs(curves),
    ]
    return [claim for claim in made if claim.numbers]


def _gains(
    curves: Curves, where: tuple[str, str], wanted: Interval, protocol: str, keep: str = ""
) -> tuple[Number, ...]:
    """Give the gains of a figure's panel, of series that end as ``keep`` does."""
    numbers = []
    for (figure, panel, series), curve in curves.items():
        if (figure, panel) == where and series.endswith(keep):
            found = gain(curve, protocol)
            count = sum(not math.isnan(each) for each in found.factors), "doubling"
            numbers.append(Number(series, found.value, found.interval, wanted, count))
    return tuple(numbers)


def _growth(curves: Curves, protocol: str) -> Iterator[Claim]:
    above = (2.0, math.inf)
    for figure in ("4a", "4b", "4c", "E6", "E11"):
        for panel in ("prunable", "redundant"):
            all_of_it = _gains(curves, (figure, panel), above, protocol)
            true = tuple(n for n in all_of_it if not n.what.endswith("-rand"))
            what = "with true labels " if figure == "4a" else ""
            yield Claim(f"{panel} units {what}more than double with the width: g > 2", figure, true)
    for panel, net in (("prunable", "AlexNet"), ("redundant", "")):
        chosen = _gains(curves, ("4a", panel), above, protocol, f"{net}-rand")
        yield Claim(f"so do {panel} units with random labels", "4a", chosen)
    chosen = _gains(curves, ("4a", "prunable"), (-math.inf, 2.0), protocol, "20-rand")
    yield Claim("but prunable units of ResNets with random labels do not: g < 2", "4a", chosen)
    for figure in ("4a", "4b", "4c"):
        for panel in ("not prunable", "not redundant"):
            chosen = _gains(curves, (figure, panel), (1.0, 2.0), protocol)
            yield Claim(
                f"units that are {panel} grow, but less than double: 1 < g < 2", "E3", chosen
            )


def _less(
    curves: Curves, one: tuple[str, str], other: tuple[str, str], panel: str, wanted: Interval
) -> tuple[Number, ...]:
    """Compare the shares of two series, each named by figure and series."""
    mine, its = curves.get((one[0], panel, one[1])), curves.get((other[0], panel, other[1]))
    if mine is None or its is None:
        return ()
    count = len(_shared(mine, its)), "width"
    return (Number(f"{one[1]} less {other[1]}", *difference(mine, its), wanted, count),)


BELOW, ABOVE = (-math.inf, 0.0), (0.0, math.inf)


def _labels(curves: Curves) -> Iterator[Claim]:
    alex, res = ("4a", "AlexNet-rand"), ("4a", "ResNet20-rand")
    their_alex, their_res = ("4a", "AlexNet(all reg)"), ("4a", "ResNet20")
    yield Claim(
        "random labels leave a smaller share prunable",
        "4a",
        _less(curves, alex, their_alex, "prunable", BELOW)
        + _less(curves, res, their_res, "prunable", BELOW),
    )
    yield Claim(
        "they leave AlexNets less redundant than all regularisers do",
        "4a",
        _less(curves, alex, their_alex, "redundant", BELOW),
    )
    yield Claim(
        "they leave ResNets more redundant",
        "4a",
        _less(curves, res, their_res, "redundant", ABOVE),
    )


def _regularisers(curves: Curves, protocol: str) -> Iterator[Claim]:
    for panel in ("prunable", "redundant"):
        plain = curves.get(("4b", panel, "None"))
        numbers = [
            Number(f"{series} less None", *apart(curve, plain, protocol), (-MODEST, MODEST))
            for (figure, its_panel, series), curve in curves.items()
            if plain is not None and (figure, its_panel) == ("4b", panel) and series != "None"
        ]
        says = (
            f"regularisers have modest effects on the trend of {panel} units: g moves by < {MODEST}"
        )
        yield Claim(says, "4b", tuple(numbers))


def _initialisations(curves: Curves) -> Iterator[Claim]:
    for figure, kind in (("4c", "N"), ("E6", "U")):
        for panel, wanted, word in (("prunable", BELOW, "fewer"), ("redundant", ABOVE, "more")):
            chosen = tuple(
                number
                for init in INITS[1:]
                for number in _less(
                    curves, (figure, f"{init}-{kind}"), (figure, f"Glorot-{kind}"), panel, wanted
                )
            )
            says = f"weights of He and LeCun leave {word} units {panel} than Glorot's"
            yield Claim(says, figure, chosen)
    for panel in ("prunable", "redundant"):
        chosen = tuple(
            number
            for init in INITS
            for number in _less(
                curves, ("E6", f"{init}-U"), ("4c", f"{init}-N"), panel, (-SAME, SAME)
            )
        )
        says = f"uniform weights leave as many units {panel} as normal ones: within {SAME}"
        yield Claim(says, "E6", chosen)


def _accuracy(curves: Curves) -> Iterator[Claim]:
    numbers = []
    for (figure, panel, series), curve in curves.items():
        if (figure, panel) not in {("4a", "test accuracy"), ("4c", "test accuracy")}:
            continue
        there = [i for i, values in enumerate(curve.values) if values]
        if len(there) > 1 and not series.endswith("-rand"):
            before, last = (Curve(panel, "", (1,), (curve.values[i],)) for i in there[-2:])
            found = difference(last, before)
            numbers.append(Number(f"{series}, the widest less the next", *found, (-0.01, 1.0)))
    yield Claim("width does not cost test accuracy: none or less than 0.01", "1", tuple(numbers))


def _epochs(curves: Curves) -> Iterator[Claim]:
    for panel in ("prunable", "redundant"):
        found = [
            curve
            for (figure, its_panel, _), curve in curves.items()
            if (figure, its_panel) == ("cifar epochs", f"{panel} by epochs")
        ]
        widths = tuple(range(1, len(found) + 1))
        first, last = (
            Curve(panel, "", widths, tuple(curve.values[at] for curve in found)) for at in (0, -1)
        )
        moved = difference(last, first)
        numbers = (Number("last less first", *moved, (-SAME, SAME)),) if found else ()
        says = f"shares of {panel} units stay within {SAME} after convergence"
        yield Claim(says, "E12, there on ImageNet", numbers)
