"""The weights by which linear consumers read what the heads of an attention compute."""

from collections.abc import Sequence

import numpy as np

from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.graph.layout import IntArray
from frivkit.graph.sites.scores import Score
from frivkit.units.moments import Float64Array


def weights_of_readers(
    score: Score, linear_consumers: Sequence[LinearConsumer]
) -> Float64Array | None:
    """Return the weights by which consumers read the output of each head.

    A squared error of the outputs of a head, times these weights, is a share of the variance of the
    error tensors of the consumers.

    Returns:
        A square root of the inner products of the weights, shape (heads, dimensions of values,
        dimensions of values); None if there is a head of which none is known.
    """
    if score.value is None:
        return None
    heads = max(len(score.query.groups), len(score.key.groups))
    groups = np.repeat(score.value.groups, heads // len(score.value.groups), axis=0)
    width = groups.shape[1]
    products, known = np.zeros((heads, width, width)), np.zeros(heads, np.bool_)
    for each in linear_consumers:
        weights = each.matrix * each.error_scale
        for head in range(heads):
            columns = _columns(each, groups, head)
            if columns is not None and each.error_scale.any():
                own = weights[columns].reshape(width, -1)
                products[head] += own @ own.T
                known[head] = True
    values, vectors = np.linalg.eigh(products)
    roots: Float64Array = vectors * np.sqrt(np.maximum(values, 0.0))[:, np.newaxis]
    return roots if known.all() else None


def _columns(consumer: LinearConsumer, groups: IntArray, head: int) -> IntArray | None:
    """Return the columns of a consumer that read a head, None if it does not read all of it.

    Heads that share values are read at columns of their own, in the order of the heads.

    Args:
        consumer: The consumer.
        groups: The pruning group of each dimension of values, shape (heads, dimensions).
        head: The head.

    Returns:
        Shape (dimensions, columns of a unit).
    """
    size = consumer.source.kernel_size
    axis = consumer.group_ids[::size]
    before = int((groups[:head] == groups[head]).all(axis=1).sum())
    found = [np.flatnonzero(axis == group) for group in groups[head]]
    if any(len(places) <= before for places in found):
        return None
    places = np.array([each[before] for each in found])
    columns: IntArray = places[:, np.newaxis] * size + np.arange(size)
    return columns
