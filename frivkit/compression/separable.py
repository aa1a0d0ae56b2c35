"""Separable factors of a convolution, k x 1 and then 1 x k, that keep its outputs on given data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.units.moments import Float64Array

Pair = tuple[Float64Array, Float64Array]
"""The kernels of the first convolution, shape (rank, channels, kh), and of the second, shape
(outputs, rank, kw)."""
_Array = NDArray[Any]

RIDGE = 0.1
"""A ridge on the second moment, as a share of each channel's: it keeps weights near the original
where there are too few data to tell."""
SILENT = 1e-6
"""Share of the mean of all channels below which a channel's second moment counts as this much."""
JITTER = 1e-6
"""What is added to the diagonal of a matrix before it is factorized, as a share of it."""
DECREASE = 1e-3
"""Relative decrease of the error in one step below which factors are good enough."""
CURVE_DECREASE = 2e-2
"""The same for curves of error, which only compare ranks."""
FLOOR = 1e-6
"""Share of the outputs' second moment below which an error is rounding in float32."""
STEPS = 50
"""Steps at most."""
MEMORY = 8
"""Steps that the approximation of the second derivative remembers."""


def separable_factors(
    matrix: Float64Array, second_moment: Float64Array, kernel: tuple[int, int], rank: int
) -> Pair:
    """Return the two convolutions whose product has the least error on data.

    They minimise the squared error of the outputs, tr(DᵀGD) for the difference D of both matrices
    and the second moment G of the patches, with a ridge on G that keeps weights near the original
    where data say little.  At full rank they are exact.  Their error on G itself is at most that of
    the singular value decomposition of the weights.

    Args:
        matrix: The weights of a convolution in one group, shape (columns, outputs).  Columns are
            ordered by channel, then by row and column of the kernel.
        second_moment: The second moment of the patches, or their covariance if a bias takes up the
            mean; shape (columns, columns).
        kernel: The height and width of the kernel.
        rank: The number of channels in between, from 1 to ``full_separable_rank``.

    Returns:
        The kernels of a kh x 1 convolution, shape (rank, channels, kh), and of a 1 x kw
        convolution, shape (outputs, rank, kw).

    Raises:
        ValueError: the rank is not in this range.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> patches, matrix = generator.normal(size=(50, 8)), generator.normal(size=(8, 3))
        >>> first, second = separable_factors(matrix, patches.T @ patches / 50, (2, 2), rank=4)
        >>> first.shape, second.shape
        ((4, 2, 2), (3, 4, 2))
        >>> bool(np.allclose(separable_matrix(first, second), matrix))
        True

    Source:
        M. Jaderberg, A. Vedaldi, A. Zisserman, Speeding up Convolutional Neural Networks with Low
        Rank Expansions, BMVC 2014, for the two convolutions and for fitting them to outputs.
    """
    full = full_separable_rank(matrix, kernel)
    if not 1 <= rank <= full:
        raise ValueError(f"rank {rank} of a weight whose full rank is {full}")
    of_weights = _factors_of_weights(matrix, kernel, rank)
    if rank == full or not second_moment.trace() > 0:
        return of_weights
    problem = _Problem.of(matrix, second_moment, kernel)
    of_outputs = problem.pair(_minimise(problem, problem.start[:rank], DECREASE))

    def error(pair: Pair) -> float:
        return squared_error(matrix - separable_matrix(*pair), second_moment)

    return min(of_outputs, of_weights, key=error)


