"""The law of splitting nodes: two at full rank do what one did, and what stays keeps its name."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from frivkit.compression.linear_consumers import LinearConsumer, find_linear_consumers
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.factorize import factorize
from tests.nets import NETS, examples, network, opened
from tests.surgery import batches, close, run

UNREAD = {
    *("windows", "branching", "weightless", "integer", "squeezed"),
    *("flattened first", "looped", "ends in depthwise"),
}
"""Networks in which nothing that reads units can be split."""
NAMES = [name for name in NETS if name != "foreign"]  # which no runtime here runs
READ = [name for name in NAMES if name not in {*UNREAD, "constants"}]  # a Transpose goes there
ROUNDING = {"halves": 3e-3}  # float16 has eleven bits


def with_linear_consumers(name: str, path: Path) -> tuple[Model, tuple[LinearConsumer, ...]]:
    shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
    model = opened(network(name), path, **shape)
    there = find_sites(model)
    return model, find_linear_consumers(model, there, analyze_groups(model, there))


def whole(matrix: np.ndarray, bias: np.ndarray | None = None):
    """Split a matrix at its full rank."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left * values, right, bias


def inputs(graph: ir.Graph) -> list[str]:
    """Name the inputs that have no initializer: what must be given to run."""
    return [value.name for value in graph.inputs if not value.is_initializer()]


def names(model: ir.Model) -> list[str]:
    return [node_label(node) for node in model.graph]


def before(model: ir.Model, label: str) -> ir.Node:
    """Return the node that makes what another reads."""
    (node,) = (node for node in model.graph if node_label(node) == label)
    return node.inputs[0].producer()


def test_nothing_is_split_only_where_nothing_reads_units(tmp_path):
    found = {name for name in NAMES if not with_linear_consumers(name, tmp_path / "m.onnx")[1]}
    assert found == UNREAD


@pytest.mark.parametrize("name", READ)
def test_a_split_at_full_rank_changes_no_output(name, tmp_path):
    model, linear_consumers = with_linear_consumers(name, tmp_path / "m.onnx")
    untouched = ir.to_proto(model.ir).SerializeToString(deterministic=True)
    split = factorize(model.ir, {r.consumer.node: whole(r.matrix) for r in linear_consumers})
    assert len(split.graph) == len(model.graph) + len(linear_consumers)
    for count in batches(model):
        feeds = examples(model, count)
        close(run(split, feeds), run(model.ir, feeds), ROUNDING.get(name, 1e-5))
    assert ir.to_proto(model.ir).SerializeToString(deterministic=True) == untouched


@pytest.mark.parametrize("name", READ)
def test_what_is_written_passes_the_checker_and_keeps_names(name, tmp_path):
    model, linear_consumers = with_linear_consumers(name, tmp_path / "m.onnx")
    split = factorize(model.ir, {r.consumer.node: whole(r.matrix) for r in linear_consumers})
    save(split, tmp_path / "split.onnx", model)
    proto = onnx.load(tmp_path / "split.onnx")
    onnx.checker.check_model(proto, full_check=True)
    again = ir.from_proto(proto)
    assert inputs(again.graph) == inputs(model.ir.graph)
    assert [v.name for v in again.graph.outputs] == [v.name for v in model.ir.graph.outputs]
    old = names(model.ir)
    assert [label for label in names(again) if label in old] == old
    assert max(Counter(names(again)).values()) == 1
    for linear_consumer in linear_consumers:
        label, rank = linear_consumer.consumer.node, min(linear_consumer.matrix.shape)
        first = before(again, label)
        assert node_label(first) not in old
        weight = first.inputs[1].const_value.shape
        assert weight[0 if first.op_type == "Conv" else 1] == rank


@pytest.mark.parametrize("name", ["mlp", "cnn", "transposed", "tokens", "sound", "volume"])
def test_a_split_at_rank_one_is_the_product_and_costs_what_can_be_counted(name, tmp_path):
    model, linear_consumers = with_linear_consumers(name, tmp_path / "m.onnx")
    linear_consumer = max(linear_consumers, key=lambda each: min(each.matrix.shape))
    label, (columns, outputs) = linear_consumer.consumer.node, linear_consumer.matrix.shape
    first, second, _ = whole(linear_consumer.matrix)
    low = factorize(model.ir, {label: (first[:, :1], second[:1], None)})
    same = factorize(model.ir, {label: whole(first[:, :1] @ second[:1])})
    full = min(columns, outputs)
    feeds = examples(model, 3)
    close(run(low, feeds), run(same, feeds))
    before_, after, at_full = (macs(each.graph) for each in (model.ir, low, same))
    times = (at_full - after) / ((full - 1) * (columns + outputs))  # how often rows are read
    assert after == before_ - times * (columns * outputs - columns - outputs)


