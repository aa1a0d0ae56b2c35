"""Prunability: the share of units that can be ablated at random before labels change.

Source: Casper et al., "Frivolous Units", AAAI 2021, section 4, "Prunability".  The text
(``--protocol paper``) and the published code (``--protocol reference``) differ:

==================  ==========================================  =================================
                    paper                                       reference
==================  ==========================================  =================================
a unit is           every position of a feature map             a feature map
levels              a grid, refined where the curve crosses     7, from 0 to 1
units at a level    level x units, rounded                      level x units, rounded down
level in the curve  the share really ablated                    the nominal level
examples            all                                         the first int(n / 128) - 1 batches
==================  ==========================================  =================================

Both ablate nested prefixes of random permutations, three a layer, with the same mask for every
example, interpolate linearly to 80 % of labels unchanged and take the best repeat.  The crossing
and the counts are defined in :mod:`frivkit.units.statistics`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes
from frivkit.documents.fields import Fraction
from frivkit.errors import UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.masks import random_order
from frivkit_ablation.details import PrunabilityDetail
from frivkit_ablation.fast_search import FastSearch
from frivkit_ablation.level_search import CurveOptions, LevelSearch, examples_and_rounds, scopes
from frivkit_ablation.mask_schedule import MaskSchedule

FINEST = 1 / 1024
"""Width of a bracket, as a share, at which bisection stops unless single units stop it before."""


@dataclass(frozen=True, slots=True)
class Options(CurveOptions):
    """Options of prunability.

    Attributes:
        bisect: Halve the bracket from 0 to 1 down to one unit instead of measuring a grid (paper
            only).  On a curve that rises somewhere it may find a later crossing than the first.
        fast: Run levels far from the crossing on some examples only; see
            :mod:`frivkit_ablation.fast_search`.
    """

    bisect: bool = False
    fast: bool = False


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone.

    The network is left out if only some of its layers are under study.

    Raises:
        UsageError: bisection is requested under the reference protocol.
        DataError: there are too few examples for the reference protocol.
    """
    reference = study.protocol == "reference"
    if reference and options.bisect:
        raise UsageError(
            "the reference protocol measures a grid; bisect goes with --protocol paper"
        )
    selector = study.units("map" if reference else "location")
    examples, rounds = examples_and_rounds(study, options)

    def order(site: Site, repeat: int) -> NDArray[np.int64]:
        return random_order(study.seed, site.layer, repeat, selector.count(site))

    grid = [float(level) for level in np.linspace(0.0, 1.0, options.levels)]
    fast: list[FastSearch] = []
    for layer, sites in scopes(study):
        schedule = MaskSchedule(study, sites, selector, order)
        search = schedule.search(layer, examples)
        if options.fast:
            search = schedule.fast_search(layer, examples, 1 - options.tolerance)
            fast.append(search)
        if options.bisect:
            _bisect(search, schedule, options)
        else:
            search.evaluate_levels(grid, options.repeats, rounds, 1 - options.tolerance)
        yield search.measurement(
            "prunability", options, "units switched off", selector.name, units=schedule.units
        )
    if fast:
        saved = 1 - sum(search.made for search in fast) / sum(search.full for search in fast)
        study.warnings.append(
            f"prunability was measured with --fast: {saved:.0%} of the runs of examples were left "
            "out, so levels away from a crossing are known from some examples only"
        )


METRIC = Metric(
    measure, Options, documented=DetailTypes(Fraction, PrunabilityDetail, PrunabilityDetail)
)


def _bisect(search: LevelSearch, schedule: MaskSchedule, options: Options) -> None:
    """Halve the bracket of every repeat until its ends differ by one unit."""
    repeats = range(options.repeats)
    search.measure_levels((repeat, level) for repeat in repeats for level in (0.0, 1.0))
    while True:
        middles = []
        for repeat in repeats:
            bracket = search.bracket(repeat, 1 - options.tolerance)
            if bracket is None or bracket[1] - bracket[0] <= FINEST:
                continue
            middle = (bracket[0] + bracket[1]) / 2
            if schedule.curve_level(middle) not in map(schedule.curve_level, bracket):
                middles.append((repeat, middle))
        if not middles:
            return
        search.measure_levels(middles)
