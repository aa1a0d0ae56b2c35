"""Prunability: the share of units that can be ablated at random before labels change.

Source: Casper et al., "Frivolous Units", AAAI 2021, section 4, "Prunability".  The text
(``--protocol paper``) and the published code (``--protocol reference``) differ:

==================  ==========================================  =================================
                    paper                                       reference
==================  ==========================================  =================================
a unit is           every place of a feature map                a feature map
levels              a grid, refined where the curve crosses     7, from 0 to 1
units at a level    level x units, rounded                      level x units, rounded down
level in the curve  the share really ablated                    the nominal level
examples            all                                         the first int(n / 128) - 1 batches
==================  ==========================================  =================================

Both ablate nested prefixes of random permutations, three a layer, with the same mask for every
example, interpolate linearly to 80 % of labels unchanged and keep the best repeat.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.engine.labels import UNDEFINED
from frivkit.errors import DataError, UsageError
from frivkit.graph.sites import Site
from frivkit.masks import Mask, random_order, without
from frivkit.metric import Measurement, Metric
from frivkit.study import Study
from frivkit.units import UnitSelector
from frivkit_ablation.curve import Curve, crossings, interval

FINEST = 1 / 1024
"""The width of a bracket at which bisection stops, if single units did not stop it before."""

_BOUNDS = {
    "repeats": (1, 1000),
    "levels": (2, 10_000),
    "refine": (0, 20),
    "batch": (1, 2**31),
    "resamples": (1, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class Options:
    """How prunability is measured.

    Attributes:
        tolerance: Share of labels that may change, in (0, 1).
        repeats: Random permutations tried; the best one is kept.
        levels: Levels of the grid, 0 and 1 included.
        refine: How often the bracket around each crossing is halved after the grid (paper only).
        bisect: Halve from 0 and 1 down to one unit instead of walking the grid (paper only).
            Assumes that the curve falls; where it does not, it may find a later crossing.
        batch: Batch size that decides which examples the published code would use (reference).
        resamples: Bootstrap draws behind the interval.
    """

    tolerance: float = 0.2
    repeats: int = 3
    levels: int = 7
    refine: int = 2
    bisect: bool = False
    batch: int = 128
    resamples: int = 1000

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance}; it must lie between 0 and 1")
        for name, (least, most) in _BOUNDS.items():
            given = getattr(self, name)
            if not least <= given <= most:
                raise UsageError(f"{name} is {given}; it must be at least {least}, at most {most}")


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone.

    The network is left out when only some of its layers are under study.
    """
    reference = study.protocol == "reference"
    if reference and options.bisect:
        raise UsageError("the reference protocol walks a grid; bisect goes with --protocol paper")
    selector = study.units("map" if reference else "location")
    examples = _full_batches(study, options.batch) if reference else study.examples
    scopes: list[tuple[str | None, Sequence[Site]]] = [(s.layer, [s]) for s in study.sites]
    if study.complete:
        scopes.insert(0, (None, study.sites))
    for layer, sites in scopes:
        ablation = _Ablation(study, sites, selector, examples, reference=reference)
        if options.bisect:
            _bisect(ablation, options)
        else:
            _walk(ablation, options, rounds=0 if reference else options.refine)
        yield ablation.measurement(layer, options)


METRIC = Metric(measure, Options)