@pytest.mark.parametrize("name", ["mlp", "cnn", "tokens", "halves", "attention"])
def test_a_bias_is_put(name, tmp_path):
    """One more on each output is one more before what reads it, an addition node or not."""
    model, linear_consumers = with_linear_consumers(name, tmp_path / "m.onnx")
    linear_consumer = linear_consumers[-1]
    label = linear_consumer.consumer.node
    split = factorize(model.ir, {label: whole(linear_consumer.matrix, linear_consumer.bias + 1)})
    (node,) = (node for node in model.ir.graph if node_label(node) == label)
    sums = [outer(node, each, linear_consumer) for each in (model.ir, split)]
    feeds = examples(model, 3)
    without, moved = (run(each, feeds)[-1] for each in sums)
    close([moved], [without + 1], ROUNDING.get(name, 1e-5))


def outer(node: ir.Node, model: ir.Model, linear_consumer: LinearConsumer) -> ir.Model:
    """Return the model with what a node makes, its bias included, as the last output."""
    copy = model.clone()
    name = node.outputs[0].name
    (made,) = (value for each in copy.graph for value in each.outputs if value.name == name)
    (use, *rest) = [*made.uses(), None]
    biases = {value.name for value in use.node.inputs} if use is not None else set()
    if node.op_type == "MatMul" and linear_consumer.consumer.bias in biases and rest == [None]:
        made = use.node.outputs[0]
    copy.graph.outputs.append(made)
    return copy


@pytest.mark.parametrize("transposed", [0, 1])
def test_factors_of_a_gemm_end_up_in_its_factors(transposed, tmp_path):
    proto = onnx.ModelProto.FromString(network("halves").SerializeToString())
    wide = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in proto.graph.initializer}
    del proto.graph.initializer[:]
    last = proto.graph.node[-1]
    last.attribute.extend([helper.make_attribute("alpha", 0.5), helper.make_attribute("beta", 2.0)])
    last.attribute.append(helper.make_attribute("transB", transposed))
    last.input.append("b")
    wide = {"wa": wide["wa"], "wb": wide["wb"].T if transposed else wide["wb"], "b": np.arange(3.0)}
    tensors = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in wide.items()]
    proto.graph.initializer.extend(tensors)
    for info in (*proto.graph.input, *proto.graph.output):
        info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    model = opened(proto, tmp_path / "m.onnx")
    there = find_sites(model)
    (linear_consumer,) = find_linear_consumers(model, there, analyze_groups(model, there))
    feeds = examples(model, 3)
    for bias in (None, linear_consumer.bias):
        split = factorize(
            model.ir, {linear_consumer.consumer.node: whole(linear_consumer.matrix, bias)}
        )
        close(run(split, feeds), run(model.ir, feeds))


def test_a_node_can_be_split_again(tmp_path):
    model, linear_consumers = with_linear_consumers("mlp", tmp_path / "m.onnx")
    label = linear_consumers[0].consumer.node
    first, second, _ = whole(linear_consumers[0].matrix)
    once = factorize(model.ir, {label: (first, second, None)})
    twice = factorize(once, {label: whole(second)})
    assert max(Counter(names(twice)).values()) == 1
    feeds = examples(model, 3)
    close(run(twice, feeds), run(model.ir, feeds))


def test_halves_that_do_not_fit_are_refused(tmp_path):
    model, linear_consumers = with_linear_consumers("cnn", tmp_path / "m.onnx")
    label, matrix = linear_consumers[0].consumer.node, linear_consumers[0].matrix
    first, second, _ = whole(matrix)
    with pytest.raises(ModelError, match="no weighted node is called 'nobody'"):
        factorize(model.ir, {"nobody": (first, second, None)})
    transposed = whole(matrix.T)[:2]  # as many numbers, of which no weight can be made
    for one, two in [
        (first[1:], second),
        (first[:, 1:], second),
        (first, second[:, 1:]),
        transposed,
    ]:
        with pytest.raises(ModelError, match="cannot be split into"):
            factorize(model.ir, {label: (one, two, None)})
    with pytest.raises(ModelError, match=f"give {matrix.shape[1]} numbers"):
        factorize(model.ir, {label: (first, second, np.zeros(matrix.shape[1] + 1))})
    for number in (np.nan, np.inf):
        spoilt = np.where(np.arange(first.shape[1]) == 0, number, first)
        with pytest.raises(ModelError, match="not finite"):
            factorize(model.ir, {label: (spoilt, second, None)})
        with pytest.raises(ModelError, match="not finite"):
            factorize(model.ir, {label: (first, spoilt.T[:, : second.shape[1]], None)})
        with pytest.raises(ModelError, match="not finite"):
            factorize(model.ir, {label: (first, second, np.full(matrix.shape[1], number))})


@pytest.mark.parametrize("name", ["grouped", "separable"])
def test_convolutions_in_groups_are_refused(name, tmp_path):
    model, _ = with_linear_consumers(name, tmp_path / "m.onnx")
    node = next(
        n for n in model.graph if "group" in n.attributes and n.attributes["group"].value > 1
    )
    sizes = tuple(node.inputs[1].shape)
    matrix = np.ones((sizes[0], int(np.prod(sizes[1:])))).T
    with pytest.raises(ModelError, match="computed or in groups"):
        factorize(model.ir, {node_label(node): whole(matrix)})
