"""The two unit selectors of the paper.

Source: Casper et al., "Frivolous Units", AAAI 2021, section 4.  Prunability treats "each spatial
location as a different unit"; redundancy treats "each feature map output as a unit" whose
locations are examples.  The published code ablates whole feature maps.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.sites.site_map import Site


class _Map:
    """A feature map (channel) is a unit, its positions are observations; dense units likewise."""

    name = "map"

    def count(self, site: Site) -> int:
        return site.width

    def mask(self, site: Site, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        shape = [1] * len(site.shape)
        shape[site.axis - 1] = site.width
        return keep.reshape(shape)

    def rows(self, site: Site, activations: NDArray[Any]) -> NDArray[Any]:
        return np.moveaxis(activations, site.axis, -1).reshape(-1, site.width)

    def axes(self, site: Site) -> tuple[int, ...]:
        return (site.axis,)


class _Location:
    """Every entry of the tensor is a unit: each channel at each position."""

    name = "location"

    def count(self, site: Site) -> int:
        return prod(site.shape)

    def mask(self, site: Site, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return keep.reshape(site.shape)

    def rows(self, site: Site, activations: NDArray[Any]) -> NDArray[Any]:
        return activations.reshape(len(activations), -1)

    def axes(self, site: Site) -> tuple[int, ...]:
        return tuple(range(1, len(site.shape) + 1))


MAP = _Map()
LOCATION = _Location()