def separable_curve(
    matrix: Float64Array,
    fitted: Float64Array,
    validation: Float64Array,
    *,
    kernel: tuple[int, int],
    ranks: Sequence[int],
) -> Float64Array:
    """Return the squared error of the outputs at several ranks, on data that are not fitted to.

    The factors are those of :func:`separable_factors`, with fewer steps.

    Args:
        matrix: The weights, shape (columns, outputs).
        fitted: The second moment that is fitted to, shape (columns, columns).
        validation: The second moment that errors are taken on, shape (columns, columns).
        kernel: The height and width of the kernel.
        ranks: The ranks, each from 0 to ``full_separable_rank``.

    Returns:
        tr(DᵀGD) for the difference D and the second moment G of the validation; shape (ranks,).
    """
    problem = _Problem.of(matrix, fitted, kernel) if fitted.trace() > 0 else None
    full, variance = full_separable_rank(matrix, kernel), float(validation.trace())
    judged = (validation / variance if variance > 0 else validation).astype(np.float32)
    errors = []
    for rank in ranks:
        if rank == full:
            errors.append(0.0)
            continue
        if rank == 0:
            difference = matrix
        elif problem is None:
            difference = matrix - separable_matrix(*_factors_of_weights(matrix, kernel, rank))
        else:
            first = _minimise(problem, problem.start[:rank], CURVE_DECREASE)
            difference = matrix - separable_matrix(*problem.pair(first))
        errors.append(variance * squared_error(difference.astype(np.float32), judged))
    return np.array(errors)


def separable_matrix(first: Float64Array, second: Float64Array) -> Float64Array:
    """Return the weights of the convolution that two are together, shape (columns, outputs).

    Args:
        first: The kernels of the kh x 1 convolution, shape (rank, channels, kh).
        second: The kernels of the 1 x kw convolution, shape (outputs, rank, kw).
    """
    together = np.tensordot(first, second, axes=(0, 1))  # channels, kh, outputs, kw
    matrix: Float64Array = np.moveaxis(together, 2, 3).reshape(-1, len(second))
    return matrix


