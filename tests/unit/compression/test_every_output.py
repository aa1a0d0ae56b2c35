"""Layers that lead to any output are narrowed, exactly, with all outputs as they were."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor, compress
from frivkit.compression.method import Method
from frivkit.measure.pipeline import Request, inspect_model
from frivkit.provenance import Clock
from frivkit.report.document import inspection_document
from tests.handmade import written
from tests.nets import examples, opened


def two_heads():
    return written(
        """g (float[N, 6] x) => (float[N, 3] y, float[N, 4] z) {
          ta = Gemm (x, wt) t = Relu (ta)
          aa = Gemm (t, wa) a = Relu (aa)
          ba = Gemm (t, wb) b = Relu (ba)
          y = Gemm (a, wy) z = Gemm (b, wz)
        }""",
        wt=(6, 12), wa=(12, 8), wb=(12, 10), wy=(8, 3), wz=(10, 4),
    )  # fmt: skip


def auxiliary():
    return written(
        """g (float[N, 6] x) => (float[N, 3] y, float[N, 3] z) {
          ta = Gemm (x, wt) t = Relu (ta)
          ba = Gemm (t, wb) b = Relu (ba)
          y = Gemm (t, wy) z = Gemm (b, wz)
        }""",
        wt=(6, 12), wb=(12, 10), wy=(12, 3), wz=(10, 3),
    )  # fmt: skip


def boxes_and_scores():
    return written(
        """g (float[N, 3, 8, 8] x) => (float[N, 4, 6, 6] y, float[N, 2, 6, 6] z) {
          ta = Conv (x, wt) t = Relu (ta)
          ba = Conv (t, wb) b = Relu (ba)
          y = Conv (t, wy) z = Conv (b, wz)
        }""",
        wt=(12, 3, 3, 3), wb=(10, 12, 1, 1), wy=(4, 12, 1, 1), wz=(2, 10, 1, 1),
    )  # fmt: skip


def three_scales():
    return written(
        """g (float[N, 3, 8, 8] x)
          => (float[N, 2, 8, 8] y, float[N, 2, 4, 4] z, float[N, 2, 2, 2] v) {
          x2 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
          x4 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x2)
          aa = Conv (x, wh) a = Relu (aa)
          ba = Conv (x2, wh) b = Relu (ba)
          ca = Conv (x4, wh) c = Relu (ca)
          y = Conv (a, wo) z = Conv (b, wo) v = Conv (c, wo)
        }""",
        wh=(12, 3, 1, 1), wo=(2, 12, 1, 1),
    )  # fmt: skip


def outputs(proto, names, data):
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(names, data)


def zeroed(proto, keep):
    """Return the network with units of tensors multiplied by 0 where they are removed."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    nodes = []
    for node in proto.graph.node:
        nodes.append(node)
        if node.output[0] in keep:
            name = node.output[0]
            node.output[0] = f"{name}.whole"
            flags = keep[name].astype(np.float32)
            spatial = (
                node.op_type == "Relu" and len(proto.graph.input[0].type.tensor_type.shape.dim) == 4
            )
            flags = flags.reshape(-1, 1, 1) if spatial else flags
            proto.graph.initializer.append(onnx.numpy_helper.from_array(flags, f"{name}.keep"))
            nodes.append(onnx.helper.make_node("Mul", [f"{name}.whole", f"{name}.keep"], [name]))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


CASES = [
    (two_heads, {"t", "a", "b"}),
    (auxiliary, {"t", "b"}),
    (boxes_and_scores, {"t", "b"}),
    (three_scales, {"a", "b", "c"}),
]


@pytest.mark.parametrize(("make", "narrowed"), CASES)
def test_every_output_is_that_of_the_network_with_units_set_to_zero(make, narrowed, tmp_path):
    proto, path, compressed = make(), tmp_path / "m.onnx", tmp_path / "compressed.onnx"
    data = examples(opened(proto, path), 64)
    done = compress(
        Request(path, data=data), compressed, Budget("units", 0.5), method=Method(refit="none")
    )
    removed = {name for name, flags in done.plan.keep.items() if not flags.all()}
    assert removed == narrowed
    names = [value.name for value in proto.graph.output]
    wanted = outputs(zeroed(proto, done.plan.keep), names, data)
    for one, other in zip(wanted, outputs(onnx.load(compressed), names, data), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()


def test_inspect_foretells_it_and_names_layers_of_other_outputs(tmp_path):
    path = tmp_path / "m.onnx"
    model = opened(two_heads(), path)
    document = inspection_document(*inspect_model(Request(path)), Clock.start())
    assert [(site["name"], site["held"]) for site in document["sites"]] == [
        ("t", None), ("a", None), ("b", None),
    ]  # fmt: skip
    assert any("lead to other outputs than 'y' only" in line for line in document["advice"])
    named = Compressor(Request(path, data=examples(model, 64), output="y"))
    assert [site.name for site in named.calibration.site_map.sites] == ["t", "a"]


def test_units_are_ranked_by_an_output_that_they_lead_to(tmp_path):
    path = tmp_path / "m.onnx"
    model = opened(two_heads(), path)
    request = Request(path, data=examples(model, 64))
    compressor = Compressor(request, method=Method(ranking="prunable"))
    found = {name: compressor.calibration.output_of([name]) for name in "tab"}
    assert found == {"t": "y", "a": "y", "b": "z"}
