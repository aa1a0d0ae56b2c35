"""A plan that cuts one layer down to meet a budget is warned about."""

import numpy as np
import onnx
import pytest

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor
from frivkit.compression.constraints import Constraints
from frivkit.compression.ruined_layers import ruined_layers
from frivkit.measure.pipeline import Request
from tests.handmade import written


@pytest.fixture
def compressor(tmp_path):
    """Return one for a network in which only the units of the first layer can leave."""
    proto = written(
        """g (float[N, 6] x) => (float[N, 3] y) {
          a = Gemm (x, wa)
          r = Relu (a)
          b = Gemm (r, wb)
          n = Softmax (b)
          y = Gemm (n, wc)
        }""",
        wa=(6, 16), wb=(16, 40), wc=(40, 3),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    data = {"x": np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32)}
    request = Request(tmp_path / "m.onnx", data=data)
    return Compressor(request, constraints=Constraints(round_to=1))


def test_the_layer_that_meets_the_budget_alone_is_named(compressor):
    budget = Budget("macs", 0.2)  # of 856, of which 120 stay
    result = compressor.compress(budget, None)
    kept = int(result.plan.keep["r"].sum())
    assert kept <= 2
    (warning,) = result.warnings[-1:]
    assert f"layer a keeps {kept} of 16 units while all layers together keep" in warning


def test_a_plan_that_leaves_enough_of_each_layer_is_not(compressor):
    plan, _ = compressor.plan(Budget("macs", 0.6))
    assert not list(ruined_layers(compressor.calibration, plan))
