"""For tests of graph surgery: random units that stay, and networks with masks put into the file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from frivkit.graph.instrument.perturb import check_names
from frivkit.graph.layout import Layout
from frivkit.graph.model import Model
from frivkit.graph.sites.groups import Groups
from frivkit.graph.sites.site_map import SiteMap, find_sites
from frivkit.graph.surgery.narrow import narrow
from tests.nets import examples, opened

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")
NORMS = ("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
Arrays = dict[str, np.ndarray[Any, Any]]
Flags = Mapping[str, np.ndarray[Any, Any]]


def drawn(groups: Groups, seed: int, share: float = 0.5) -> dict[str, np.ndarray[Any, Any]]:
    """Draw which units stay: each group with probability ``share``, and of each site one.

    Of heads, some stay, with equally many dimensions each.
    """
    generator = np.random.default_rng(seed)
    stays = (generator.random(groups.count) < share) | ~groups.free
    for heads in groups.heads:
        stays[heads.groups] = False
        kept = (generator.random(heads.count) < share) | (heads.fixed is not None)
        kept[generator.integers(heads.count)] = True
        for block in heads.blocks:
            dimensions = block.groups.shape[1]
            count = generator.binomial(dimensions - 1, share) + 1
            count = dimensions if block.fixed else int(count)
            same = generator.permutation(dimensions)[:count]
            for row in np.flatnonzero(kept[block.heads]):
                chosen = same if block.uniform else generator.permutation(dimensions)[:count]
                stays[block.groups[row, chosen]] = True
    for of in (*groups.of.values(), *groups.rows):
        if not stays[of].any():
            stays[generator.choice(of)] = True
    return groups.flags(stays)


def staying(layout: Layout, flags: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return whether each position of a layout stays, one position after the other."""
    units = layout.units.ravel().tolist()
    return np.array([bool(flags[unit]) if unit >= 0 else True for unit in units])


def masked_consumers(model: Model, site_map: SiteMap, keep: Flags) -> ir.Model:
    """Return the model with zeros for removed units in what weighted nodes and norms read."""
    copy = model.ir.clone()
    for node in [node for node in copy.graph if node.op_type in WEIGHTED + NORMS or _norms(node)]:
        for index, value in enumerate(node.inputs):
            layouts = site_map.layouts.get(value.name or "", ()) if value is not None else ()
            for site, layout in layouts:
                shape = [1] * len(value.shape)
                for axis, size in zip(layout.axes, layout.units.shape, strict=True):
                    shape[axis] = size
                factor = staying(layout, keep[site]).reshape(shape)
                _multiply(copy.graph, node, index, factor)
    copy.ir_version = max(copy.ir_version, 4)  # the factors are no inputs
    return copy


def _norms(node: ir.Node) -> bool:
    """Whether a node reads what a norm in pieces takes statistics of: means, squares, distances."""
    value = node.inputs[0] if node.inputs else None
    if value is None or node.op_type not in {"ReduceMean", "Pow", "Sub"}:
        return False
    producer = value.producer()
    consumers = {use.node.op_type for use in value.uses()}
    if producer is not None and producer.op_type in {"Sub", "Pow"}:
        return False  # what has left is no zero here
    return consumers >= {"ReduceMean", "Sub"} or (
        "Pow" in consumers and consumers & {"Mul", "Div"} != set()
    )


def masked_sites(model: Model, site_map: SiteMap, keep: Flags) -> ir.Model:
    """Return the model with zeros in place of removed units in the tensors of sites."""
    copy = model.ir.clone()
    for site in site_map.sites:
        shape = [1] * (len(site.shape) + 1)
        shape[site.axis] = -1
        for node in list(copy.graph):
            for index, value in enumerate(node.inputs):
                if value is not None and value.name == site.name:
                    _multiply(copy.graph, node, index, keep[site.name].reshape(shape))
    copy.ir_version = max(copy.ir_version, 4)
    return copy


def zeroed(model: Model, site_map: SiteMap, keep: Flags) -> ir.Model:
    """Return the model with zeros for removed units in sites, and in what weights and norms read.

    A norm makes other numbers of the zeros in a residual stream, which its consumers must not see.
    """
    return masked_consumers(as_model(masked_sites(model, site_map, keep), model), site_map, keep)


def _multiply(graph: ir.Graph, node: ir.Node, index: int, factor: np.ndarray[Any, Any]) -> None:
    value = node.inputs[index]
    name = f"factor {len(graph)} {index}"
    tensor = ir.tensor(factor.astype(value.dtype.numpy()), name=name)
    constant = ir.Value(
        name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype)
    )
    graph.register_initializer(constant)
    product = ir.Node("", "Mul", [value, constant], name=f"{name} Mul")
    product.outputs[0].name = f"{name} product"
    product.outputs[0].type = value.type
    graph.insert_before(node, product)
    node.replace_input_with(index, product.outputs[0])


def run(model: ir.Model, feeds: Arrays) -> list[np.ndarray[Any, Any]]:
    """Run a graph by ONNX Runtime as it is, without rewriting it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def check(model: ir.Model) -> None:
    """Check a graph and its shapes by ONNX's own checker."""
    onnx.checker.check_model(ir.to_proto(model), full_check=True)


def as_model(compressed: ir.Model, original: Model) -> Model:
    """Return the model that a graph was made from with that graph."""
    return replace(original, ir=compressed)


def weights(model: ir.Model) -> int:
    """Count the entries of all initializers."""
    return sum(int(np.prod(v.const_value.shape)) for v in model.graph.initializers.values())


def close(found, wanted, tolerance=1e-5):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1, np.abs(b).max()))


def batches(model):
    return [1, 3] if model.batch is None else [model.batch]


def narrowed(proto, tmp_path, **drop):
    """Return the model, its sites, flags without the units to drop, and the narrowed graph."""
    model = opened(proto, tmp_path / "m.onnx")
    found = find_sites(model)
    widths = {site.name: site.width for site in found.sites}
    keep = {name: ~np.isin(np.arange(widths[name]), units) for name, units in drop.items()}
    return model, found, keep, narrow(model, found, keep)


def agrees(proto, tmp_path, **drop):
    """Check a narrowed network against one with masks, and return it."""
    model, found, keep, compressed = narrowed(proto, tmp_path, **drop)
    check(compressed)
    check_names(as_model(compressed, model))  # frivkit must be able to read it
    whole = {site.name: np.ones(site.width, bool) for site in found.sites}
    for count in batches(model):
        feeds = examples(model, count)
        close(run(compressed, feeds), run(masked_consumers(model, found, whole | keep), feeds))
    return compressed


def shapes(compressed):
    return {
        name: list(value.const_value.shape) for name, value in compressed.graph.initializers.items()
    }
