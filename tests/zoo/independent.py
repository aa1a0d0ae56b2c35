"""Set units to zero without frivkit, by edits of the file that ONNX Runtime runs."""

from collections.abc import Mapping, Sequence
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
    return list(_session(proto, outputs).run(list(outputs), dict(feeds)))


def _session(proto: onnx.ModelProto, outputs: Sequence[str]) -> ort.InferenceSession:
    """Open a file, with further tensors as outputs."""
    known = {value.name for value in proto.graph.output}
    more = [name for name in dict.fromkeys(outputs) if name not in known]
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in more)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(copy.SerializeToString(), options, ["CPUExecutionProvider"])


def multiplied(model: Model, site: Site, unit: int) -> onnx.ModelProto:
    """Return the file with a product behind a site that puts one unit to zero."""
    proto: onnx.ModelProto = ir.to_proto(model.ir)
    factor = np.ones([1, *site.shape], np.float32)
    factor[(slice(None),) * site.axis + (unit,)] = 0
    _multiply(proto, site, factor, "factor")
    return proto


def _multiply(proto: onnx.ModelProto, site: Site, factor: NDArray[Any], name: str) -> None:
    """Put a product with a constant behind a site, for all that reads it."""
    at = next(i for i, node in enumerate(proto.graph.node) if site.name in node.output)
    outputs, before = proto.graph.node[at].output, f"before {name}"
    outputs[list(outputs).index(site.name)] = before
    proto.graph.node.insert(at + 1, helper.make_node("Mul", [before, name], [site.name]))
    proto.graph.initializer.append(numpy_helper.from_array(factor, name))


class Editable:
    """A file in which units and weights can be zero from run to run, all in one session.

    Behind each site stands a product, and each weight that writes or reads a site is the node's
    own: factors and weights are initializers that are inputs too, so that a run may give others.
    """

    def __init__(self, model: Model, site_map: SiteMap, sites: Sequence[Site]) -> None:
        """Open a file for editing at some of its sites."""
        self._model, self._site_map = model, site_map
        proto: onnx.ModelProto = ir.to_proto(model.ir)
        proto.ir_version = max(proto.ir_version, 4)  # initializers need not be inputs
        self._factors = {site.name: f"factor of {site.name}" for site in sites}
        known = {label for site in sites for label in (*site.producers, *site.consumers)}
        nodes = [node for node in model.graph if node_label(node) in known]
        for node in nodes:
            for index in (1, 2):
                value = node.inputs[index] if index < len(node.inputs) else None
                tensor = constant_tensor(value)
                if tensor is not None:
                    _put(proto, node, index, tensor.numpy())
                    _offer(proto, _own(node, index))
        for site in sites:
            _multiply(proto, site, np.ones([1, *site.shape], np.float32), self._factors[site.name])
            _offer(proto, self._factors[site.name])
        seen = [node.inputs[0].name or "" for node in nodes if node.inputs[0] is not None]
        shown = [*(site.name for site in sites), *seen]
        self._session = _session(proto, shown)

    def zeroed(self, site: Site, unit: int, feeds: Feeds, *outputs: str) -> list[NDArray[Any]]:
        """Run with a product behind a site that puts one unit to zero."""
        factor = np.ones([1, *site.shape], np.float32)
        factor[(slice(None),) * site.axis + (unit,)] = 0
        return self._run({**feeds, self._factors[site.name]: factor}, outputs)

    def without_weights(
        self, site: Site, unit: int, feeds: Feeds, output: str
    ) -> NDArray[Any] | None:
        """Run with zeros in the weights that read one unit, else in those that write it.

        None where neither is the same thing as a unit that is zero.
        """
        weights = self._unread(site, unit, feeds) or self._unwritten(site, unit, feeds)
        return None if weights is None else self._run({**feeds, **weights}, (output,))[0]

    def _run(self, feeds: Feeds, outputs: Sequence[str]) -> list[NDArray[Any]]:
        return list(self._session.run(list(outputs), dict(feeds)))

    def _unwritten(self, site: Site, unit: int, feeds: Feeds) -> dict[str, NDArray[Any]] | None:
        """Put zeros into the weights that write a unit; None where that does not make it zero."""
        weights = {}
        for node in (node for node in self._model.graph if node_label(node) in site.producers):
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
                    weights[_own(node, index)] = np.ascontiguousarray(np.moveaxis(array, 0, along))
        (baseline,) = self._run(feeds, (site.name,))
        (edited,) = self._run({**feeds, **weights}, (site.name,))
        mine = np.arange(site.width) == unit
        zero = not np.compress(mine, edited, axis=site.axis).any()
        same = np.compress(~mine, edited - baseline, axis=site.axis)
        return weights if zero and abs(same).max(initial=0) < 1e-6 else None

    def _unread(self, site: Site, unit: int, feeds: Feeds) -> dict[str, NDArray[Any]] | None:
        """Put zeros into the weights that read a unit.

        None where something without weights of its own reads the unit, or where what its consumers
        see is not zero when the unit is (behind a norm, or in a sum).
        """
        meeting = [
            part.site
            for coupling in self._site_map.couplings
            for merge_point in coupling.merge_points
            if merge_point.kind in ("sum", "product", "inner")
            for part in merge_point.parts
        ]
        if site.name in meeting:
            return None
        consumers = [node for node in self._model.graph if node_label(node) in site.consumers]
        layouts = {
            node_label(node): _units_on_summed_axis(node, self._site_map, site)
            for node in consumers
        }
        if site.not_followed or not consumers or None in layouts.values():
            return None
        seen = list(dict.fromkeys(node.inputs[0].name or "" for node in consumers))
        tensors = dict(zip(seen, self.zeroed(site, unit, feeds, *seen), strict=True))
        weights = {}
        for node in consumers:
            axis, units = layouts[node_label(node)] or (0, np.zeros(0))
            positions = np.flatnonzero(units == unit)
            if np.take(tensors[node.inputs[0].name or ""], positions, axis=axis).any():
                return None
            weights[_own(node, 1)] = _zero(node, positions)
        return weights


def _units_on_summed_axis(
    node: ir.Node, site_map: SiteMap, site: Site
) -> tuple[int, NDArray[np.intp]] | None:
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


def _zero(node: ir.Node, positions: NDArray[np.intp]) -> NDArray[Any]:
    """Return a node's weight with zeros where it reads those positions of its input."""
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
    return weight


def _own(node: ir.Node, index: int) -> str:
    """Name an operand that is the node's alone."""
    return f"{node_label(node)} operand {index}"


def _put(proto: onnx.ModelProto, node: ir.Node, index: int, array: NDArray[Any]) -> None:
    """Return a node an operand of its own."""
    name = _own(node, index)
    proto.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
    (found,) = (each for each in proto.graph.node if node.outputs[0].name in each.output)
    found.input[index] = name


def _offer(proto: onnx.ModelProto, name: str) -> None:
    """Let a run give another array in place of an initializer."""
    tensor = next(each for each in proto.graph.initializer if each.name == name)
    kind = helper.make_tensor_value_info(name, tensor.data_type, tensor.dims)
    proto.graph.input.append(kind)
