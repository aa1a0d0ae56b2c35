"""Spectra of activations: how many principal components explain so much of the variance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.units.moments import Moments

Array = NDArray[np.float64]
EXACT = 1e-6
"""Share of the variance within which sums of eigenvalues count as equal, as float32 sums do."""


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """The eigenvalues of a layer's covariance.

    Attributes:
        values: Eigenvalues, largest first, none negative, shape (units,) or fewer when only the
            leading ones are known.
        total: The whole variance, the sum of all eigenvalues.
        units: The number of units.
    """

    values: Array
    total: float
    units: int

    @classmethod
    def of(cls, moments: Moments) -> "Spectrum":
        """Take the spectrum of a covariance (``numpy.linalg.eigvalsh``)."""
        covariance = moments.covariance
        constant = moments.variance == 0
        covariance[constant], covariance[:, constant] = 0.0, 0.0
        values = np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0.0)
        return cls(values, float(np.trace(covariance)), moments.units)

    @property
    def explained(self) -> Array:
        """The share of variance explained by the first 1, 2, ... components, in [0, 1].

        All ones where there is no variance.
        """
        if self.total <= 0:
            return np.ones(len(self.values))
        explained: Array = np.minimum(np.cumsum(self.values) / self.total, 1.0)
        return explained

    def rank(self, tolerance: float) -> int:
        """Return the rank: the fewest components that leave at most ``tolerance`` unexplained.

        A layer without variance has rank 0: a bias can stand in for all of it.

        Source:
            Casper et al., AAAI 2021, section 4, "Redundancy".

        Example:
            >>> Spectrum(np.array([8.0, 1.5, 0.5]), 10.0, 3).rank(0.05)
            2
        """
        if self.total <= 0:
            return 0
        enough = self.explained >= 1 - tolerance - EXACT
        return int(enough.argmax()) + 1 if enough.any() else self.units

    def dropped_by_the_code(self, tolerance: float) -> int:
        """Return how many components the published code counts as redundant.

        The smallest number of smallest eigenvalues whose sum exceeds ``tolerance``, one more than
        can be dropped within it; 1 where there is no variance.

        Source:
            ``get_redundancy.py`` of the published code.

        Example:
            >>> Spectrum(np.array([8.0, 1.5, 0.5]), 10.0, 3).dropped_by_the_code(0.05)
            2
        """
        if self.total <= 0:
            return 1
        shares = np.cumsum(self.values[::-1]) / self.total
        return min(int(np.searchsorted(shares, tolerance, side="right")) + 1, self.units)


def infinite(site: Site, *, exact: bool) -> ModelError:
    """Return the error for a layer whose activations have no variance because they are not finite.

    Args:
        site: The layer.
        exact: Whether they were summed in float64, so that this is no way out.
    """
    remedy = "" if exact else ", or --option exact=true for numbers above 1e19"
    return ModelError(
        f"layer {site.layer} gives activations that are NaN, infinite or too large to square, so "
        f"they have no variance: give other data, or other layers with --layer{remedy}"
    )
