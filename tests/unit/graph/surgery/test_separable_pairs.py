"""The law of separable pairs: at full rank two convolutions do what one did, padding included."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from frivkit.compression.low_rank import factor, full_rank
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.names import node_label
from frivkit.graph.shapes import infer_shapes
from frivkit.graph.surgery.factorize import factorize
from tests.surgery import check, close, run


@st.composite
def convolutions(draw):
    """Draw the attributes and sizes of a convolution in one group."""
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    dilations = [draw(st.integers(1, 2)) for _ in range(2)]
    attributes = {"strides": [draw(st.integers(1, 3)) for _ in range(2)]}
    padding = draw(st.sampled_from(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", "none"]))
    if padding == "pads":
        attributes["pads"] = [draw(st.integers(0, 3)) for _ in range(4)]
    elif padding != "none":
        attributes["auto_pad"] = padding
    if not padding.startswith("SAME"):  # which ONNX Runtime does not run with dilation
        attributes["dilations"] = dilations
    if draw(st.booleans()):
        attributes["kernel_shape"] = list(kernel)
    channels, outputs = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    size = (draw(st.integers(9, 12)), draw(st.integers(9, 12)))
    return kernel, attributes, channels, outputs, size, draw(st.booleans())


def convolution(drawn, *, free=False):
    """Return a network of one convolution with random weights, and its weight."""
    kernel, attributes, channels, outputs, size, biased = drawn
    generator = np.random.default_rng(sum(kernel) + channels)
    weight = generator.normal(size=(outputs, channels, *kernel)).astype(np.float32)
    tensors = [numpy_helper.from_array(weight, "w")]
    if biased:
        bias = generator.normal(size=outputs).astype(np.float32)
        tensors.append(numpy_helper.from_array(bias, "b"))
    inputs = ["x", *(tensor.name for tensor in tensors)]
    sizes = ["H", "W"] if free else size
    graph = helper.make_graph(
        [helper.make_node("Conv", inputs, ["y"], name="conv", **attributes)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", outputs, None, None])],
        tensors,
    )
    opset = [helper.make_opsetid("", 17)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))
    infer_shapes(model)
    return model, weight


def pair(weight, rank=None):
    """Return the kernels of a rank, of full rank if none is given."""
    matrix, kernel = weight.reshape(len(weight), -1).T.astype(np.float64), weight.shape[2:]
    full = full_rank("separable", matrix, kernel)
    made = factor("separable", matrix, np.eye(len(matrix)), kernel, rank or full)
    return made.first, made.second


@settings(max_examples=60, deadline=None)
@given(drawn=convolutions())
def test_a_pair_of_full_rank_changes_no_output(drawn):
    model, weight = convolution(drawn)
    untouched = ir.to_proto(model).SerializeToString(deterministic=True)
    first, second = pair(weight)
    made = factorize(model, {"conv": (first, second, None)})
    x = np.random.default_rng(0).normal(size=(2, weight.shape[1], *drawn[4])).astype(np.float32)
    close(run(made, {"x": x}), run(model, {"x": x}))
    check(made)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == untouched
    assert [node_label(node) for node in made.graph] == ["conv/factor_Conv", "conv"]
    between = made.graph[0].outputs[0]
    exposed = made.clone()
    exposed.graph.outputs.append(exposed.graph[0].outputs[0])
    assert run(exposed, {"x": x})[1].shape[1:] == tuple(between.shape[1:])
    columns, rows = second.shape[2], first.shape[2]
    places = [np.prod(list(node.outputs[0].shape)[2:]) for node in made.graph]
    rank, channels, outputs = len(first), weight.shape[1], len(weight)
    per_place = np.array([rank * channels * rows, outputs * rank * columns])
    assert macs(made.graph) == per_place @ places


@pytest.mark.parametrize("rank", [1, 2])
def test_a_pair_of_low_rank_is_the_convolution_that_both_are_together(rank):
    drawn = ((3, 5), {"pads": [1, 2, 1, 2], "strides": [2, 1]}, 3, 4, (9, 10), True)
    model, weight = convolution(drawn)
    first, second = pair(weight, rank)
    together = np.einsum("rma,orb->omab", first, second).astype(np.float32)
    wanted = model.clone()
    wanted.graph.initializers["w"].const_value = ir.tensor(together)
    x = np.random.default_rng(0).normal(size=(2, 3, 9, 10)).astype(np.float32)
    close(run(factorize(model, {"conv": (first, second, None)}), {"x": x}), run(wanted, {"x": x}))


@pytest.mark.parametrize("padding", ["SAME_UPPER", "SAME_LOWER"])
def test_images_of_any_size_are_padded_as_before(padding):
    drawn = ((3, 4), {"auto_pad": padding, "strides": [2, 3]}, 2, 3, (0, 0), True)
    model, weight = convolution(drawn, free=True)
    made = factorize(model, {"conv": (*pair(weight), None)})
    for size in [(7, 9), (8, 8), (12, 10)]:
        x = np.random.default_rng(0).normal(size=(2, 2, *size)).astype(np.float32)
        close(run(made, {"x": x}), run(model, {"x": x}))


@pytest.mark.parametrize("biased", [False, True])
def test_a_bias_is_put_on_the_second(biased):
    model, weight = convolution(((3, 3), {"pads": [1] * 4}, 2, 3, (9, 9), biased))
    bias = np.array([1.0, -2.0, 3.0])
    made = factorize(model, {"conv": (*pair(weight), bias)})
    assert [len(node.inputs) for node in made.graph] == [2, 3]
    x = np.zeros((1, 2, 9, 9), np.float32)
    np.testing.assert_array_equal(run(made, {"x": x})[0][0, :, 4, 4], bias)


def test_a_half_of_a_pair_can_be_split_again():
    model, weight = convolution(((3, 3), {"pads": [1] * 4}, 4, 5, (9, 9), True))
    once = factorize(model, {"conv": (*pair(weight), None)})
    second = once.graph[1].inputs[1].const_value.numpy()
    left, values, right = np.linalg.svd(second.reshape(len(second), -1).T, full_matrices=False)
    twice = factorize(once, {"conv": (left * values, right, None)})
    x = np.random.default_rng(0).normal(size=(2, 4, 9, 9)).astype(np.float32)
    close(run(twice, {"x": x}), run(model, {"x": x}))
    names = Counter(node_label(node) for node in twice.graph)
    assert len(names) == 3
    onnx.checker.check_model(ir.to_proto(twice), full_check=True)


def test_pairs_that_do_not_fit_are_refused():
    model, weight = convolution(((3, 4), {}, 2, 5, (9, 9), False))
    first, second = pair(weight)
    for one, two in [
        (first[1:], second),
        (first[:, 1:], second),
        (first[:, :, 1:], second),
        (first, second[1:]),
        (first, second[:, :, 1:]),
        (first.transpose(0, 2, 1), second),
        (first, second.reshape(len(second), -1)),
    ]:
        with pytest.raises(ModelError, match="cannot be split into"):
            factorize(model, {"conv": (one, two, None)})
    with pytest.raises(ModelError, match="not finite"):
        factorize(model, {"conv": (first * np.nan, second, None)})
    with pytest.raises(ModelError, match="give 5 numbers"):
        factorize(model, {"conv": (first, second, np.zeros(4))})


@pytest.mark.parametrize(("op", "group"), [("ConvTranspose", 1), ("Conv", 2), ("MatMul", 1)])
def test_other_nodes_are_refused(op, group):
    shape = (4, 2, 3, 3) if op != "MatMul" else (4, 4)
    weight = numpy_helper.from_array(np.ones(shape, np.float32), "w")
    attributes = {} if op == "MatMul" else {"group": group}
    sizes = ["N", 4] if op == "MatMul" else ["N", 4, 9, 9]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "w"], ["y"], name="node", **attributes)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    model = ir.from_proto(helper.make_model(graph, ir_version=8))
    infer_shapes(model)
    with pytest.raises(ModelError, match=r"cannot be split"):
        factorize(model, {"node": (np.ones((2, 4, 3)), np.ones((4, 2, 3)), None)})