def _full_batches(study: Study, batch: int) -> int:
    """Give how many examples the published code would use: all full batches but one."""
    n = study.examples
    if n // batch >= 2:
        return (n // batch - 1) * batch
    if n < 2:
        raise DataError(f"the reference protocol leaves out a batch and {study.data.spec} has {n}")
    smaller = n // 2
    study.warnings.append(
        f"the reference protocol uses all full batches of {batch} but one; {n} examples are too "
        f"few, so batches of {smaller} were used"
    )
    return (n // smaller - 1) * smaller


class _Ablation:
    """The ablation curves of one scope, filled level by level."""

    def __init__(
        self,
        study: Study,
        sites: Sequence[Site],
        selector: UnitSelector,
        examples: int,
        *,
        reference: bool,
    ) -> None:
        self._study, self._sites, self._selector = study, sites, selector
        self._examples, self._reference = examples, reference
        self._units = {site.name: selector.count(site) for site in sites}
        self._flags: dict[tuple[int, float], NDArray[np.float64]] = {}
        self._nominal: dict[float, float] = {}
        self._undefined = 0

    def share(self, level: float) -> float:
        """Give the place of a nominal level on the curve: what share is really ablated there."""
        if self._reference:
            return level
        ablated = sum(self._count(level, units) for units in self._units.values())
        return ablated / sum(self._units.values())

    def try_out(self, tries: Iterable[tuple[int, float]]) -> None:
        """Measure (repeat, level) pairs that were not measured before."""
        shares = {(repeat, self.share(level)): level for repeat, level in tries}
        new = [(r, level) for (r, share), level in shares.items() if (r, share) not in self._flags]
        if not new:
            return
        masks = [self._mask(repeat, level) for repeat, level in new]
        labels = self._study.ablate(masks, self._selector)[:, : self._examples]
        intact = self._study.labels()[: self._examples]
        self._undefined += int((labels == UNDEFINED).any(axis=2).sum())
        for (repeat, level), found in zip(new, labels, strict=True):
            self._flags[repeat, self.share(level)] = (found == intact).mean(axis=1)
            self._nominal.setdefault(self.share(level), level)

    def curve(self, repeat: int) -> Curve:
        """Give what is known of one repeat's curve."""
        levels = sorted(level for r, level in self._flags if r == repeat)
        return Curve(np.array(levels), np.stack([self._flags[repeat, x] for x in levels]))

    def bracket(self, repeat: int, options: Options) -> tuple[float, float] | None:
        """Give the nominal levels between which one repeat's curve crosses, if it does."""
        curve = self.curve(repeat)
        _, r = crossings(curve.levels, curve.unchanged[:, np.newaxis], 1 - options.tolerance)
        if r[0] < 0:
            return None
        low, high = curve.levels[r[0]], curve.levels[r[0] + 1]
        return self._nominal[float(low)], self._nominal[float(high)]

    def measurement(self, layer: str | None, options: Options) -> Measurement:
        """Sum up."""
        threshold = 1 - options.tolerance
        curves = [self.curve(repeat) for repeat in range(options.repeats)]
        found = [crossings(c.levels, c.unchanged[:, np.newaxis], threshold) for c in curves]
        values = [float(x[0]) for x, _ in found]
        chosen = int(np.argmax(values))
        levels = sorted({level for _, level in self._flags})
        if self._undefined:
            self._study.warnings.append(
                f"{layer or 'network'}: the ablated network gave NaN in {self._undefined} runs of "
                "an example; such labels count as changed"
            )
        generator = np.random.default_rng([self._study.seed, 95])
        return Measurement(
            metric="prunability",
            scope="network" if layer is None else "layer",
            layer=layer,
            value=values[chosen],
            units=self._selector.name,
            protocol=self._study.protocol,
            interval=interval(curves, threshold, options.resamples, generator),
            examples=self._examples,
            detail={
                "tolerance": options.tolerance,
                "levels": levels,
                "unchanged": [
                    [self._unchanged(repeat, level) for level in levels]
                    for repeat in range(options.repeats)
                ],
                "chosen_repeat": chosen,
                "values": values,
                "crossed": bool(found[chosen][1][0] >= 0),
                "units": sum(self._units.values()),
            },
        )

    def _unchanged(self, repeat: int, level: float) -> float | None:
        flags = self._flags.get((repeat, level))
        return None if flags is None else float(flags.mean())

    def _mask(self, repeat: int, level: float) -> Mask:
        keep = {}
        for site in self._sites:
            units = self._units[site.name]
            order = random_order(self._study.seed, site.layer, repeat, units)
            keep[site.name] = without(order, self._count(level, units))
        return Mask(keep)

    def _count(self, level: float, units: int) -> int:
        return int(level * units) if self._reference else int(level * units + 0.5)


def _walk(ablation: _Ablation, options: Options, rounds: int) -> None:
    """Walk the grid, then halve every crossing's bracket; all repeats see every level."""
    everyone = range(options.repeats)
    grid = [float(level) for level in np.linspace(0.0, 1.0, options.levels)]
    ablation.try_out((repeat, level) for repeat in everyone for level in grid)
    for _ in range(rounds):
        found = [ablation.bracket(repeat, options) for repeat in everyone]
        middles = {(low + high) / 2 for low, high in (b for b in found if b is not None)}
        ablation.try_out((repeat, level) for repeat in everyone for level in sorted(middles))


def _bisect(ablation: _Ablation, options: Options) -> None:
    """Halve every repeat's bracket until it holds one unit."""
    everyone = range(options.repeats)
    ablation.try_out((repeat, level) for repeat in everyone for level in (0.0, 1.0))
    while True:
        halves = []
        for repeat in everyone:
            found = ablation.bracket(repeat, options)
            if found is None or found[1] - found[0] <= FINEST:
                continue
            middle = (found[0] + found[1]) / 2
            if ablation.share(middle) not in map(ablation.share, found):
                halves.append((repeat, middle))
        if not halves:
            return
        ablation.try_out(halves)
