"""Unit selectors: how the tensor of a site is split into units."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.sites.site_map import Site


class UnitSelector(Protocol):
    """A way to split a site's tensor into units.  The target of an offer of ``unit_selectors``.

    A selector groups the entries of one example into units; a unit is ablated as a whole.
    """

    @property
    def name(self) -> str:
        """The name that ``--units`` takes."""

    def count(self, site: Site) -> int:
        """Return the number of units of a site."""

    def mask(self, site: Site, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the flags of units as flags of the entries of one example.

        Args:
            site: The site.
            keep: True for each unit that is kept, shape (count,).

        Returns:
            Booleans that broadcast against one example's tensor, as many axes as ``site.shape``.
        """

    def rows(self, site: Site, activations: NDArray[Any]) -> NDArray[Any]:
        """Return activations as a matrix with units as columns.

        Args:
            site: The site.
            activations: Shape (n, *site.shape), examples first.

        Returns:
            Shape (rows, count); each row is one observation of every unit.
        """

    def axes(self, site: Site) -> tuple[int, ...] | None:
        """Return the axes of the site's tensor whose entries are units; all others are positions.

        Axes count from the batch axis, 0, which always holds observations.  With them the runtime
        sums moments inside the graph; None, if units are not whole axes, makes it use ``rows``.
        """
