"""How many units of which sites go at a level: masks of growing prefixes of an order."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.sites.site_map import Site
from frivkit.measure.study import Study
from frivkit.units.masks import Mask, keep_mask
from frivkit.units.selector import UnitSelector
from frivkit_ablation.level_search import LevelSearch, Try

Order = Callable[[Site, int], NDArray[np.int64]]
"""Gives the order in which a repeat ablates the units of a site."""


class MaskSchedule:
    """The masks of one scope.

    Attributes:
        units: The number of units of the scope.
    """

    def __init__(
        self, study: Study, sites: Sequence[Site], selector: UnitSelector, order: Order
    ) -> None:
        """Begin.

        Args:
            study: The study; under its reference protocol counts are rounded down, and a level's
                place on the curve is the nominal one.
            sites: The sites that are ablated together.
            selector: How units are read.
            order: The order of ablation.
        """
        self._study, self._selector, self._order = study, selector, order
        self._reference = study.protocol == "reference"
        self._sites = {site: selector.count(site) for site in sites}
        self.units = sum(self._sites.values())

    def ladder(self, layer: str | None, examples: int | None) -> LevelSearch:
        """Return the curves that these masks make."""
        return LevelSearch(self._study, layer, self._run, share=self.share, examples=examples)

    def share(self, level: float) -> float:
        """Return the place of a nominal level on the curve: what share is really ablated there."""
        if self._reference:
            return level
        return sum(self._count(level, units) for units in self._sites.values()) / self.units

    def _run(self, tries: Sequence[Try]) -> NDArray[np.int32]:
        return self._study.ablate([self._mask(*one) for one in tries], self._selector)

    def _mask(self, repeat: int, level: float) -> Mask:
        return Mask(
            {
                site.name: keep_mask(self._order(site, repeat), self._count(level, units))
                for site, units in self._sites.items()
            }
        )

    def _count(self, level: float, units: int) -> int:
        return int(level * units) if self._reference else int(level * units + 0.5)
