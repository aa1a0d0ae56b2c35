"""Moments of queries and of what reads their keys, in a pass over some of the examples.

With weights p, values v and outputs c, errors e of the logits of one query change its output by
Σ p (v - c) e, in first order.  An error of the product of queries and keys is e = q' N k, so that
the change is C' N' q with C = Σ p k (v - c)', the covariance of keys and values under the Softmax
of that query.  Its square in the weights G of the readers is q' N (C G C') N' q.  Queries and C are
taken as independent: tr(N' E[q q'] N E[C G C']), so that E[C G C'] stands where the second moment
of keys would for the error of logits alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.logits import HeadMoments, Logits
from frivkit.compression.patch_moments import PatchReader, reading_batch
from frivkit.compression.score_readers import weights_of_readers
from frivkit.compression.turned_logits import CutLogits, TurnedLogits
from frivkit.compression.turned_queries import TurnCheck
from frivkit.data import Dataset
from frivkit.data.subset import Subset
from frivkit.graph.model import Model
from frivkit.graph.sites.projections import Projection, find_projection
from frivkit.graph.sites.scores import HeadOperand, Score
from frivkit.graph.sites.site_map import SiteMap
from frivkit.runtime.execution import Execution
from frivkit.units.moments import Float64Array

EXAMPLES = 128
"""Examples that are read at most; each has many positions."""
QUERIES = 32
"""Queries of an example at which the effect of logits is looked at, evenly spread."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMoments:
    """The moments of one product of queries and keys.

    Attributes:
        score: The product.
        heads: The moments of each head, with the maps that its queries can take.
        projection: The weights into which these maps go, None if there are none.
    """

    score: Score
    heads: tuple[Logits, ...]
    projection: Projection | None


def accumulate_score_moments(
    model: Model,
    scores: Sequence[Score],
    data: Dataset,
    execution: Execution,
    *,
    site_map: SiteMap,
    linear_consumers: Sequence[LinearConsumer],
) -> tuple[ScoreMoments, ...]:
    """Run a model over at most ``EXAMPLES`` examples, and return the moments of its scores.

    Args:
        model: The model.
        scores: Its products of queries and keys.
        data: The examples.
        execution: How to run the model.
        site_map: Its sites.
        linear_consumers: The readers of what attentions compute.
    """
    if not scores:
        return ()
    if data.examples > EXAMPLES:
        chosen = np.linspace(0, data.examples - 1, EXAMPLES).round().astype(np.int64)
        data = Subset(data, chosen, f"{EXAMPLES} of them")
    sums = [
        _Sums(
            score,
            weights_of_readers(score, linear_consumers),
            find_projection(model, site_map, score.query),
        )
        for score in scores
    ]
    tensors = list(dict.fromkeys(name for each in sums for name in each.tensors))
    reader = PatchReader(model, (), execution.placement, tensors)
    size = reading_batch(model, tensors, execution)
    for _, arrays in execution.runner.map(data, size, reader.of_batch, "attention"):
        for each in sums:
            each.add(arrays)
    return tuple(each.moments() for each in sums)


def rows_of(operand: HeadOperand, tensor: NDArray[Any]) -> NDArray[np.float64]:
    """Return an operand by example and head, shape (examples, heads, positions, dimensions)."""
    order = [operand.positions, operand.dimensions]
    others = [axis for axis in range(tensor.ndim) if axis not in order]
    rows = tensor.transpose(*others, *order).astype(np.float64)
    return rows if rows.ndim == 4 else rows[:, np.newaxis]


