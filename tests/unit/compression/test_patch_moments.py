"""Rows of patches and their moments against ONNX Runtime's own convolutions and numpy."""

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.compression.linear_consumers import (
    columns_by_unit,
    distinct_sources,
    find_linear_consumers,
)
from frivkit.compression.patch_moments import accumulate_patch_moments
from frivkit.compression.patch_rows import patch_rows, patches_per_example
from frivkit.data import open_data
from frivkit.graph.layout import NO_GROUP
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.runtime.execution import Execution
from tests.nets import NETS, examples, network, opened
from tests.unit.units.test_perturbations import SITELESS, run

NAMES = [name for name in NETS if name not in SITELESS]


def looked_at(name, folder):
    shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
    model = opened(network(name), folder / "m.onnx", **shape)
    found = find_sites(model)
    pruning_graph = analyze_groups(model, found)
    return model, found, pruning_graph, find_linear_consumers(model, found, pruning_graph)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_rows_times_the_matrix_plus_the_bias(name, tmp_path):
    model, _, _, linear_consumers = looked_at(name, tmp_path)
    inputs = examples(model, model.batch or 3)
    nodes = {(node.name or ""): node for node in model.graph}
    for linear_consumer in linear_consumers:
        consumer = linear_consumer.consumer
        if not linear_consumer.has_bias_freedom or consumer.node not in nodes:
            continue  # its patches overlap, or its bias is computed
        node = nodes[consumer.node]
        made = node.outputs[0]
        if consumer.op == "MatMul" and consumer.bias is not None:
            made = next(iter(made.uses())).node.outputs[0]
        given = consumer.tensor in inputs
        names = [made.name] if given else [consumer.tensor, made.name]
        arrays = run(ir.to_proto(model.ir), names, inputs)
        tensor, output = (inputs[consumer.tensor], arrays[0]) if given else arrays
        rows = patch_rows(linear_consumer.source, tensor, None, np.random.default_rng(0))
        count = len(next(iter(inputs.values())))  # examples lie on another axis of some tensors
        assert len(rows) == count * patches_per_example(linear_consumer.source)
        wanted = np.moveaxis(output, 1 if "Conv" in consumer.op else -1, -1)
        wanted = wanted.reshape(len(rows), -1).astype(np.float64)
        found = rows @ linear_consumer.matrix + linear_consumer.bias
        bound = 5e-3 if tensor.dtype == np.float16 else 1e-5
        assert np.abs(found - wanted).max() <= bound * max(1, np.abs(wanted).max()), consumer.node


def test_picked_rows_are_some_of_all(tmp_path):
    _, _, _, linear_consumers = looked_at("cnn", tmp_path)
    source = next(r.source for r in linear_consumers if r.source.geometry is not None)
    tensor = np.random.default_rng(0).normal(size=(2, *source.shape)).astype(np.float32)
    every = {row.tobytes() for row in patch_rows(source, tensor, None, np.random.default_rng(0))}
    some = patch_rows(source, tensor, 3, np.random.default_rng(0))
    assert len(some) == 6
    assert {row.tobytes() for row in some} < every


@pytest.mark.parametrize("memory", [1 << 30, 1])
def test_moments_are_those_of_numpy_in_one_pass_or_many(memory, tmp_path):
    model, _, _, linear_consumers = looked_at("cnn", tmp_path)
    shape = model.inputs[0].shape
    x = np.random.default_rng(1).normal(size=(23, *shape)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    data = open_data(f"npz:{tmp_path / 'x.npz'}", model.inputs)
    meets = {linear_consumer.error_tensor: 1 for linear_consumer in linear_consumers}
    patch_moments, spreads = accumulate_patch_moments(
        model,
        distinct_sources(linear_consumers),
        data,
        Execution(memory=memory, threads=1),
        tensor_axes=meets,
    )
    held = np.arange(23) % 5 == 4
    for source, found in patch_moments.items():
        (tensor,) = run(network("cnn"), [source.tensor], {model.inputs[0].name: x})
        rows = patch_rows(source, tensor, None, np.random.default_rng(0)).astype(np.float64)
        if found.per_channel:
            assert memory == 1
            rows = rows.reshape(len(rows), -1, source.unit_columns)
            rows = rows.transpose(0, 2, 1).reshape(-1, rows.shape[1])
        by_example = rows.reshape(23, -1, rows.shape[1])
        for part, chosen in ((found.fitted, ~held), (found.validation, held)):
            wanted = by_example[chosen].reshape(-1, rows.shape[1])
            assert part.count == len(wanted)
            np.testing.assert_allclose(part.mean, wanted.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(part.covariance, np.cov(wanted.T, bias=True), atol=1e-4)
    for name in meets:
        (tensor,) = run(network("cnn"), [name], {model.inputs[0].name: x})
        units = np.moveaxis(tensor, 1, -1).reshape(-1, tensor.shape[1])
        np.testing.assert_allclose(spreads[name].mean, units.mean(axis=0), atol=1e-5)
        assert spreads[name].variance == pytest.approx(units.var(axis=0).sum(), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_units_have_their_columns(name, tmp_path):
    _, _, pruning_graph, linear_consumers = looked_at(name, tmp_path)
    for linear_consumer in linear_consumers:
        group_ids, columns = columns_by_unit(linear_consumer)
        assert len(group_ids) == len(columns)
        assert np.unique(columns).size == columns.size
        for mark, mine in zip(group_ids, columns, strict=True):
            assert (linear_consumer.group_ids[mine] == mark).all()
        assert set(group_ids[group_ids != NO_GROUP]) <= set(range(pruning_graph.groups.count))
