"""Bases: the moves that make a network smaller."""

from frivkit.compression.calibration import Calibration
from frivkit.compression.moves import Moves, branch_moves, rank_moves
from frivkit.compression.ranking import Ranker, rank_units


def select(calibration: Calibration, ranker: Ranker) -> Moves:
    """Remove units, so that a layer and all that reads it become narrower."""
    return Moves(rank_units(calibration, ranker))


def pca(calibration: Calibration, ranker: Ranker) -> Moves:
    """Factorize a node by the principal directions of its outputs.

    Source:
        Casper et al., "Frivolous Units", AAAI 2021, appendix C: a basis A' and weights W' with
        A'W' as near as possible to AW.  There directions of the activations A are suggested, the
        best for any consumer; for one consumer those of AW are better (reduced-rank
        regression, Izenman, Journal of Multivariate Analysis 5, 1975).
    """
    return rank_moves(calibration, "pca")


def separable(calibration: Calibration, ranker: Ranker) -> Moves:
    """Factorize a convolution of k x k into one of k x 1 and one of 1 x k.

    Source: see :mod:`frivkit.compression.separable`.
    """
    return rank_moves(calibration, "separable")


def auto(calibration: Calibration, ranker: Ranker) -> Moves:
    """Offer every move: units, both kinds of factorization, and whole residual branches."""
    return (
        select(calibration, ranker)
        + separable(calibration, ranker)
        + pca(calibration, ranker)
        + branch_moves(calibration)
    )