def _weights(
    query: NDArray[np.float64], key: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Return what a Softmax over keys gives, without a mask, as :func:`rows_of` orders them."""
    key = np.repeat(key, query.shape[1] // key.shape[1], axis=1)
    logits = scale * query @ key.transpose(0, 1, 3, 2)
    powers = np.exp(logits - logits.max(axis=3, keepdims=True))
    weights: NDArray[np.float64] = powers / powers.sum(axis=3, keepdims=True)
    return weights


class _Sums:
    """Accumulates the moments of one score."""

    def __init__(
        self, score: Score, consumers: Float64Array | None, projection: Projection | None
    ) -> None:
        self._score, self._consumers, self._projection = score, consumers, projection
        rotated = projection is not None and projection.pairs is not None
        self._turns = TurnCheck(projection) if projection is not None and rotated else None
        self._queries = self._keys = self._looked_at = 0
        self._query: Any = 0.0
        self._key: Any = 0.0
        self._effect: Any = 0.0

    @property
    def tensors(self) -> list[str]:
        """The tensors to read."""
        score, read = self._score, [self._score.query.tensor, self._score.key.tensor]
        if score.value is not None:
            read += [score.value.tensor, *([] if score.weights is None else [score.weights])]
        return read if self._turns is None else [*read, self._turns.tensor]

    def add(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Add the tensors of a batch."""
        score = self._score
        query, key = (rows_of(each, arrays[each.tensor]) for each in (score.query, score.key))
        key -= key.mean(axis=2, keepdims=True)
        if self._turns is not None:
            self._turns.add(arrays[self._turns.tensor], query)
        if score.value is not None and self._consumers is not None:
            count = query.shape[2]
            at = np.unique(np.linspace(0, count - 1, min(count, QUERIES)).round().astype(np.intp))
            if score.weights is None:
                weights = _weights(query[:, :, at], key, score.scale)
            else:
                weights = arrays[score.weights][..., at, :].astype(np.float64)
            value = rows_of(score.value, arrays[score.value.tensor])
            weights = weights if weights.ndim == 4 else weights[:, np.newaxis]
            value = np.repeat(value, len(self._consumers) // value.shape[1], axis=1)
            self._add_effect(weights, value @ self._consumers, key)
        query = np.concatenate([query, np.ones((*query.shape[:3], 1))], axis=3)
        self._query = self._query + np.einsum("bhni,bhnj->hij", query, query)
        self._queries += query.shape[0] * query.shape[2]
        self._key = self._key + np.einsum("bhni,bhnj->hij", key, key)
        self._keys += key.shape[0] * key.shape[2]

    def _add_effect(self, weights: Float64Array, read: Float64Array, key: Float64Array) -> None:
        """Add the second moments of what keys do to readers, through the Softmax of each query.

        Args:
            weights: What the Softmax gives, shape (examples, heads, queries, keys).
            read: Values, multiplied by the weights of their readers, shape (examples, heads, keys,
                dimensions).
            key: Keys about their mean, shape (examples, heads or fewer, keys, dimensions).
        """
        heads = weights.shape[1]
        key = np.repeat(key, heads // key.shape[1], axis=1)
        total = np.zeros((heads, key.shape[3], key.shape[3]))
        for example in range(len(weights)):
            for head in range(heads):
                p, k, v = weights[example, head], key[example, head], read[example, head]
                # Of each query the covariance of values and keys, weighed by its Softmax.
                means = (p @ v)[:, :, np.newaxis] * (p @ k)[:, np.newaxis]
                rows = ((p[:, np.newaxis] * v.T) @ k - means).reshape(-1, k.shape[1])
                total[head] += rows.T @ rows
        self._effect = self._effect + total
        self._looked_at += weights.shape[0] * weights.shape[2]

    def moments(self) -> ScoreMoments:
        """Return the moments of what was added."""
        heads = max(len(self._query), len(self._key))
        query = np.repeat(self._query / self._queries, heads // len(self._query), axis=0)
        key = np.repeat(self._key / self._keys, heads // len(self._key), axis=0)
        if self._looked_at:
            key = self._score.scale**2 * self._effect / self._looked_at
        else:  # nothing is known but the logits themselves
            key = key / (float(np.sum(query[:, :-1, :-1] * key)) or 1.0)
        projection = self._projection if self._turns is None else self._turns.projection()
        logits: list[Logits] = []
        for q, k in zip(query, key, strict=True):
            if projection is None:
                logits.append(CutLogits(q[:-1, :-1], k))
            elif projection.pairs is None:
                logits.append(HeadMoments(q, k))
            else:
                logits.append(TurnedLogits(q[:-1, :-1], k, projection.pairs))
        return ScoreMoments(self._score, tuple(logits), projection)
