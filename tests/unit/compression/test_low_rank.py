"""The laws of factors: exact at full rank, no worse than those of the weights, and equivariant."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.compression.low_rank import (
    Positions,
    WeightShape,
    cost,
    curve,
    factor,
    factor_positions,
    full_rank,
    highest_rank,
)
from frivkit.compression.separable import RIDGE, separable_matrix, squared_error

KINDS = ("pca", "separable")


@st.composite
def layers(draw, smallest=1):
    """Draw weights, the second moment of correlated patches, and the kernel."""
    sides = st.integers(smallest, 4)
    kernel = (draw(sides), draw(sides))
    columns = draw(st.integers(1, 4)) * kernel[0] * kernel[1]
    outputs, rows = draw(st.integers(1, 6)), draw(st.integers(2, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mixing = generator.normal(size=(columns, columns)) / np.arange(1, columns + 1)
    patches = generator.normal(size=(rows, columns)) @ mixing
    return generator.normal(size=(columns, outputs)), patches.T @ patches / rows, kernel


def error(pair, matrix, moment):
    return squared_error(matrix - pair.matrix, moment) / squared_error(matrix, moment)


def of_weights(matrix, kernel, rank):
    """Return the separable weights nearest to others, as the singular value decomposition does."""
    parts = matrix.reshape(len(matrix) // kernel[1], -1)
    left, values, right = np.linalg.svd(parts, full_matrices=False)
    return ((left[:, :rank] * values[:rank]) @ right[:rank]).reshape(matrix.shape)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(layer=layers())
def test_full_rank_is_exact(kind, layer):
    matrix, moment, kernel = layer
    full = full_rank(kind, matrix, kernel)
    pair = factor(kind, matrix, moment, kernel, full)
    assert pair.rank == full
    np.testing.assert_allclose(pair.matrix, matrix, atol=1e-9)
    assert curve(kind, matrix, moment, moment, kernel=kernel, ranks=[full]) == [0.0]
    for rank in (0, full + 1):
        with pytest.raises(ValueError, match=f"rank {rank} of a weight"):
            factor(kind, matrix, moment, kernel, rank)


@settings(max_examples=60, deadline=None)
@given(layer=layers(smallest=2), share=st.floats(0, 1))
def test_factors_for_data_are_no_worse_on_them_than_factors_of_the_weights(layer, share):
    matrix, moment, kernel = layer
    rank = max(1, round(share * full_rank("separable", matrix, kernel)))
    pair = factor("separable", matrix, moment, kernel, rank)
    bound = squared_error(matrix - of_weights(matrix, kernel, rank), moment)
    floor = 1e-12 * squared_error(matrix, moment)
    assert squared_error(matrix - pair.matrix, moment) <= bound * (1 + 1e-9) + floor


def with_ridge(moment, kernel):
    """Return what is minimised: a share of each channel's mean is added to the diagonal."""
    positions = kernel[0] * kernel[1]
    channels = moment.diagonal().reshape(-1, positions).mean(axis=1)
    return moment + RIDGE * np.diag(channels.repeat(positions))


def test_factors_reach_the_least_error_where_it_is_known():
    """A moment that is a Kronecker product makes the problem a singular value decomposition."""
    generator = np.random.default_rng(1)
    rows, kernel, outputs, rank = 12, (3, 3), 5, 4
    tall, small = np.eye(rows) + 0.2 * generator.normal(size=(rows, rows)), np.eye(3)
    small += 0.2 * generator.normal(size=(3, 3))
    product = np.einsum("ij,bc->ibjc", tall @ tall.T, small @ small.T)
    product = product.reshape(rows * 3, rows * 3)
    channels = product.diagonal().reshape(-1, 9).mean(axis=1).repeat(9)
    moment = product - RIDGE / (1 + RIDGE) * np.diag(channels)
    np.testing.assert_allclose(with_ridge(moment, kernel), product)
    matrix = generator.normal(size=(rows * 3, outputs))
    weighted = np.einsum("ji,jbo,bc->ico", tall, matrix.reshape(rows, 3, outputs), small)
    values = np.linalg.svd(weighted.reshape(rows, -1), compute_uv=False)
    pair = factor("separable", matrix, moment, kernel, rank)
    assert squared_error(matrix - pair.matrix, product) == pytest.approx(
        (values[rank:] ** 2).sum(), rel=1e-3
    )


