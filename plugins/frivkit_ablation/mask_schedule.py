"""The masks of an ablation: at each level, a longer prefix of one order of the units."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.sites.site_map import Site
from frivkit.measure.study import Study
from frivkit.measure.unchanged import Unchanged
from frivkit.units.masks import Mask, keep_mask
from frivkit.units.selector import UnitSelector
from frivkit.units.statistics import ablated_units
from frivkit_ablation.fast_search import FastSearch
from frivkit_ablation.level_search import CurvePoint, LevelSearch

Order = Callable[[Site, int], NDArray[np.int64]]
"""Returns the order in which a repeat ablates the units of a site."""


class MaskSchedule:
    """The masks of one scope at each level.

    Attributes:
        units: The number of units of the scope.
    """

    def __init__(
        self, study: Study, sites: Sequence[Site], selector: UnitSelector, order: Order
    ) -> None:
        """Prepare masks; nothing is run.

        Args:
            study: The study; its protocol decides how counts are rounded, and whether a curve has
                the nominal level or the share really ablated.
            sites: The sites that are ablated together.
            selector: How a tensor is read as units.
            order: The order of ablation.
        """
        self._study, self._selector, self._order = study, selector, order
        self._sites = {site: selector.count(site) for site in sites}
        self.units = sum(self._sites.values())

    def search(self, layer: str | None, examples: int | None) -> LevelSearch:
        """Return the curves that these masks give, without any level measured yet.

        Args:
            layer: The layer's name, None for the network.
            examples: How many of the first examples count; None takes all.
        """
        return LevelSearch(
            self._study, layer, self._run, curve_level=self.curve_level, examples=examples
        )

    def fast_search(self, layer: str | None, examples: int | None, threshold: float) -> FastSearch:
        """Return the same, levels far from the crossing being run on some examples only.

        Args:
            layer: The layer's name, None for the network.
            examples: How many of the first examples count; None takes all.
            threshold: 1 - tolerance.
        """
        return FastSearch(
            self._study,
            layer,
            self._run,
            threshold,
            curve_level=self.curve_level,
            examples=examples,
        )

    def curve_level(self, level: float) -> float:
        """Return the level on the curve of a nominal level, in [0, 1].

        The same as :func:`frivkit.units.statistics.curve_level`, over all sites together.
        """
        if self._study.protocol == "reference":
            return level
        return sum(self._count(level, units) for units in self._sites.values()) / self.units

    def _run(
        self, points: Sequence[CurvePoint], among: NDArray[np.int64] | None = None
    ) -> Unchanged:
        masks = [self._mask(*point) for point in points]
        return self._study.unchanged(masks, self._selector, among=among)

    def _mask(self, repeat: int, level: float) -> Mask:
        return Mask(
            {
                site.name: keep_mask(self._order(site, repeat), self._count(level, units))
                for site, units in self._sites.items()
            }
        )

    def _count(self, level: float, units: int) -> int:
        return ablated_units(level, units, self._study.protocol)
