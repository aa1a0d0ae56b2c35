"""Who reads units by weights, and new weights for them."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from frivkit.errors import ModelError
from frivkit.graph.layout import Layout
from frivkit.graph.sites.consumers import find_consumers
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.graph.surgery.set_weights import set_weights
from tests.handmade import written
from tests.nets import NETS, examples, network, opened
from tests.surgery import as_model, check, run


def consumers(proto, tmp_path):
    model = opened(proto, tmp_path / "m.onnx")
    found = find_sites(model)
    return model, found, find_consumers(model, found)


@pytest.mark.parametrize("name", NETS)
def test_every_consumer_that_a_site_map_names_is_found(name, tmp_path):
    """Except for operators with other weights, and products of two computed tensors."""
    model, found, read = consumers(network(name), tmp_path)
    operators = {node.name: node.op_type for node in model.graph}
    for site in found.sites:
        named = {label for label in site.consumers if operators[label] not in ("LSTM", "Gather")}
        assert {each.node for each in read if site.name in each.sites} == named


def test_a_flattened_map_is_read_behind_pooling(tmp_path):
    model, found, read = consumers(network("sizes first"), tmp_path)
    conv, dense = found.sites
    flat = next(node for node in model.graph if node.op_type == "Reshape").outputs[0].name
    first, second = read
    assert (first.op, first.tensor, first.axis) == ("Gemm", flat, 1)
    assert first.layouts == ((conv.name, Layout.of(axis=1, width=4, inner=16)),)
    assert (first.weight, first.bias, first.transposed) == ("b.weight", "b.bias", True)
    assert first.geometry is None
    assert second.sites == (dense.name,)


def test_the_tensor_is_the_one_behind_the_normalisation(tmp_path):
    model, found, read = consumers(network("norm last"), tmp_path)
    norm = next(node for node in model.graph if node.op_type == "BatchNormalization")
    assert read[0].tensor == norm.outputs[0].name
    assert read[0].sites == (found.sites[0].name,)


def test_a_concatenation_is_read_with_offsets(tmp_path):
    _, found, read = consumers(network("dense"), tmp_path)
    last = read[-1]
    assert [(site, layout.first, layout.size) for site, layout in last.layouts] == [
        (found.sites[0].name, 0, 9),
        (found.sites[1].name, 4, 9),
        (found.sites[2].name, 6, 9),
    ]


def test_a_bias_that_an_add_adds_belongs_to_the_matmul(tmp_path):
    _, _, read = consumers(network("tokens"), tmp_path)
    assert [(each.op, each.axis, each.bias) for each in read] == [
        ("MatMul", 2, "b.bias"),
        ("Gemm", 1, "c.bias"),
    ]


_SLIDING = """g (float[N, 2, 7, 6] x) => (float[N, 2] y) {{
  a = Conv (x, w)
  r = Relu (a)
  b = {op} <{attributes}> (r, u)
  s = Relu (b)
  p = GlobalAveragePool (s)
  f = Flatten (p)
  y = Gemm (f, v)
}}"""


def sliding(op, attributes):
    text = _SLIDING.format(op=op, attributes=attributes)
    shape = (4, 5, 3, 2) if op == "Conv" else (5, 4, 3, 2)
    return written(text, w=(5, 2, 1, 1), u=shape, v=(4, 2))


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize("padding", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 3)])
def test_padding_that_a_file_leaves_open_is_worked_out(op, padding, strides, tmp_path):
    dilations = (2, 1) if padding == "VALID" else (1, 1)  # all that ONNX Runtime takes
    rest = f"strides = {list(strides)}, dilations = {list(dilations)}"
    model, _, read = consumers(sliding(op, f'{rest}, auto_pad = "{padding}"'), tmp_path)
    geometry = read[0].geometry
    assert (geometry.kernel, geometry.strides) == ((3, 2), strides)
    assert (geometry.dilations, geometry.group) == (dilations, 1)
    told = sliding(op, f"{rest}, pads = {list(geometry.pads)}")
    other = opened(told, tmp_path / "other.onnx")
    feeds = examples(model, 2)
    assert np.array_equal(*(run(each.ir, feeds)[0] for each in (model, other)))


def replaced(proto, **arrays):
    """Return a network with other numbers in some of its initializers."""
    other = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in other.graph.initializer:
        if tensor.name in arrays:
            array = arrays[tensor.name].astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return other


def random(*shape):
    return np.random.default_rng(5).standard_normal(shape)


def test_new_weights_and_biases_are_put_in_place(tmp_path):
    proto = network("cnn")
    model = opened(proto, tmp_path / "m.onnx")
    before = ir.to_proto(model.ir).SerializeToString(deterministic=True)
    weight, bias = random(5, 4, 3, 3), random(5)
    made = set_weights(model.ir, {"/3/Conv": (weight, bias)})
    check(made)
    wanted = opened(replaced(proto, **{"3.weight": weight, "3.bias": bias}), tmp_path / "w.onnx")
    feeds = examples(model, 2)
    assert np.array_equal(run(made, feeds)[0], run(wanted.ir, feeds)[0])
    assert set(made.graph.initializers) == set(model.graph.initializers)
    assert ir.to_proto(model.ir).SerializeToString(deterministic=True) == before
    alone = set_weights(model.ir, {"/3/Conv": (weight, None)})
    wanted = opened(replaced(proto, **{"3.weight": weight}), tmp_path / "v.onnx")
    assert np.array_equal(run(alone, feeds)[0], run(wanted.ir, feeds)[0])


_BARE = """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {{
  a = Conv (x, w)
  r = Relu (a)
  f = Flatten (r)
  y = {op} (f, v)
}}"""


@pytest.mark.parametrize(
    ("op", "label", "shape"),
    [
        ("MatMul", "y/MatMul", (20, 2)),
        ("Gemm", "y/Gemm", (20, 2)),
        ("Gemm <alpha = 0.5>", "y/Gemm", (20, 2)),
        ("MatMul", "a/Conv", (5, 3, 3, 3)),
    ],
)
def test_a_node_without_bias_gets_one(op, label, shape, tmp_path):
    proto = written(_BARE.format(op=op), w=(5, 3, 3, 3), v=(20, 2))
    model = opened(proto, tmp_path / "m.onnx")
    weight, bias = random(*shape), random(5 if label == "a/Conv" else 2)
    made = set_weights(model.ir, {label: (weight, bias)})
    check(made)
    feeds = examples(model, 3)
    w, v = (model.graph.initializers[name].const_value.numpy() for name in "wv")
    w, v = (weight, v) if label == "a/Conv" else (w, weight)
    windows = np.lib.stride_tricks.sliding_window_view(feeds["x"], (3, 3), (2, 3))
    maps = np.einsum("nchwij,ocij->nohw", windows, w)
    if label == "a/Conv":
        maps = maps + bias[:, None, None]
    wanted = np.maximum(maps, 0).reshape(3, -1) @ v + (0 if label == "a/Conv" else bias)
    np.testing.assert_allclose(run(made, feeds)[0], wanted, rtol=1e-4, atol=1e-5)
    assert [value.name for value in made.graph.outputs] == ["y"]
    twice = set_weights(made, {label: (weight, bias)})  # the bias that was added is found again
    assert len(twice.graph) == len(made.graph)


def test_the_bias_of_an_add_behind_is_replaced(tmp_path):
    model = opened(network("tokens"), tmp_path / "m.onnx")
    bias = random(4)
    weight = random(5, 4)
    made = set_weights(model.ir, {"/b/MatMul": (weight, bias)})
    assert len(made.graph) == len(model.graph)
    assert made.graph.initializers["b.bias"].const_value.numpy() == pytest.approx(bias)


def test_a_scaled_bias_that_stays_counts_as_before(tmp_path):
    proto = written(
        "g (float[N, 4] x) => (float[N, 2] y) { y = Gemm <alpha = 3.0, beta = 2.0> (x, w, b) }",
        w=(4, 2), b=(2,),
    )  # fmt: skip
    model = opened(proto, tmp_path / "m.onnx")
    bias = model.graph.initializers["b"].const_value.numpy()
    weight, x = random(4, 2), examples(model, 3)
    found = run(set_weights(model.ir, {"y/Gemm": (weight, None)}), x)[0]
    np.testing.assert_allclose(found, x["x"] @ weight + 2 * bias, rtol=1e-5, atol=1e-6)
    found = run(set_weights(model.ir, {"y/Gemm": (weight, bias)}), x)[0]
    np.testing.assert_allclose(found, x["x"] @ weight + bias, rtol=1e-5, atol=1e-6)


def test_a_shared_weight_stays_for_the_other(tmp_path):
    model = opened(network("siamese"), tmp_path / "m.onnx")
    first = next(node for node in model.graph if node.op_type == "Gemm")
    weight = random(*first.inputs[1].shape)
    made = set_weights(model.ir, {first.name: (weight, None)})
    check(made)
    gemms = [node for node in made.graph if node.op_type == "Gemm"]
    assert gemms[0].inputs[1].const_value.numpy() == pytest.approx(weight)
    assert gemms[1].inputs[1].const_value is first.inputs[1].const_value


def test_weights_in_constant_nodes_and_halves(tmp_path):
    model = opened(network("constants"), tmp_path / "m.onnx")
    made = set_weights(model.ir, {"y/MatMul": (random(5, 3), random(3))})
    check(made)
    assert "Transpose" not in {node.op_type for node in made.graph}
    halves = opened(network("halves"), tmp_path / "h.onnx")
    made = set_weights(halves.ir, {"y/Gemm": (random(5, 3), random(3))})
    check(made)
    assert run(made, examples(halves, 2))[0].dtype == np.float16


def test_a_narrowed_twin_is_refitted_without_loss(tmp_path):
    """Of two equal units one leaves, and what reads the other is doubled."""
    proto = written(
        """g (float[N, 4] x) => (float[N, 2] y) {
          a = Gemm (x, w)
          r = Relu (a)
          y = Gemm (r, v)
        }""",
        w=np.repeat(random(4, 3), [2, 1, 1], axis=1).astype(np.float32), v=(4, 2),
    )  # fmt: skip
    model, found, _ = consumers(proto, tmp_path)
    compressed = as_model(narrow(model, found, {"r": np.array([False, True, True, True])}), model)
    (consumer,) = find_consumers(compressed, find_sites(compressed))
    v = model.graph.initializers["v"].const_value.numpy()
    weight = np.stack([v[0] + v[1], v[2], v[3]])
    feeds = examples(model, 5)
    found = run(set_weights(compressed.ir, {consumer.node: (weight, None)}), feeds)[0]
    np.testing.assert_allclose(found, run(model.ir, feeds)[0], rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused(tmp_path):
    model = opened(network("cnn"), tmp_path / "m.onnx").ir
    weight, bias = random(5, 4, 3, 3), random(5)
    with pytest.raises(ModelError, match="no weighted node is called 'conv9'"):
        set_weights(model, {"conv9": (weight, bias)})
    with pytest.raises(ModelError, match=r"has shape \(5, 4, 3, 3\), not \(4, 4, 3, 3\)"):
        set_weights(model, {"/3/Conv": (weight[1:], bias)})
    with pytest.raises(ModelError, match="give 5 numbers"):
        set_weights(model, {"/3/Conv": (weight, bias[1:])})
    with pytest.raises(ModelError, match="is not finite"):
        set_weights(model, {"/3/Conv": (weight * np.nan, bias)})
    computed = opened(network("computed bias"), tmp_path / "c.onnx").ir
    with pytest.raises(ModelError, match="the bias of b/Gemm is computed"):
        set_weights(computed, {"b/Gemm": (random(5, 5), random(5))})
