"""Ridge fits to nested sets of columns against numpy's own solutions for each set."""

import numpy as np
import pytest

from frivkit.compression.packed_moments import PackedMoments, pack, unpack
from frivkit.compression.second_moments import second_moment
from tests.draws import generator

GENERATOR = generator(5)
COLUMNS, OUTPUTS = 24, 3


def packed(rows: np.ndarray, shift: np.ndarray) -> PackedMoments:
    shifted = rows - shift
    return PackedMoments(len(rows), shift, shifted.sum(axis=0), pack(shifted.T @ shifted))


@pytest.mark.parametrize("size", [1, 2, 7, 600])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_packed_matrix_is_the_same_when_unpacked(size, kind):
    half = GENERATOR.normal(size=(size, 3)).astype(kind)
    matrix = half @ half.T
    small = pack(matrix)
    assert small.dtype == kind
    assert small.shape == (size * (size + 1) // 2,)
    np.testing.assert_array_equal(unpack(small, size), (np.triu(matrix) + np.triu(matrix, 1).T))


@pytest.mark.parametrize("about", ["mean", "zero"])
@pytest.mark.parametrize("rows", [6, 200])
def test_fits_to_nested_columns_are_those_of_each_set(rows, about):
    shift = GENERATOR.normal(size=COLUMNS)
    first, second = (GENERATOR.normal(size=(count, COLUMNS)) + 2 for count in (rows, rows // 2))
    together = np.concatenate([first, second])
    order = GENERATOR.permutation(COLUMNS)
    weights = GENERATOR.normal(size=(COLUMNS, OUTPUTS))
    vector = None if about == "mean" else np.zeros(COLUMNS)
    found = second_moment([packed(first, shift), packed(second, shift)], order, vector)
    centred = (together - (together.mean(axis=0) if vector is None else 0.0))[:, order]
    moment = centred.T @ centred / len(together)
    assert found.mean_variance == pytest.approx(moment.trace() / COLUMNS)
    kept = [20, 7, 1]
    for count, change in zip(kept, found.changes(weights, kept, 0.1), strict=True):
        inner = moment[:count, :count] + 0.1 * np.eye(count)
        right = moment[:count] @ weights + 0.1 * weights[:count]
        np.testing.assert_allclose(
            weights[:count] + change, np.linalg.solve(inner, right), rtol=1e-6, atol=1e-8
        )
        left = centred[:, count:] @ weights[count:] - centred[:, :count] @ change
        (error,) = found.errors(weights, [change])
        np.testing.assert_allclose(error, (left**2).mean(axis=0), rtol=1e-6, atol=1e-9)
