"""Orders in which the units of a bundle leave, from what moments and weights tell."""

import zlib

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.layer_groups import LayerGroup
from frivkit.measure.study import Study
from frivkit.units.elimination import eliminate_together

Order = NDArray[np.int64]


def backward(layer_group: LayerGroup, study: Study) -> Order:
    """Let the unit leave next whose loss raises the error of the refitted readers least.

    Source: see :mod:`frivkit.units.elimination`.
    """
    done = eliminate_together(layer_group.terms, layer_group.ridge).order
    return np.concatenate([np.setdiff1d(np.arange(len(layer_group.groups)), done), done])


def cholesky(layer_group: LayerGroup, study: Study) -> Order:
    """Let units leave in the reverse of the order in which pivoted Cholesky picks them.

    It picks next the unit that those picked explain least, whatever reads it.

    Source:
        Interpolative decomposition by a rank-revealing factorisation, Chee et al., "Model
        Preserving Compression for Neural Networks", NeurIPS 2022; pivoted Cholesky of the
        covariance picks what pivoted QR of the activations does.
    """
    residual = layer_group.covariance
    count = len(residual)
    picked: list[int] = []
    left = np.ones(count, np.bool_)
    for _ in range(count):
        diagonal = np.where(left, residual.diagonal(), -np.inf)
        best = int(diagonal.argmax())
        left[best] = False
        picked.append(best)
        pivot = residual[best, best]
        if pivot > 0:
            column = residual[:, best].copy()
            residual -= np.outer(column, column) / pivot
    return np.array(picked[::-1], np.int64)


def variance(layer_group: LayerGroup, study: Study) -> Order:
    """Let the unit of least variance leave first, each reader's view of the layer counting alike.

    Example:
        >>> from frivkit.units.elimination import Term
        >>> term = Term(np.diag([2.0, 1.0, 3.0]), None, np.arange(3))
        >>> none = np.empty(0)
        >>> variance(LayerGroup((), (), np.arange(3), {}, (term,), none, 1e-6), None).tolist()
        [1, 0, 2]
    """
    return np.argsort(layer_group.covariance.diagonal(), kind="stable")


def norm(layer_group: LayerGroup, study: Study) -> Order:
    """Let the unit that is written by the smallest weights leave first (Euclidean norm).

    Source: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, with the squared norm.
    """
    return np.argsort(layer_group.written, kind="stable")


def random(layer_group: LayerGroup, study: Study) -> Order:
    """Let units leave in an order drawn by the seed and the layers' names alone."""
    names = zlib.crc32("\0".join(layer_group.layers).encode())
    return np.random.default_rng([study.seed, names]).permutation(len(layer_group.groups))
