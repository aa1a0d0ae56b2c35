"""Rankings: the order in which the units of a layer group are removed."""

import zlib

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.layer_groups import LayerGroup
from frivkit.measure.study import Study
from frivkit.units.elimination import eliminate_together
from frivkit.units.masks import Mask, random_order
from frivkit.units.statistics import KEPT

Order = NDArray[np.int64]
REPEATS = 3
"""Random orders that the ranking ``prunable`` tries, as many as the paper."""
LEVELS = 7
"""Shares of units from 0 to 1, both included, at which it compares labels, as in the paper."""


def backward(layer_group: LayerGroup, study: Study) -> Order:
    """Remove next the unit that raises the reconstruction error of refitted consumers least.

    Source: see :mod:`frivkit.units.elimination`.
    """
    order = eliminate_together(layer_group.terms, layer_group.ridge).order
    return np.concatenate([np.setdiff1d(np.arange(len(layer_group.groups)), order), order])


def cholesky(layer_group: LayerGroup, study: Study) -> Order:
    """Remove units in the reverse of the order in which pivoted Cholesky selects them.

    It selects next the unit that the selected ones explain least, whatever consumes it.

    Source:
        Interpolative decomposition by a rank-revealing factorisation, Chee et al., "Model
        Preserving Compression for Neural Networks", NeurIPS 2022; pivoted Cholesky of the
        covariance selects what pivoted QR of the activations does.
    """
    residual = layer_group.covariance
    count = len(residual)
    selected: list[int] = []
    is_candidate = np.ones(count, np.bool_)
    for _ in range(count):
        diagonal = np.where(is_candidate, residual.diagonal(), -np.inf)
        best = int(diagonal.argmax())
        is_candidate[best] = False
        selected.append(best)
        pivot = residual[best, best]
        if pivot > 0:
            column = residual[:, best].copy()
            residual -= np.outer(column, column) / pivot
    return np.array(selected[::-1], np.int64)


def variance(layer_group: LayerGroup, study: Study) -> Order:
    """Remove the unit of least variance first; all consumers of the layer count alike.

    Example:
        >>> from frivkit.units.elimination import Term
        >>> term = Term(np.diag([2.0, 1.0, 3.0]), None, np.arange(3))
        >>> none = np.empty(0)
        >>> variance(LayerGroup((), (), np.arange(3), {}, (term,), none, 1e-6), None).tolist()
        [1, 0, 2]
    """
    return np.argsort(layer_group.covariance.diagonal(), kind="stable")


def norm(layer_group: LayerGroup, study: Study) -> Order:
    """Remove first the unit that is produced by the smallest weights, in the Euclidean norm.

    Source: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017, with the squared norm.
    """
    return np.argsort(layer_group.written, kind="stable")


def random(layer_group: LayerGroup, study: Study) -> Order:
    """Remove units in an order that depends on the seed and the names of the layers alone."""
    names = zlib.crc32("\0".join(layer_group.layers).encode())
    return np.random.default_rng([study.seed, names]).permutation(len(layer_group.groups))


def prunable(layer_group: LayerGroup, study: Study) -> Order:
    """Remove units in the random order of which most can be set to zero with unchanged labels.

    Source:
        Casper et al., "Frivolous Units", AAAI 2021, section 3: random subsets are ablated, and the
        largest that leaves the labels of 80 % of the examples unchanged is the prunable one.
        Ties between orders are broken by the mean share of unchanged labels.
    """
    units = len(layer_group.groups)
    orders = [
        random_order(study.seed, layer_group.layers[0], repeat, units) for repeat in range(REPEATS)
    ]
    counts = np.unique(np.rint(np.linspace(0, 1, LEVELS)[1:] * units).astype(int))
    masks = [_mask(layer_group, order[:count]) for order in orders for count in counts]
    shares = study.unchanged(masks, study.units("map")).shares
    same = shares.mean(axis=1).reshape(REPEATS, -1)
    levels = np.logical_and.accumulate(same >= KEPT, axis=1).sum(axis=1)
    best = max(range(REPEATS), key=lambda repeat: (levels[repeat], same[repeat].mean()))
    return orders[best]


def _mask(layer_group: LayerGroup, indices: Order) -> Mask:
    removed = layer_group.groups[indices]
    return Mask({site: ~np.isin(groups, removed) for site, groups in layer_group.members.items()})