def test_factors_are_a_minimum():
    """The best kernels of one convolution, with the other as it is, are no better."""
    generator = np.random.default_rng(2)
    patches = np.cumsum(generator.normal(size=(400, 36)), axis=1)
    matrix, moment = generator.normal(size=(36, 6)), patches.T @ patches / 400
    pair = factor("separable", matrix, moment, (3, 3), 5)
    minimised = with_ridge(moment, (3, 3))
    reached, root = squared_error(matrix - pair.matrix, minimised), np.linalg.cholesky(minimised)
    for which in ("first", "second"):
        fixed = {"first": pair.first, "second": pair.second}
        shape = fixed[which].shape
        basis = [
            separable_matrix(**(fixed | {which: one.reshape(shape)}))
            for one in np.eye(fixed[which].size)
        ]
        design = np.stack([(root.T @ each).ravel() for each in basis], axis=1)
        left = np.linalg.lstsq(design, (root.T @ matrix).ravel(), rcond=None)[1]
        assert reached <= left[0] * 1.02


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(layer=layers(smallest=2), seed=st.integers(0, 999), scale=st.sampled_from([1e-3, 1, 300]))
def test_a_scaled_or_permuted_layer_has_the_same_relative_error(kind, layer, seed, scale):
    """Channels may be scaled, too, if their weights are scaled back."""
    matrix, moment, kernel = layer
    rank = max(1, full_rank(kind, matrix, kernel) // 2)
    before = error(factor(kind, matrix, moment, kernel, rank), matrix, moment)
    generator = np.random.default_rng(seed)
    sites = kernel[0] * kernel[1]
    channels = generator.permutation(len(matrix) // sites)
    columns = (channels[:, np.newaxis] * sites + np.arange(sites)).ravel()
    outputs = generator.permutation(matrix.shape[1])
    sizes = generator.choice([0.1, 1.0, 20.0], size=len(channels)).repeat(sites)
    moved = scale * (matrix[columns] / sizes[:, np.newaxis])[:, outputs]
    moved_moment = moment[np.ix_(columns, columns)] * np.outer(sizes, sizes) / scale
    pair = factor(kind, moved, moved_moment, kernel, rank)
    assert error(pair, moved, moved_moment) == pytest.approx(before, rel=2e-2, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(layer=layers(smallest=2))
def test_a_curve_goes_from_all_to_nothing(kind, layer):
    matrix, moment, kernel = layer
    full = full_rank(kind, matrix, kernel)
    errors = curve(kind, matrix, moment, moment, kernel=kernel, ranks=range(full + 1))
    total = squared_error(matrix, moment)
    assert errors[0] == pytest.approx(total, rel=1e-4)
    assert errors[-1] == 0
    assert np.isfinite(errors).all()
    assert (errors >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_curve_falls_and_is_near_the_factors(kind):
    generator = np.random.default_rng(6)
    patches = np.cumsum(generator.normal(size=(900, 54)), axis=1)
    matrix, moment, kernel = generator.normal(size=(54, 12)), patches.T @ patches / 900, (3, 3)
    full = full_rank(kind, matrix, kernel)
    errors = curve(kind, matrix, moment, moment, kernel=kernel, ranks=range(full + 1))
    assert (np.diff(errors) < 0).all()
    for rank in (2, 5, 8):
        pair = factor(kind, matrix, moment, kernel, rank)
        found = squared_error(matrix - pair.matrix, moment)
        assert errors[rank] == pytest.approx(found, rel=0.1)


def test_a_curve_is_judged_by_data_that_are_not_fitted_to():
    generator = np.random.default_rng(3)
    matrix = generator.normal(size=(18, 8))
    few, many = (generator.normal(size=(rows, 18)) for rows in (20, 4000))
    fitted, validation = few.T @ few / 20, many.T @ many / 4000
    for kind in KINDS:
        seen, unseen = (
            curve(kind, matrix, fitted, moments, kernel=(3, 3), ranks=[3])[0]
            for moments in (fitted, validation)
        )
        pair = factor(kind, matrix, fitted, (3, 3), 3)
        assert unseen == pytest.approx(squared_error(matrix - pair.matrix, validation), rel=0.05)
        assert unseen > seen


def test_a_layer_whose_inputs_never_vary_gets_the_factors_of_its_weights():
    matrix, silent = np.random.default_rng(4).normal(size=(18, 4)), np.zeros((18, 18))
    pair = factor("separable", matrix, silent, (3, 3), 2)
    np.testing.assert_allclose(pair.matrix, of_weights(matrix, (3, 3), 2), atol=1e-9)
    assert curve("separable", matrix, silent, silent, kernel=(3, 3), ranks=[0, 2]).tolist() == [
        0,
        0,
    ]


def test_channels_without_variance_keep_the_weights_near():
    """Columns that data say nothing about take nothing from the others, and stay finite."""
    generator = np.random.default_rng(5)
    matrix, patches = generator.normal(size=(36, 6)), generator.normal(size=(500, 36))
    patches[:, 9:18] = 0
    moment = patches.T @ patches / 500
    pair = factor("separable", matrix, moment, (3, 3), 6)
    alive = np.r_[0:9, 18:36]
    without = factor("separable", matrix[alive], moment[np.ix_(alive, alive)], (3, 3), 6)
    assert np.isfinite(pair.matrix).all()
    assert error(pair, matrix, moment) == pytest.approx(
        error(without, matrix[alive], moment[np.ix_(alive, alive)]), rel=0.02
    )


@pytest.mark.parametrize("kernel", [(3, 3), (5, 2), (1, 7), (3,), (2, 2, 2), ()])
def test_the_highest_rank_saves_and_the_next_does_not(kernel):
    shape, positions = WeightShape(12, 20, kernel), Positions(60, 50)
    whole = 12 * 20 * int(np.prod(kernel)) * 50
    for kind in KINDS:
        highest = highest_rank(kind, shape, positions)
        if kind == "separable" and (len(kernel) != 2 or 1 in kernel):
            assert highest == 0
            continue
        costs = [cost(kind, shape, rank, positions).macs for rank in (highest, highest + 1)]
        assert costs[0] < whole <= costs[1]


def test_only_planes_are_separable():
    matrix, moment = np.ones((8, 3)), np.eye(8)
    with pytest.raises(ValueError, match="cannot be split into a column and a row"):
        factor("separable", matrix, moment, (2, 2, 2), 1)


def test_positions_follow_the_strides():
    weight = ir.Value(
        name="w", shape=ir.Shape([6, 4, 3, 5]), const_value=ir.tensor(np.ones((6, 4, 3, 5)))
    )
    x, y = ir.Value(name="x", shape=ir.Shape(["N", 4, 20, 30])), ir.Value(name="y")
    node = ir.Node("", "Conv", [x, weight], outputs=[y])
    assert factor_positions("pca", node) is None
    y.shape = ir.Shape(["N", 6, 10, 15])
    assert factor_positions("pca", node) == Positions(150, 150)
    assert factor_positions("separable", node) == Positions(300, 150)
