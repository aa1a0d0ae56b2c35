"""Units put to zero without frivkit: by an edit of the file, run by ONNX Runtime as it is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from frivkit.graph.layout import attribute
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.names import node_label
from frivkit.graph.sites.site_map import Site, SiteMap

Feeds = Mapping[str, NDArray[Any]]
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def ran(proto: onnx.ModelProto, feeds: Feeds, *outputs: str) -> list[NDArray[Any]]:
    """Run a file, with further tensors as outputs."""
    known = {value.name for value in proto.graph.output}
    more = [name for name in outputs if name not in known]
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in more)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(copy.SerializeToString(), options, ["CPUExecutionProvider"])
    return list(session.run(list(outputs), dict(feeds)))


def multiplied(model: Model, site: Site, unit: int) -> onnx.ModelProto:
    """Return the file with a product behind a site that puts one unit to zero."""
    proto: onnx.ModelProto = ir.to_proto(model.ir)
    at = next(i for i, node in enumerate(proto.graph.node) if site.name in node.output)
    factor = np.ones([1, *site.shape], np.float32)
    factor[(slice(None),) * site.axis + (unit,)] = 0
    outputs = proto.graph.node[at].output
    outputs[list(outputs).index(site.name)] = "before"
    proto.graph.node.insert(at + 1, helper.make_node("Mul", ["before", "factor"], [site.name]))
    proto.graph.initializer.append(numpy_helper.from_array(factor, "factor"))
    return proto


def without_weights(
    model: Model, site_map: SiteMap, site: Site, unit: int, feeds: Feeds
) -> onnx.ModelProto | None:
    """Return the file with zeros in the weights that read one unit, else in those that write it.

    None where neither is the same thing as a unit that is zero.
    """
    return _unread(model, site_map, site, unit, feeds) or _unwritten(model, site, unit, feeds)


def _unwritten(model: Model, site: Site, unit: int, feeds: Feeds) -> onnx.ModelProto | None:
    """Put zeros into the weights that write a unit; None where that does not make it zero."""
    proto: onnx.ModelProto = ir.to_proto(model.ir)
    for node in (node for node in model.graph if node_label(node) in site.producers):
        if node.op_type == "MatMul":
            return None  # its bias is another node's
        axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
        if node.op_type == "ConvTranspose" and attribute(node, "group", 1) > 1:
            return None
        for index, along in ((1, axis), (2, 0)):
            if index < len(node.inputs):
                tensor = constant_tensor(node.inputs[index])
                if tensor is None:
                    return None
                array = np.moveaxis(tensor.numpy().copy(), along, 0)
                array[unit] = 0
                _put(proto, node, index, np.moveaxis(array, 0, along))
    (baseline,), (edited,) = (
        ran(each, feeds, site.name) for each in (ir.to_proto(model.ir), proto)
    )
    mine = np.arange(site.width) == unit
    zero = not np.compress(mine, edited, axis=site.axis).any()
    same = np.compress(~mine, edited - baseline, axis=site.axis)
    return proto if zero and abs(same).max(initial=0) < 1e-6 else None


def _unread(
    model: Model, site_map: SiteMap, site: Site, unit: int, feeds: Feeds
) -> onnx.ModelProto | None:
    """Put zeros into the weights that read a unit.

    None where something without weights of its own reads the unit, or where what its readers see
    is not zero when the unit is (behind a norm, or in a sum).
    """
    meeting = [
        part.site
        for coupling in site_map.couplings
        for merge_point in coupling.merge_points
        if merge_point.kind in ("sum", "product", "inner")
        for part in merge_point.parts
    ]
    if site.name in meeting:
        return None
    readers = [node for node in model.graph if node_label(node) in site.consumers]
    layouts = {node_label(node): _lying(node, site_map, site) for node in readers}
    if site.not_followed or not readers or None in layouts.values():
        return None
    seen = [node.inputs[0].name or "" for node in readers]
    found = ran(multiplied(model, site, unit), feeds, *dict.fromkeys(seen))
    tensors = dict(zip(dict.fromkeys(seen), found, strict=True))
    proto: onnx.ModelProto = ir.to_proto(model.ir)
    for node in readers:
        axis, units = layouts[node_label(node)] or (0, np.zeros(0))
        positions = np.flatnonzero(units == unit)
        if np.take(tensors[node.inputs[0].name or ""], positions, axis=axis).any():
            return None
        _zero(proto, node, positions)
    return proto


def _lying(node: ir.Node, site_map: SiteMap, site: Site) -> tuple[int, NDArray[np.intp]] | None:
    """Return the axis that a node sums over by a constant weight, and the site's units on it."""
    weight = node.inputs[1] if node.op_type in WEIGHTED else None
    if constant_tensor(weight) is None or node.inputs[0] is None:
        return None
    rank = len(node.inputs[0].shape or ())
    axis = 1 if node.op_type in ("Conv", "ConvTranspose") else rank - 1
    units = [
        layout.at(axis)
        for name, layout in site_map.layouts.get(node.inputs[0].name or "", ())
        if name == site.name
    ]
    return (axis, units[0]) if len(units) == 1 and units[0] is not None else None


def _zero(proto: onnx.ModelProto, node: ir.Node, positions: NDArray[np.intp]) -> None:
    """Return a node a weight of its own, with zeros where it reads those positions of its input."""
    tensor = constant_tensor(node.inputs[1])
    assert tensor is not None
    weight = tensor.numpy().copy()
    groups = attribute(node, "group", 1)
    if node.op_type == "Conv":  # the input channels of each group lie on axis 1
        per_group, outputs = weight.shape[1], len(weight) // groups
        for position in positions:
            group, channel = divmod(position, per_group)
            weight[group * outputs : (group + 1) * outputs, channel] = 0
    elif node.op_type == "Gemm" and attribute(node, "transB", 0):
        weight[:, positions] = 0
    else:
        weight[positions] = 0
    _put(proto, node, 1, weight)


def _put(proto: onnx.ModelProto, node: ir.Node, index: int, array: NDArray[Any]) -> None:
    """Return a node an operand of its own."""
    name = f"{node_label(node)} without {index}"
    tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
    proto.graph.initializer.append(tensor)
    (found,) = (each for each in proto.graph.node if node.outputs[0].name in each.output)
    found.input[index] = name
