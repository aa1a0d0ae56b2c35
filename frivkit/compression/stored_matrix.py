"""The weights of a node as a matrix, which is made of the stored numbers whenever it is used."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class StoredMatrix:
    """Weights as they are stored, perhaps in a mapped file, read as a matrix.

    The matrices of all nodes of a network take twice the memory of its file, or more, so none is
    kept.

    Attributes:
        stored: The weight in the shape and the number type of the file.
        op: The operator that reads it: Conv, ConvTranspose, Gemm or MatMul.
        transposed: Whether a Gemm reads it transposed.
        scale: What a Gemm multiplies products by; None for 1.
        outputs: Which outputs are left, shape (outputs,); None if all are.

    Example:
        >>> weights = StoredMatrix(np.array([[1, 2, 3], [4, 5, 6]], np.float16), "Gemm", True)
        >>> weights.shape, weights.matrix.tolist()
        ((3, 2), [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])
        >>> weights.with_outputs(np.array([False, True])).matrix.tolist()
        [[4.0], [5.0], [6.0]]
    """

    stored: NDArray[Any]
    op: str
    transposed: bool = False
    scale: float | None = None
    outputs: NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of columns and of outputs that are left."""
        columns, outputs = self._sizes()
        return columns, outputs if self.outputs is None else int(self.outputs.sum())

    @property
    def matrix(self) -> Float64Array:
        """The matrix, shape (columns, outputs), made anew."""
        weight = self.stored.astype(np.float64)
        if self.op == "Conv":
            matrix = weight.reshape(len(weight), -1).T
        elif self.op == "ConvTranspose":
            matrix = weight.reshape(len(weight), -1)
        else:
            matrix = weight.T if self.transposed else weight
        if self.scale is not None:
            matrix = matrix * self.scale
        return matrix if self.outputs is None else matrix[:, self.outputs]

    def with_outputs(self, kept: NDArray[np.bool_]) -> "StoredMatrix":
        """Return the matrix with some of the outputs that are left.

        Args:
            kept: Which, shape (outputs that are left,).
        """
        flags = np.ones(self._sizes()[1], np.bool_) if self.outputs is None else self.outputs
        left = np.zeros_like(flags)
        left[np.flatnonzero(flags)[kept]] = True
        return replace(self, outputs=left)

    def _sizes(self) -> tuple[int, int]:
        """Return the numbers of columns and of all outputs."""
        sizes = self.stored.shape
        if self.op == "Conv":
            return prod(sizes[1:]), sizes[0]
        if self.op == "ConvTranspose":
            return sizes[0], prod(sizes[1:])
        return (sizes[1], sizes[0]) if self.transposed else (sizes[0], sizes[1])
