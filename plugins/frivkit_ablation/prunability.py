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

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.masks import random_order
from frivkit_ablation.level_search import CurveOptions, LevelSearch, evaluate_shared_levels, scopes
from frivkit_ablation.mask_schedule import MaskSchedule

FINEST = 1 / 1024
"""The width of a bracket at which bisection stops, if single units did not stop it before."""


@dataclass(frozen=True, slots=True)
class Options(CurveOptions):
    """How prunability is measured.

    Attributes:
        bisect: Halve from 0 and 1 down to one unit instead of walking the grid (paper only).
            Assumes that the curve falls; where it does not, it may find a later crossing.
    """

    bisect: bool = False


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone.

    The network is left out when only some of its layers are under study.
    """
    reference = study.protocol == "reference"
    if reference and options.bisect:
        raise UsageError("the reference protocol walks a grid; bisect goes with --protocol paper")
    selector = study.units("map" if reference else "location")
    examples, rounds = evaluate_shared_levels(study, options)

    def order(site: Site, repeat: int) -> NDArray[np.int64]:
        return random_order(study.seed, site.layer, repeat, selector.count(site))

    grid = [float(level) for level in np.linspace(0.0, 1.0, options.levels)]
    for layer, sites in scopes(study):
        steps = MaskSchedule(study, sites, selector, order)
        ladder = steps.ladder(layer, examples)
        if options.bisect:
            _bisect(ladder, steps, options)
        else:
            ladder.evaluate_levels(grid, options.repeats, rounds, 1 - options.tolerance)
        yield ladder.measurement(
            "prunability", options, "units switched off", selector.name, units=steps.units
        )


METRIC = Metric(measure, Options)


def _bisect(ladder: LevelSearch, steps: MaskSchedule, options: Options) -> None:
    """Halve every repeat's bracket until it holds one unit."""
    everyone = range(options.repeats)
    ladder.measure_level((repeat, level) for repeat in everyone for level in (0.0, 1.0))
    while True:
        halves = []
        for repeat in everyone:
            found = ladder.bracket(repeat, 1 - options.tolerance)
            if found is None or found[1] - found[0] <= FINEST:
                continue
            middle = (found[0] + found[1]) / 2
            if steps.share(middle) not in map(steps.share, found):
                halves.append((repeat, middle))
        if not halves:
            return
        ladder.measure_level(halves)
