"""The job of all competitors in timing masks: nested random masks of each layer and the network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.sites.site_map import Site
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, open_study
from frivkit.runtime.execution import Execution
from frivkit.units.masks import keep_mask, random_order

Flags = NDArray[np.bool_]
Curves = dict[tuple[str, int, int], float]
"""The label agreement by scope, repeat and level, as in :class:`Trial`."""

SEED = 0
THREADS = 1
"""One thread for every competitor in masks, and its processor time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One mask: its point on the curves, and its flags for the site's tensor.

    Attributes:
        scope: A layer, or ``"network"``.
        repeat: The index of the random order.
        level: The index of the level.
        keep: By layer, whether each entry stays, shape (1, *site) or (1, width, 1, 1).
    """

    scope: str
    repeat: int
    level: int
    keep: Mapping[str, Flags]


@dataclass(frozen=True, slots=True)
class Job:
    """All trials of one network with one unit selector.

    Attributes:
        sites: The sites, in the order of the graph.
        units: The unit selector.
        repeats: The number of random orders.
        levels: The number of levels from 0 to 1, both included.
        trials: One for each different mask that ablates a unit.
    """

    sites: tuple[Site, ...]
    units: str
    repeats: int
    levels: int
    trials: tuple[Trial, ...]

    @property
    def scopes(self) -> tuple[str, ...]:
        """The network and each layer."""
        return ("network", *(site.layer for site in self.sites))

    @property
    def passes(self) -> int:
        """The number of passes over the data for all levels of all repeats, and the baseline."""
        return len(self.scopes) * self.levels * self.repeats + 1


def job(model: Path, data: str, units: str, *, repeats: int, levels: int) -> Job:
    """Return the job of masks that prunability draws, with level x units rounded to an integer."""
    study, _ = open_study(Request(model, data=data, units=units))
    selector = installed().load("unit_selectors", units)

    def mask(site: Site, repeat: int, level: int) -> Flags:
        count = selector.count(site)
        ablated = int(level / (levels - 1) * count + 0.5)
        keep = keep_mask(random_order(SEED, site.layer, repeat, count), ablated)
        spread: Flags = selector.mask(site, keep)[np.newaxis]
        return spread

    def trials() -> Iterator[Trial]:
        for scope in ("network", *(site.layer for site in study.sites)):
            taken = [site for site in study.sites if scope in ("network", site.layer)]
            for level in range(1, levels):
                for repeat in range(1 if level == levels - 1 else repeats):
                    keep = {site.layer: mask(site, repeat, level) for site in taken}
                    yield Trial(scope, repeat, level, keep)

    return Job(study.sites, units, repeats, levels, tuple(trials()))


def request(model: Path, data: str, units: str, threads: int = THREADS) -> Request:
    """Return the request to frivkit."""
    return Request(model, data=data, units=units, execution=Execution(threads=threads, seed=SEED))
