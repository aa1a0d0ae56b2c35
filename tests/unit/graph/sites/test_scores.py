"""Whether a factor in front of a Softmax is a number, in a network of many residual sums."""

import onnx_ir as ir
from onnx import parser

from frivkit.graph.sites.scores import scalar


def test_residual_sums_are_walked_once() -> None:
    steps = "".join(f"s{i + 1} = Add (s{i}, s{i})" for i in range(64))  # 2^64 ways back
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[N, 2] s0) => (float[N, 2] y)'
    model = ir.from_proto(parser.parse_model(f"{text} {{ {steps} y = Identity (s64) }}"))
    last = model.graph.outputs[0].producer().inputs[0]
    assert last.shape is None
    assert scalar(last, 17) is None


def test_a_number_from_known_sizes_is_one() -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[3, 2] x) => (y)'
    body = "n = Shape <start = 0, end = 1> (x) f = Cast <to = 1> (n) y = Add (f, f)"
    model = ir.from_proto(parser.parse_model(f"{text} {{ {body} }}"))
    assert scalar(model.graph.outputs[0], 17) == 6.0
