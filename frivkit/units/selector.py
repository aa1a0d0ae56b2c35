"""Units: how the tensor of a site is read as units."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.sites.site_map import Site


class UnitSelector(Protocol):
    """A way to read a site's tensor as units.  The target of an offer of ``unit_selectors``.

    A selector groups the entries of one example into units; a unit is ablated as a whole.
    """

    @property
    def name(self) -> str:
        """The name that ``--units`` takes."""

    def count(self, site: Site) -> int:
        """Return the number of units of a site."""

    def mask(self, site: Site, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Spread one keep-flag a unit over the entries of one example.

        Args:
            site: The site.
            keep: True for each unit that stays, shape (count,).

        Returns:
            Flags that broadcast against one example's tensor: as many axes as ``site.shape``.
        """

    def rows(self, site: Site, activations: NDArray[Any]) -> NDArray[Any]:
        """Lay activations out with units as columns.

        Args:
            site: The site.
            activations: Shape (n, *site.shape), examples first.

        Returns:
            Shape (rows, count); each row is one observation of every unit.
        """

    def axes(self, site: Site) -> tuple[int, ...] | None:
        """Return the axes of the site's tensor whose entries are units; the others are places.

        Axes count from the batch, which is 0 and always holds observations.  The runtime can then
        sum moments itself.  None where units are not whole axes: ``rows`` is used instead.
        """
