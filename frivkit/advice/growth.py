"""How the units of each kind grow with the width of a network, and what that says of its width.

Source: Casper et al., "Frivolous Units", AAAI 2021, section 5: prunable and redundant units more
than double when the width is doubled, so that a wide network uses hardly more units than a thinner
one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, isfinite
from typing import Literal

from frivkit.advice.family import Family, find_family
from frivkit.advice.measuring import METRICS, Ends, FrivolousKind, Measured, Query, Share, measure
from frivkit.errors import ModelError, UsageError
from frivkit.experiments.gain import ANY_WIDTHS, Gain, WidthCurve, gain_as_measured
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import inspect_model

Covers = Literal["networks", "measurement"]
"""What the interval of a gain covers: how networks of one width differ, or only how exactly each
network was measured."""
GrowthVerdict = Literal["faster", "slower", "undecided"]
SERIES = "network"
"""The name of the whole network in figures."""


@dataclass(frozen=True, slots=True)
class FamilyNetwork:
    """A network of the family.

    Attributes:
        measured: What was measured of it.
        width: Its width, as a factor on that of the narrowest.
        units: The number of units of all its layers.
    """

    measured: Measured
    width: float
    units: int


@dataclass(frozen=True, slots=True)
class Count:
    """The number of units of one kind at one width, the mean over the networks of that width.

    Attributes:
        width: The width.
        units: The number of all units, of the network or of the layer.
        share: The share of the kind, with its interval.
    """

    width: float
    units: int
    share: Share

    @property
    def number(self) -> float:
        """The number of units of the kind; a mean, so it need not be whole."""
        return self.share.value * self.units

    @property
    def used(self) -> float:
        """The number of the other units, which the network uses as far as this kind says."""
        return self.units - self.number

    @property
    def used_interval(self) -> Ends | None:
        """The 95 % interval of ``used``."""
        if self.share.interval is None:
            return None
        low, high = self.share.interval
        return self.units * (1 - high), self.units * (1 - low)


@dataclass(frozen=True, slots=True)
class Growth:
    """The units of one kind, of the network or of a layer, against the width.

    Attributes:
        kind: ``"prunable"`` or ``"redundant"``.
        layer: The layer; None for the network.
        fixed: Whether it has equally many units at all widths.
        counts: One a width, narrowest first.
        curve: The shares of the single networks, as figures show them.
        gain: The gain over all steps; its value is NaN with one width.
        used_gain: The gain of the other units, which the network uses as far as this kind says.
        covers: What the intervals of the gains cover; None without them.
        doubled: The number of all units at twice the widest width.
    """

    kind: FrivolousKind
    layer: str | None
    fixed: bool
    counts: tuple[Count, ...]
    curve: WidthCurve
    gain: Gain
    used_gain: Gain
    covers: Covers | None
    doubled: int

    @property
    def verdict(self) -> GrowthVerdict | None:
        """Whether the units grow as fast as the network.

        ``"faster"`` and ``"slower"`` say that the whole interval lies above or below 2,
        ``"undecided"`` that it contains 2; None if the gain has no interval, or the layer does not
        grow.  If the interval covers the measurement alone, this is said of the files that were
        given, and cannot be said of other networks of their widths.
        """
        if self.gain.interval is None or self.fixed:
            return None
        low, high = self.gain.interval
        return "faster" if low > 2 else "slower" if high < 2 else "undecided"

    @property
    def holds(self) -> float:
        """The least width with as many units as the widest networks use, at the interval's end."""
        widest = self.counts[-1]
        needed = widest.used if widest.used_interval is None else widest.used_interval[1]
        return next(each.width for each in self.counts if each.units >= needed - 1e-9)

    def used_by_next(self) -> tuple[float, Ends | None] | None:
        """Return how many used units twice the widest width adds if their gain goes on.

        The gain of the used units is continued, not that of the others: the latter must fall
        towards 2 as their share nears 1.

        Returns:
            The number with its interval, negative if used units become fewer; None if their gain is
            not defined.
        """
        if not isfinite(self.used_gain.value):
            return None
        used = self.counts[-1].used

        def added(gain: float) -> float:
            return min(gain * used, float(self.doubled)) - used if used else 0.0

        ends = self.used_gain.interval
        return added(self.used_gain.value), None if ends is None else (
            added(ends[0]),
            added(ends[1]),
        )