def full_separable_rank(matrix: Float64Array, kernel: tuple[int, int]) -> int:
    """Return the least rank at which every convolution of that shape is separable exactly."""
    columns, outputs = map(int, matrix.shape)
    return min(columns // kernel[1], outputs * kernel[1])


def squared_error(difference: _Array, second_moment: _Array) -> float:
    """Return the mean squared error of outputs, summed over them, for a difference of weights.

    Args:
        difference: Shape (columns, outputs).
        second_moment: The second moment of the columns, shape (columns, columns).
    """
    return max(float(np.vdot(difference, second_moment @ difference)), 0.0)


def _factors_of_weights(matrix: Float64Array, kernel: tuple[int, int], rank: int) -> Pair:
    """Return the factors of least error of the weights, by singular value decomposition."""
    unfolded = _unfolded(matrix, kernel)  # rows x (kernel columns x outputs)
    rows, others = unfolded.shape
    if rows <= others:
        left = np.linalg.eigh(unfolded @ unfolded.T)[1][:, : -rank - 1 : -1]
        right = left.T @ unfolded
    else:
        right = np.linalg.eigh(unfolded.T @ unfolded)[1][:, : -rank - 1 : -1].T
        left = unfolded @ right.T
    return _folded(left.T, right.reshape(rank, kernel[1], -1), kernel)


def _unfolded(matrix: Float64Array, kernel: tuple[int, int]) -> Float64Array:
    """Return weights with an axis for channels and kernel rows, shape (rows, kw · outputs)."""
    return matrix.reshape(len(matrix) // kernel[1], -1)


def _folded(first: Float64Array, second: Float64Array, kernel: tuple[int, int]) -> Pair:
    """Return factors of shapes (rank, rows) and (rank, kw, outputs) as kernels."""
    return first.reshape(len(first), -1, kernel[0]), np.ascontiguousarray(second.transpose(2, 0, 1))


class _Positive:
    """A positive semidefinite matrix, ready to solve equations with.

    Its diagonal is increased until rounding leaves the matrix positive.

    Attributes:
        root: Its lower Cholesky root.
    """

    def __init__(self, matrix: Float64Array) -> None:
        from scipy.linalg import LinAlgError, cholesky

        diagonal = np.abs(matrix.diagonal())
        least = 1e-6 * max(float(diagonal.mean()), np.finfo(np.float64).tiny)
        for raised in range(0, 12, 2):
            share = JITTER * 10.0**raised
            try:
                self.root: Float64Array = cholesky(
                    matrix + np.diag(share * (diagonal + least)), lower=True, check_finite=False
                )
            except LinAlgError:
                continue
            return
        raise FloatingPointError("a matrix of moments is not finite, or not positive semidefinite")

    def solve(self, right: Float64Array) -> Float64Array:
        """Return the solution for right-hand sides of shape (n, sides)."""
        from scipy.linalg import cho_solve

        solution: Float64Array = cho_solve((self.root, True), right, check_finite=False)
        return solution


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """The error of separable factors as a function of the first alone.

    For a given first factor V the best second one H is a least-squares solution, and at it the
    error's derivative by V needs no derivative of H (variable projection, Golub and Pereyra, SIAM
    Journal on Numerical Analysis 10, 1973).  An evaluation costs rank · columns² multiplications,
    in float32.  Rows are channels times kernel rows; the kernel's columns come first.

    Attributes:
        kernel: The height and width of the kernel.
        scale: The root mean square of the channel of each row, which is divided by: shape (rows,).
        moment: The second moment and a ridge, shape (kw, rows, kw, rows), float32.
        cross: The same times the weights, shape (kw, rows, outputs).
        total: The error of no factors at all.
        between: The part of the moment between columns of the kernel, shape (kw, kw).
        within: The part between rows; the moment is about the Kronecker product of both.
        start: First factors of rank 1 to full, one a row; shape (rows, rows).
    """

    kernel: tuple[int, int]
    scale: Float64Array
    moment: NDArray[np.float32]
    cross: Float64Array
    total: float
    between: Float64Array
    within: _Positive
    start: Float64Array

    @classmethod
    def of(
        cls, matrix: Float64Array, second_moment: Float64Array, kernel: tuple[int, int]
    ) -> "_Problem":
        """Prepare the problem for all ranks.

        The start is the best solution for a second moment that is a Kronecker product: the singular
        value decomposition of the weights between its roots.
        """
        width, (columns, outputs) = kernel[1], matrix.shape
        rows = columns // width
        scale = _channel_scale(second_moment, prod(kernel))
        weights = matrix * scale[:, np.newaxis]
        moment = second_moment / scale
        moment /= scale[:, np.newaxis]
        moment[np.diag_indices(columns)] += RIDGE
        cross = moment @ weights
        parts = moment.reshape(rows, width, rows, width)
        within = _Positive(np.einsum("ibjb->ij", parts))
        between = np.einsum("ibic->bc", parts) / columns
        mixed = np.tensordot(weights.reshape(rows, width, outputs), _root(between), axes=(1, 0))
        balanced = within.root.T @ mixed.reshape(rows, -1)
        directions = np.linalg.eigh(balanced @ balanced.T)[1][:, ::-1]
        return cls(
            kernel,
            scale[::width],
            np.ascontiguousarray(parts.transpose(1, 0, 3, 2), np.float32),
            np.ascontiguousarray(cross.reshape(rows, width, outputs).transpose(1, 0, 2)),
            float(np.vdot(weights, cross)),
            between,
            within,
            np.linalg.solve(within.root.T, directions).T,
        )

    def evaluate(self, first: Float64Array) -> "_Point":
        """Return the error and its derivative at a first factor of shape (rank, rows)."""
        (width, rows, outputs), rank = self.cross.shape, len(first)
        narrow = first.astype(np.float32)
        half = narrow @ self.moment.reshape(width, rows, -1)  # kw, rank, kw' x rows'
        moment = half.reshape(width * rank, width, rows) @ narrow.T
        features = moment.reshape(width * rank, width * rank).astype(np.float64)
        targets = (first @ self.cross).reshape(width * rank, outputs)
        second = _Positive((features + features.T) / 2).solve(targets)
        rest = half.reshape(width * rank, -1).T @ second.astype(np.float32)
        residual = self.cross - rest.reshape(width, rows, outputs)
        by_column = second.reshape(width, rank, outputs)
        derivative = -2 * (by_column @ residual.transpose(0, 2, 1)).sum(axis=0)
        error = self.total - float(np.vdot(targets, second))
        return _Point(first, by_column, error, derivative)

    def pair(self, point: "_Point") -> Pair:
        """Return the kernels of a solution."""
        return _folded(point.first / self.scale, point.second.transpose(1, 0, 2), self.kernel)

    def preconditioner(self, point: "_Point") -> Callable[[Float64Array], Float64Array]:
        """Return an approximate inverse of the second derivative: a Kronecker product, too."""
        mixed = np.tensordot(self.between, point.second, axes=1)
        ranks = np.tensordot(point.second, mixed, axes=((0, 2), (0, 2)))
        by_rank = _Positive(ranks + ranks.T)
        return lambda derivative: by_rank.solve(self.within.solve(derivative.T).T)


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """A first factor and what depends on it.

    Attributes:
        first: The first factor, shape (rank, rows).
        second: The best second one for it, shape (kw, rank, outputs).
        error: The error of both.
        derivative: Its derivative by the first, shape (rank, rows).
    """

    first: Float64Array
    second: Float64Array
    error: float
    derivative: Float64Array


def _channel_scale(second_moment: Float64Array, positions: int) -> Float64Array:
    """Return the root mean square of each column's channel, above 0; shape (columns,)."""
    channels = second_moment.diagonal().reshape(-1, positions).mean(axis=1)
    silent = SILENT * channels.mean()
    scale: Float64Array = np.sqrt(np.maximum(channels, silent)).repeat(positions)
    return scale


def _minimise(problem: _Problem, start: Float64Array, decrease: float) -> _Point:
    """Return a local minimum near a start, by L-BFGS with a preconditioner.

    Source: J. Nocedal and S. Wright, Numerical Optimization, 2006, algorithms 7.4 and 3.1.
    """
    point = problem.evaluate(start)
    precondition = problem.preconditioner(point)
    steps: list[tuple[Float64Array, Float64Array]] = []
    for _ in range(STEPS):
        if point.error <= FLOOR * problem.total:
            break
        direction = _direction(point.derivative, steps, precondition)
        reached = _line_search(problem, point, direction)
        if reached is None:
            break
        step = reached.first - point.first
        change = reached.derivative - point.derivative
        if np.vdot(step, change) > 0:
            steps = [*steps[1 - MEMORY :], (step, change)]
        enough = point.error - reached.error < decrease * point.error
        point = reached
        if enough:
            break
    return point


def _direction(
    derivative: Float64Array,
    steps: Sequence[tuple[Float64Array, Float64Array]],
    precondition: Callable[[Float64Array], Float64Array],
) -> Float64Array:
    """Return the direction of descent, from the last steps and the changes of the derivative."""
    rest, taken = derivative, []
    for step, change in reversed(steps):
        factor = np.vdot(step, rest) / np.vdot(step, change)
        taken.append(factor)
        rest = rest - factor * change
    direction = precondition(rest)
    for (step, change), factor in zip(steps, reversed(taken), strict=True):
        direction = direction + (factor - np.vdot(change, direction) / np.vdot(step, change)) * step
    return -direction


def _line_search(problem: _Problem, point: _Point, direction: Float64Array) -> _Point | None:
    """Return the first of shorter and shorter steps that decreases the error, None for none."""
    slope, length = float(np.vdot(point.derivative, direction)), 1.0
    while slope < 0 and length > 1e-3:
        reached = problem.evaluate(point.first + length * direction)
        if reached.error <= point.error + 1e-4 * length * slope:
            return reached
        length /= 2
    return None


def _root(matrix: Float64Array) -> Float64Array:
    """Return a matrix R with R Rᵀ equal to a small positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    root: Float64Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
