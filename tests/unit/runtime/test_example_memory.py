"""What does not fit into memory is refused, with its size, before anything is run."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frivkit.data import open_data
from frivkit.errors import ModelError
from frivkit.runtime.example_memory import check_example_fits
from frivkit.runtime.execution import Execution
from frivkit.runtime.opening import Opening, prepare_model
from frivkit_onnx.provider import load

RNG = np.random.default_rng(0)


def tiling(path, *, times, size="8"):
    """Write a network of a convolution over its input, tiled; ``times`` 0 computes how often."""
    extra = []
    if times:
        held = [numpy_helper.from_array(np.array([1, 1, times, times]), "reps")]
    else:  # at least 2500 times, by the largest entry of the example
        held = [
            numpy_helper.from_array(np.array(2500), "least"),
            numpy_helper.from_array(np.array([0]), "axis"),
            numpy_helper.from_array(np.array([1, 1]), "ones"),
        ]
        extra = [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("Cast", ["largest"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Max", ["whole", "least"], ["often"]),
            helper.make_node("Unsqueeze", ["often", "axis"], ["one"]),
            helper.make_node("Concat", ["ones", "one", "one"], ["reps"], axis=0),
        ]
    nodes = [
        *extra,
        helper.make_node("Tile", ["x", "reps"], ["t"]),
        helper.make_node("Conv", ["t", "c"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"]),
    ]
    sizes = [int(size) if size.isdecimal() else size] * 2
    held += [
        numpy_helper.from_array(RNG.normal(size=(12, 1, 1, 1)).astype(np.float32), "c"),
        numpy_helper.from_array(RNG.normal(size=(12, 4)).astype(np.float32), "w"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, *sizes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        held,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return load(path, {})


def test_a_tile_is_refused_with_what_it_would_take(tmp_path):
    model = tiling(tmp_path / "net.onnx", times=1000)
    data = open_data("gaussian?n=4", model.inputs)
    # The convolution's 12 maps and the Relu's of 8000 x 8000 in float32.
    with pytest.raises(ModelError, match=r"takes 5\.7 GiB for the activations of one example, m"):
        prepare_model(model, Opening(data=data))
    prepare_model(model, Opening())  # only looks at it
    check_example_fits(model, 6 << 30, data)


def test_open_sizes_are_those_of_the_data(tmp_path):
    model = tiling(tmp_path / "net.onnx", times=100, size="S")
    path = tmp_path / "x.npz"
    for size, fits in ((8, True), (64, False)):
        np.savez(path, x=np.zeros((2, 1, size, size), np.float32))
        data = open_data(f"npz:{path}", model.inputs)
        if fits:
            check_example_fits(model, 1 << 30, data)
        else:
            with pytest.raises(ModelError, match=r"3\.7 GiB"):
                check_example_fits(model, 1 << 30, data)


def test_sizes_that_depend_on_values_are_met_in_a_run_that_may_not_take_more(tmp_path):
    model = tiling(tmp_path / "net.onnx", times=0)
    data = open_data("gaussian?n=4", model.inputs)
    with pytest.raises(ModelError, match=r"one example do not fit into --memory \(1\.0 KiB\)"):
        prepare_model(model, Opening(Execution(memory=1024, threads=1), data))
