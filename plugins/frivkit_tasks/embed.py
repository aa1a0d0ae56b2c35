"""Embeddings: whether the nearest neighbour of each example stays, and the cosine.

Neighbours are sought by the cosine among all other examples, those of a network in its own
embeddings: that is what a search by that network finds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import Claim, Comparer, Evidence, LabelOptions, ModelOutput, Task, TensorSpec
from frivkit.tasks.classify import single

NAMES = ("embedding", "embeddings", "embed", "embeds", "emb", "feature", "features", "feat",
         "descriptor", "descriptors", "pooler", "pooled")  # fmt: skip
"""Words in the names of outputs that hold embeddings."""
ROWS = 512
"""Examples whose neighbours are sought at a time."""
NONE = -1
"""The neighbour of an example whose embedding is undefined."""


def directions(outputs: NDArray[Any]) -> NDArray[np.float32]:
    """Return embeddings scaled to length 1, shape (n, entries); zeros stay zeros.

    Args:
        outputs: Shape (n, ...).
    """
    rows = outputs.reshape(len(outputs), -1).astype(np.float64)
    length = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore"):
        scaled = rows / np.where(length > 0, length, 1.0)
    return scaled.astype(np.float32)


def neighbours(embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the nearest other row of each row by the cosine, the first of several.

    Args:
        embeddings: Rows of length 1, shape (n, entries).

    Returns:
        Shape (n,); ``NONE`` for a row that holds NaN, and if there is no other.

    Example:
        >>> rows = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
        >>> neighbours(rows).tolist()
        [1, 2, 1]
    """
    n = len(embeddings)
    defined = np.atleast_1d(np.isfinite(embeddings).all(axis=1))
    rows = np.where(defined[:, np.newaxis], embeddings, 0.0)
    found = np.full(n, NONE, np.int64)
    if defined.sum() < 2:
        return found
    for first in range(0, n, ROWS):
        cosines = rows[first : first + ROWS] @ rows.T
        cosines[:, ~defined] = -np.inf
        at = np.arange(len(cosines))
        cosines[at, at + first] = -np.inf
        found[first : first + ROWS] = cosines.argmax(axis=1)
    found[~defined] = NONE
    return found


class Cosines:
    """The mean and the least cosine of the embeddings of the same example by two networks."""

    def __init__(self) -> None:
        self._total, self._least, self._count = 0.0, np.inf, 0

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        one, two = directions(original[0]), directions(other[0])
        cosines = np.einsum("ij,ij->i", one, two, dtype=np.float64)
        self._total += float(cosines.sum())
        self._least = float(np.minimum(self._least, cosines.min()))
        self._count += len(cosines)

    def result(self) -> Mapping[str, float | None]:
        """Return the mean and the least cosine, in [-1, 1]."""
        if not self._count:
            return {"mean_cosine": None, "least_cosine": None}
        return {"mean_cosine": self._total / self._count, "least_cosine": self._least}


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Reads the direction of each embedding, and compares nearest neighbours."""

    of_set: bool = field(default=True, init=False)
    spread_needed: bool = field(default=False, init=False)

    def fitted(self, outputs: Iterable[Sequence[NDArray[Any]]]) -> "Embeddings":
        """Return itself: nothing is learnt."""
        return self

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return embeddings of length 1, shape (n, entries)."""
        return directions(outputs[0])

    def positions(self, predictions: NDArray[Any]) -> int:
        """Return 1: an example has one nearest neighbour."""
        return 1

    def undefined(self, predictions: NDArray[Any]) -> NDArray[np.int64]:
        """Return 1 for an embedding that holds NaN, shape (n,)."""
        found: NDArray[np.int64] = np.isnan(predictions).any(axis=1).astype(np.int64)
        return found

    def agreement(self, original: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 where the nearest neighbour stays, shape (n,).

        Args:
            original: The predictions of all examples.
            other: Those of another network.
        """
        one, two = neighbours(original), neighbours(other)
        found: NDArray[np.float64] = ((one == two) & (two != NONE)).astype(np.float64)
        return found

    def figures(self) -> Cosines:
        """Return cosines."""
        return Cosines()


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    claims = []
    for output in outputs:
        if not output.is_float or (output.rank or 2) < 2:
            continue
        words = output.name.lower().replace("/", "_").replace(".", "_").split("_")
        flat = output.rank == 2
        if flat and output.normalized:
            claims.append(single(output, Evidence.GRAPH, "it is divided by its norm"))
        elif flat and any(word in NAMES for word in words):
            claims.append(single(output, Evidence.NAME, "of its name"))
        else:
            claims.append(single(output, Evidence.NONE, "it holds numbers"))
    return claims


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    return Embeddings()


EMBED = Task("nearest neighbours", _claims, _comparer)
"""Whether the nearest neighbour of each example among the others stays."""
