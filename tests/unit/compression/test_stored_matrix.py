"""Weights as matrices: of the numbers that are stored, which stay as they are."""

import numpy as np
import pytest

from frivkit.compression.stored_matrix import StoredMatrix
from frivkit.graph.onnx_io.load import read
from frivkit.testing.tiny_models import residual, write
from tests.planning import calibrated

RANDOM = np.random.default_rng(0)
CASES = {
    "Conv": ((6, 4, 3, 2), lambda w: w.reshape(6, 24).T),
    "ConvTranspose": ((4, 6, 3, 2), lambda w: w.reshape(4, 36)),
    "MatMul": ((5, 7), lambda w: w),
    "Gemm": ((7, 5), lambda w: 0.5 * w.T),
}


@pytest.mark.parametrize("op", CASES)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_matrix_is_that_of_the_numbers(op, kind):
    shape, matrix_of = CASES[op]
    stored = RANDOM.standard_normal(shape).astype(kind)
    gemm = op == "Gemm"
    weights = StoredMatrix(stored, op, gemm, 0.5 if gemm else None)
    wanted = matrix_of(stored.astype(np.float64))
    assert weights.matrix.dtype == np.float64
    assert weights.shape == wanted.shape
    np.testing.assert_array_equal(weights.matrix, wanted)
    kept = np.arange(wanted.shape[1]) % 3 > 0
    twice = weights.with_outputs(kept).with_outputs(np.arange(kept.sum()) > 0)
    np.testing.assert_array_equal(twice.matrix, wanted[:, kept][:, 1:])
    assert twice.shape == twice.matrix.shape
    assert twice.stored is stored


def test_consumers_have_the_numbers_of_the_model_and_no_copy(tmp_path):
    model = read(write(residual(), tmp_path / "net.onnx"))
    calibration = calibrated(model, "gaussian?n=20")
    weights = [value.const_value.numpy() for value in model.graph.initializers.values()]
    assert calibration.linear_consumers
    for consumer in calibration.linear_consumers:
        assert consumer.weights.stored.dtype == np.float32
        assert any(np.shares_memory(consumer.weights.stored, each) for each in weights)
