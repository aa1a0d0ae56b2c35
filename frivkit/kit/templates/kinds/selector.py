"""Neighbouring channels in pairs, each pair a unit."""

import numpy as np

from frivkit.plugin import Site


class Pairs:
    """Channels 0 and 1 are a unit, 2 and 3 are the next."""

    name = "its-name"

    def count(self, site: Site) -> int:
        """Return the number of pairs."""
        return -(-site.width // 2)

    def mask(self, site: Site, keep: np.ndarray) -> np.ndarray:
        """Return which entries of an example stay, in a shape that broadcasts to it."""
        shape = [1] * len(site.shape)
        shape[site.axis - 1] = site.width
        return np.repeat(keep, 2)[: site.width].reshape(shape)

    def rows(self, site: Site, activations: np.ndarray) -> np.ndarray:
        """Return a row for each example and position, with the sum of each pair."""
        columns = np.moveaxis(activations, site.axis, -1).reshape(-1, site.width)
        return np.add.reduceat(columns, np.arange(0, site.width, 2), axis=1)

    def axes(self, site: Site) -> None:
        """Return None: a pair is no entry of an axis."""


PAIRS = Pairs()