@dataclass(frozen=True, slots=True)
class Advice:
    """Networks of one family, and how their units grow.

    Attributes:
        networks: The networks, narrowest first.
        family: Their widths and layers.
        rows: The network's rows of both kinds, then those of each layer.
        protocol: The protocol of the measurements.
        seed: The seed of all random choices.
        warnings: What a reader must know, one line each.
    """

    networks: tuple[FamilyNetwork, ...]
    family: Family
    rows: tuple[Growth, ...]
    protocol: str
    seed: int
    warnings: tuple[str, ...]

    def row(self, kind: str, layer: str | None = None) -> Growth:
        """Return the row of a kind, of a layer or of the network.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if (row.kind, row.layer) == (kind, layer):
                return row
        raise KeyError((kind, layer))

    def curves(self, most: int) -> list[WidthCurve]:
        """Return the curves of the network and of up to ``most`` layers, evenly spread."""
        layers = [layer.name for layer in self.family.layers]
        if len(layers) > most:
            layers = [layers[round(i * (len(layers) - 1) / (most - 1))] for i in range(most)]
        return [row.curve for row in self.rows if row.layer is None or row.layer in layers]


def advise(
    query: Query,
    done: Callable[[Measurement], None] = lambda measurement: None,
) -> Advice:
    """Find the widths of networks of one family, measure them, and fit the gain of each layer.

    Args:
        query: The networks and how to measure them.
        done: Called with each measurement.

    Returns:
        The advice.  With one network, or several of one width, gains are NaN.

    Raises:
        UsageError: there are no networks, one is given twice, only some layers are selected, or an
            option is wrong.
        ModelError: the networks are no family, or one cannot be read or run.
        DataError: the data cannot be read, do not fit, or are too few.
    """
    if not query.requests:
        raise UsageError("no model is given; give models of one family, at several widths")
    if any(request.layers for request in query.requests):
        raise UsageError("a whole network is judged by its width; give no single layers")
    names, sites = [], []
    seen: dict[str, str] = {}
    for request in query.requests:
        model, site_map = inspect_model(request, every_output=False)
        if model.sha256 in seen:
            raise UsageError(
                f"{model.path} is the same file as {seen[model.sha256]}; give each network once"
            )
        if not site_map.sites:
            raise ModelError(
                f"{model.path.name} has no layer whose units can be measured; see 'frivkit inspect'"
            )
        seen[model.sha256] = str(model.path)
        names.append(model.path.name)
        sites.append(site_map.sites)
    family = find_family(names, sites)
    measured = [measure(query.requests[i], query, done) for i in family.order]
    networks = tuple(
        FamilyNetwork(each, width, sum(site.width for site in each.sites))
        for each, width in zip(measured, family.widths, strict=True)
    )
    places = [None, *range(len(family.layers))]
    seed = query.requests[0].execution.seed
    rows = [_row(family, networks, kind, place, seed) for place in places for kind in METRICS]
    protocol = query.requests[0].protocol
    return Advice(networks, family, tuple(rows), protocol, seed, _warnings(measured))


def _row(
    family: Family,
    networks: Sequence[FamilyNetwork],
    kind: FrivolousKind,
    place: int | None,
    seed: int,
) -> Growth:
    """Return the row of a kind, of the layer of that index or of the network."""
    layer = None if place is None else family.layers[place]
    units = [n.units for n in networks] if layer is None else list(layer.units)
    shares = [network.measured.shares[kind, place] for network in networks]
    widths = tuple(dict.fromkeys(network.width for network in networks))
    members = [[i for i, network in enumerate(networks) if network.width == w] for w in widths]
    counts = tuple(
        Count(width, round(sum(units[i] for i in of) / len(of)), _mean([shares[i] for i in of]))
        for width, of in zip(widths, members, strict=True)
    )
    fixed = family.fixed if layer is None else layer.fixed
    name = SERIES if layer is None else layer.name
    values = tuple(tuple(shares[i].value for i in of) for of in members)
    curve = WidthCurve(kind, name, widths, values, figure=ANY_WIDTHS, fixed=fixed)
    intervals = [count.share.interval for count in counts]
    others = [None if ends is None else (1 - ends[1], 1 - ends[0]) for ends in intervals]
    gain = gain_as_measured(curve, intervals, seed)
    covers: Covers = "networks" if all(len(of) > 1 for of in members) else "measurement"
    if layer is None:
        doubled = sum(each.units[-1] * (1 if each.fixed else 2) for each in family.layers)
    else:
        doubled = layer.units[-1] * (1 if layer.fixed else 2)
    return Growth(
        kind=kind,
        layer=None if layer is None else layer.name,
        fixed=fixed,
        counts=counts,
        curve=curve,
        gain=gain,
        used_gain=gain_as_measured(curve.complement(), others, seed),
        covers=None if gain.interval is None else covers,
        doubled=doubled,
    )


def _mean(shares: Sequence[Share]) -> Share:
    """Return the mean of shares that were measured independently."""
    count = len(shares)
    value = sum(share.value for share in shares) / count
    known = [share.interval for share in shares if share.interval is not None]
    if len(known) < count:
        return Share(value, None)
    below = [share.value - low for share, (low, _) in zip(shares, known, strict=True)]
    above = [high - share.value for share, (_, high) in zip(shares, known, strict=True)]
    return Share(value, (max(0.0, value - hypot(*below) / count), value + hypot(*above) / count))


def _warnings(measured: Sequence[Measured]) -> tuple[str, ...]:
    """Return the warnings of all networks, those of several networks once."""
    found: dict[str, None] = {}
    for each in measured:
        for warning in (*each.analysis.data_warnings, *each.analysis.study.warnings):
            found.setdefault(warning, None)
    return tuple(found)
