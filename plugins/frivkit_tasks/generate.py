"""Language models: the next token at each position, and the divergence of its distributions.

Source of the divergence: S. Kullback, R. A. Leibler, On Information and Sufficiency, Annals of
Mathematical Statistics 22(1), 1951; of the original's distribution from the other's, in nats.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import Claim, Comparer, Evidence, LabelOptions, ModelOutput, Task, TensorSpec
from frivkit.runtime.labels import LabelReader
from frivkit.tasks.classify import SameLabels, single

LEAST = 1e-30
"""Probability below which one counts as this much."""
WORDS = 64
"""Entries along the last axis from which they are taken for a vocabulary."""


def log_probabilities(outputs: NDArray[Any], *, axis: int, given: bool) -> NDArray[np.float64]:
    """Return the logarithms of the probabilities of tokens, shape (positions, tokens).

    Args:
        outputs: Logits or probabilities, shape (n, ...).
        axis: The axis of the tokens.
        given: Whether they are probabilities already.
    """
    moved = np.moveaxis(outputs, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1]).astype(np.float64)
    if given:
        return np.log(np.maximum(rows, LEAST))
    shifted = rows - rows.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found


class Divergence:
    """The mean divergence of the distributions of the next token.

    Args:
        axis: The axis of the tokens.
        given: Whether outputs are probabilities.
    """

    def __init__(self, axis: int, *, given: bool) -> None:
        self._axis, self._given = axis, given
        self._total, self._count = 0.0, 0

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        for was, now in zip(original[0], other[0], strict=True):  # float64 copies stay small
            one, two = (
                log_probabilities(each[np.newaxis], axis=self._axis, given=self._given)
                for each in (was, now)
            )
            with np.errstate(invalid="ignore"):
                gap = np.where(np.isneginf(one), 0.0, np.exp(one) * (one - two))
            self._total += float(gap.sum())
            self._count += len(gap)

    def result(self) -> Mapping[str, float | None]:
        """Return the mean divergence over all positions, in nats, at least 0."""
        return {"kl_divergence": self._total / self._count if self._count else None}


@dataclass(frozen=True, slots=True)
class NextTokens(SameLabels):
    """Reads the most probable token at each position.

    Attributes:
        reader: Reads the index of the largest entry.
        given: Whether outputs are probabilities.
    """

    reader: LabelReader = field(default_factory=lambda: LabelReader("", axis=-1))
    given: bool = False

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.int32]:
        """Return tokens, shape (n, positions)."""
        return self.reader.labels(outputs[0])

    def figures(self) -> Divergence:
        """Return the divergence."""
        return Divergence(self.reader.axis, given=self.given)


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    tokens = any(len(each.shape) == 1 and np.dtype(each.dtype).kind in "iu" for each in inputs)
    claims = []
    for output in outputs:
        shape = output.shape
        if not output.is_float or (output.rank or 2) < 2:
            continue
        many = shape is not None and len(shape) == 3 and (shape[2] or WORDS) >= WORDS
        last = output.softmax_axis in (None, 2)
        if tokens and many and last and "logits" in output.name.lower():
            reason = "of its name, and since the input holds tokens"
            claims.append(single(output, Evidence.NAME, reason))
        elif tokens and many and last and output.softmax_axis == 2:
            reason = "it gives probabilities at each token"
            claims.append(single(output, Evidence.SHAPE, reason))
        else:
            claims.append(single(output, Evidence.NONE, "it holds numbers"))
    return claims


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    (output,) = outputs
    axis = -1 if options.axis is None else options.axis
    return NextTokens(
        LabelReader(output.name, 0.0, axis, output.rows), output.operator == "Softmax"
    )


GENERATE = Task("next tokens", _claims, _comparer)
"""The most probable token at each position, along the last axis."""
