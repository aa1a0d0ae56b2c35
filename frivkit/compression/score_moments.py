"""Moments of queries, keys and weighed values, in a pass over some of the examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.logits import HeadMoments
from frivkit.compression.patch_moments import PatchReader, reading_batch
from frivkit.data import Dataset
from frivkit.data.subset import Subset
from frivkit.graph.model import Model
from frivkit.graph.sites.scores import HeadOperand, Score
from frivkit.runtime.execution import Execution
from frivkit.units.moments import Float64Array

EXAMPLES = 128
"""Examples that are read at most; each has many positions."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreMoments:
    """The moments of one product of queries and keys.

    Attributes:
        score: The product.
        heads: The moments of each head.
        spread: By head, the second moment of what an error of 1 in every logit, independent of the
            others, adds to the weighed values; shape (heads, dimensions of values, dimensions of
            values).  None if the values have no units.

    With weights p, values v and outputs c = Σ p v, an error e of the logits changes c by
    Σ p (v - c) e, in first order, so that the second moment of the change is Σ p² (v - c)(v - c)'.
    """

    score: Score
    heads: tuple[HeadMoments, ...]
    spread: Float64Array | None


def accumulate_score_moments(
    model: Model, scores: Sequence[Score], data: Dataset, execution: Execution
) -> tuple[ScoreMoments, ...]:
    """Run a model over at most ``EXAMPLES`` examples, and return the moments of its scores.

    Args:
        model: The model.
        scores: Its products of queries and keys.
        data: The examples.
        execution: How to run the model.
    """
    if not scores:
        return ()
    if data.examples > EXAMPLES:
        chosen = np.linspace(0, data.examples - 1, EXAMPLES).round().astype(np.int64)
        data = Subset(data, chosen, f"{EXAMPLES} of them")
    tensors = list(dict.fromkeys(name for score in scores for name in _read(score)))
    reader = PatchReader(model, (), execution.placement, tensors)
    size = reading_batch(model, tensors, execution)
    sums = [_Sums(score) for score in scores]
    for _, arrays in execution.runner.map(data, size, reader.of_batch, "attention"):
        for each in sums:
            each.add(arrays)
    return tuple(each.moments() for each in sums)


def _read(score: Score) -> list[str]:
    read = [score.query.tensor, score.key.tensor]
    if score.value is not None:
        read += [score.value.tensor, *([] if score.weights is None else [score.weights])]
    return read


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

    def __init__(self, score: Score) -> None:
        self._score = score
        self._queries = self._examples = self._keys = 0
        self._query: Any = 0.0
        self._key: Any = 0.0
        self._spread: Any = 0.0

    def add(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Add the tensors of a batch."""
        score = self._score
        query, key = (rows_of(each, arrays[each.tensor]) for each in (score.query, score.key))
        if score.value is not None:
            value = rows_of(score.value, arrays[score.value.tensor])
            given = None if score.weights is None else arrays[score.weights].astype(np.float64)
            weights = _weights(query, key, score.scale) if given is None else given
            self._add_spread(weights if weights.ndim == 4 else weights[:, np.newaxis], value)
        query = np.concatenate([query, np.ones((*query.shape[:3], 1))], axis=3)
        self._query = self._query + np.einsum("bhni,bhnj->hij", query, query)
        self._queries += query.shape[0] * query.shape[2]
        key -= key.mean(axis=2, keepdims=True)
        self._key = self._key + np.einsum("bhni,bhnj->hij", key, key)
        self._keys += key.shape[0] * key.shape[2]

    def _add_spread(self, weights: NDArray[np.float64], value: NDArray[np.float64]) -> None:
        value = np.repeat(value, weights.shape[1] // value.shape[1], axis=1)
        output, squares = weights @ value, weights**2
        within = np.einsum("bhk,bhki,bhkj->hij", squares.sum(axis=2), value, value)
        across = np.einsum("bhqi,bhqj->hij", squares @ value, output)
        between = np.einsum("bhq,bhqi,bhqj->hij", squares.sum(axis=3), output, output)
        self._spread = self._spread + within - across - across.transpose(0, 2, 1) + between

    def moments(self) -> ScoreMoments:
        """Return the moments of what was added."""
        heads = max(len(self._query), len(self._key))
        query = np.repeat(self._query / self._queries, heads // len(self._query), axis=0)
        key = np.repeat(self._key / self._keys, heads // len(self._key), axis=0)
        each = tuple(HeadMoments(q, k) for q, k in zip(query, key, strict=True))
        value = self._score.value
        return ScoreMoments(
            self._score, each, None if value is None else self._spread / self._queries
        )
