"""Spectra of activations: the eigenvalues of a layer's covariance, and their rank."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.units.moments import Moments
from frivkit.units.statistics import FLOAT32_ROUNDING, explained_shares, rank_at, reference_dropped

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """The eigenvalues of a layer's covariance.

    Attributes:
        values: Eigenvalues, largest first, none negative, shape (units,), or fewer if only the
            leading ones are known.
        total: The whole variance, the sum of all eigenvalues.
        units: The number of units.
    """

    values: Array
    total: float
    units: int

    @classmethod
    def of(cls, moments: Moments) -> "Spectrum":
        """Return the spectrum of a covariance (``numpy.linalg.eigvalsh``)."""
        covariance = moments.covariance
        constant = moments.variance == 0
        covariance[constant], covariance[:, constant] = 0.0, 0.0
        values = np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0.0)
        return cls(values, float(np.trace(covariance)), moments.units)

    @property
    def explained(self) -> Array:
        """The share of variance explained by the first 1, 2, ... components, in [0, 1].

        All ones if there is no variance.
        """
        return explained_shares(self.values, self.total)

    def rank(self, tolerance: float) -> int:
        """Return the fewest components that leave at most ``tolerance`` unexplained.

        :func:`frivkit.units.statistics.rank_at` with the rounding of float32 sums; the number of
        units if the eigenvalues known do not explain enough.

        Example:
            >>> Spectrum(np.array([8.0, 1.5, 0.5]), 10.0, 3).rank(0.05)
            2
        """
        rank = rank_at(self.values, tolerance, self.total, FLOAT32_ROUNDING)
        return self.units if rank is None else rank

    def reference_dropped(self, tolerance: float) -> int:
        """Return how many components the published code counts as redundant.

        See :func:`frivkit.units.statistics.reference_dropped`; all eigenvalues must be known.

        Example:
            >>> Spectrum(np.array([8.0, 1.5, 0.5]), 10.0, 3).reference_dropped(0.05)
            2
        """
        return reference_dropped(self.values, tolerance, self.total)


def not_finite(site: Site, *, exact: bool) -> ModelError:
    """Return the error for a layer whose activations are not finite and so have no variance.

    Args:
        site: The layer.
        exact: Whether they were summed in float64, so that ``exact=true`` is not advised.
    """
    remedy = "" if exact else ", or --option exact=true for numbers above 1e19"
    return ModelError(
        f"layer {site.layer} gives activations that are NaN, infinite or too large to square, so "
        f"they have no variance: give other data, or other layers with --layer{remedy}"
    )
