"""What ONNX Runtime's optimizer fused is read as the operators of ONNX that it was."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from frivkit.graph.onnx_io.load import read
from frivkit.graph.sites.site_map import find_sites
from tests.handmade import written
from tests.surgery import close, run

MAPS = """g (float[N, 3, 4, 4] x) => (float[N, 5, 2, 2] y) {{
  z = Conv (x, wz)
  y = com.microsoft.FusedConv <activation = "{activation}"{params}> (x, w, b{summand})
}}"""


@pytest.mark.parametrize(
    ("activation", "params", "op"),
    [
        ("Relu", "", "Relu"),
        ("LeakyRelu", ", activation_params = [0.3]", "LeakyRelu"),
        ("Clip", ", activation_params = [0.0, 0.5]", "Clip"),
        ("HardSigmoid", ", activation_params = [0.3, 0.4]", "HardSigmoid"),
    ],
)
@pytest.mark.parametrize("summand", ["", ", z"])
def test_a_fused_convolution(activation, params, op, summand, tmp_path):
    proto = written(
        MAPS.format(activation=activation, params=params, summand=summand),
        domains=("com.microsoft",), w=(5, 3, 3, 3), b=(5,), wz=(5, 3, 3, 3),
    )  # fmt: skip
    model = agrees_with_file(proto, {"x": (2, 3, 4, 4)}, tmp_path)
    assert [node.op_type for node in model.graph if node.op_type != "Constant"] == [
        "Conv", "Conv", *(["Add"] if summand else []), op
    ]  # fmt: skip


@pytest.mark.parametrize(
    "node",
    [
        'FusedGemm <activation = "Relu", transB = 1, alpha = 0.5> (x, w, b)',
        "FusedMatMul <transB = 1, alpha = 0.25> (x, w)",
        "FusedMatMul <alpha = 2.0> (x, v)",
    ],
)
def test_a_fused_product_produces_units(node, tmp_path):
    proto = written(
        f"""g (float[N, 6] x) => (float[N, 5] y) {{
          r = com.microsoft.{node}
          s = Sigmoid (r)
          y = Gemm (s, u)
        }}""",
        domains=("com.microsoft",), w=(4, 6), v=(6, 4), b=(4,), u=(4, 5),
    )  # fmt: skip
    model = agrees_with_file(proto, {"x": (3, 6)}, tmp_path)
    assert [site.width for site in find_sites(model).sites] == [4]


def test_scores_of_two_activations(tmp_path):
    proto = written(
        """g (float[N, 4, 6] x) => (float[N, 4, 4] y) {
          y = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (x, x)
        }""",
        domains=("com.microsoft",),
    )
    model = agrees_with_file(proto, {"x": (3, 4, 6)}, tmp_path)
    assert "MatMul" in {node.op_type for node in model.graph}


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("op", ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"])
def test_a_norm_with_the_sum_before_it(op, opset, tmp_path):
    beta = ", beta" if op == "SkipLayerNormalization" else ""
    more = {"beta": (6,)} if beta else {}
    proto = written(
        f"""g (float[N, 3, 4] x) => (float[N, 3, 6] y) {{
          a = MatMul (x, wa)
          b = MatMul (x, wb)
          n, mean, spread, t = com.microsoft.{op} <epsilon = 0.3> (a, b, gamma{beta}, bias)
          y = Sub (n, t)
        }}""",
        opset=opset, ir=10, domains=("com.microsoft",), wa=(4, 6), wb=(4, 6), gamma=(6,), bias=(6,),
        **more,
    )  # fmt: skip
    model = agrees_with_file(proto, {"x": (2, 3, 4)}, tmp_path)
    assert not any(node.domain == "com.microsoft" for node in model.graph)


def agrees_with_file(proto, sizes, tmp_path):
    """Return the model of a file, which computes what the file does."""
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    model, generator = read(path), np.random.default_rng(0)
    feeds = {
        name: generator.standard_normal(shape).astype(np.float32) for name, shape in sizes.items()
    }
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    close(run(model.ir, feeds), session.run(None, feeds))
    return model
