"""Work on large graphs grows with their size, not with its square."""

import cProfile
import pstats

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from frivkit.graph.model import is_constant
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, inspect_model
from frivkit.provenance import Clock
from frivkit.report.document import inspection_document

WIDTH = 4


def shared(blocks):
    """A chain of layers with one weight."""
    for i in range(blocks):
        yield helper.make_node("MatMul", [f"h{i}", "w"], [f"m{i}"])
        yield helper.make_node("Relu", [f"m{i}"], [f"h{i + 1}"])


def residual(blocks):
    """Blocks that add to one stream, all of one name."""
    for i in range(blocks):
        yield helper.make_node("MatMul", [f"h{i}", f"w{i}"], [f"m{i}"], name="block/MatMul")
        yield helper.make_node("Relu", [f"m{i}"], [f"r{i}"])
        yield helper.make_node("MatMul", [f"r{i}", f"v{i}"], [f"q{i}"])
        yield helper.make_node("Add", [f"h{i}", f"q{i}"], [f"h{i + 1}"])


def wide(blocks):
    """Branches side by side."""
    for i in range(blocks):
        yield helper.make_node("MatMul", ["h0", f"w{i}"], [f"m{i}"])
        yield helper.make_node("Relu", [f"m{i}"], [f"r{i}"])
    yield helper.make_node("Concat", [f"r{i}" for i in range(blocks)], ["c"], axis=1)
    yield helper.make_node("ReduceSum", ["c", "one"], ["s"])
    yield helper.make_node("MatMul", ["s", "column"], [f"h{blocks}"])


def attention(blocks):
    """Attentions of two heads, one behind the other."""
    for i in range(blocks):
        for name, perm in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
            yield helper.make_node("MatMul", [f"h{i}", f"{name}{i}"], [f"{name}m{i}"])
            yield helper.make_node("Reshape", [f"{name}m{i}", "heads"], [f"{name}r{i}"])
            yield helper.make_node("Transpose", [f"{name}r{i}"], [f"{name}t{i}"], perm=perm)
        yield helper.make_node("MatMul", [f"qt{i}", f"kt{i}"], [f"l{i}"])
        yield helper.make_node("Softmax", [f"l{i}"], [f"p{i}"], axis=-1)
        yield helper.make_node("MatMul", [f"p{i}", f"vt{i}"], [f"c{i}"])
        yield helper.make_node("Transpose", [f"c{i}"], [f"t{i}"], perm=[0, 2, 1, 3])
        yield helper.make_node("Reshape", [f"t{i}", "rows"], [f"o{i}"])
        yield helper.make_node("MatMul", [f"o{i}", f"w{i}"], [f"h{i + 1}"])


def written(make, blocks, path):
    nodes = list(make(blocks))
    made = {name for node in nodes for name in node.output}
    other = {
        "one": np.array([1]), "column": np.ones((1, WIDTH), np.float32),
        "heads": np.array([0, 3, 2, WIDTH // 2]), "rows": np.array([0, 3, WIDTH]),
    }  # fmt: skip
    read = dict.fromkeys(name for node in nodes for name in node.input if name not in made)
    weights = [
        numpy_helper.from_array(other.get(name, np.eye(WIDTH, dtype=np.float32)), name)
        for name in read
        if name != "h0"
    ]
    shape = ["N", 3, WIDTH] if make is attention else ["N", WIDTH]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("h0", 1, shape)],
        [helper.make_tensor_value_info(f"h{blocks}", 1, shape)],
        weights,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def calls_of_inspection(path):
    profile = cProfile.Profile()
    profile.enable()
    request = Request(path)
    model, site_map = inspect_model(request)
    inspection_document(model, site_map, Clock.start(), None, request.execution)
    profile.disable()
    return pstats.Stats(profile).total_calls, site_map


@pytest.mark.parametrize("make", [shared, residual, wide, attention])
def test_inspection_makes_calls_in_proportion_to_the_size(make, tmp_path):
    few, many = (8, 32) if make is attention else (16, 64)
    calls_of_inspection(written(make, few, tmp_path / "warm.onnx"))
    small, _ = calls_of_inspection(written(make, few, tmp_path / "small.onnx"))
    large, site_map = calls_of_inspection(written(make, many, tmp_path / "large.onnx"))
    assert large < 5 * small  # of four times the size; nine times as many if each met each
    assert len(site_map.sites) >= many - 1


def test_constants_of_a_model_are_those_that_following_nodes_finds(tmp_path):
    _, _ = calls_of_inspection(written(attention, 2, tmp_path / "net.onnx"))
    model, _ = inspect_model(Request(tmp_path / "net.onnx"))
    copy = model.ir.clone().graph
    for mine, other in zip(model.graph, copy, strict=True):
        for value, same in zip(mine.inputs, other.inputs, strict=True):
            assert is_constant(value) == is_constant(same)


def test_a_copy_that_is_edited_is_followed_anew(tmp_path):
    model, _ = inspect_model(Request(written(shared, 3, tmp_path / "net.onnx")))
    assert not is_constant(model.graph.outputs[0])
    copy = model.ir.clone().graph
    assert not is_constant(copy.outputs[0])
    copy[0].replace_input_with(0, copy.initializers["w"])
    assert is_constant(copy.outputs[0])
    assert find_sites(model).sites
