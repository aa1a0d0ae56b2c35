"""Narrow a graph: remove units from every tensor and every weight."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import IntArray
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.operators.constants import BoolArray, ConstantChange
from frivkit.graph.operators.edits import (
    CompensateShape,
    Edit,
    SetAttribute,
    SliceOperand,
    UpdateGroupCount,
    UpdateShape,
    UpdateSplit,
)
from frivkit.graph.operators.table import SPLITTING, reshape_target
from frivkit.graph.sites.groups import Groups, PruningGraph, analyze_groups
from frivkit.graph.sites.heads import line_flags, why_unequal
from frivkit.graph.sites.site_map import Site, SiteMap
from frivkit.graph.surgery.constant_edits import ConstantEdits, NewConstants, drop_unused
from frivkit.graph.surgery.norms import NarrowedNorms

ADDED = "narrowed"
"""Prefix of the names of added nodes and constants.

They stay in the file, so the prefix is not one that is reserved (see
``frivkit.graph.instrument.perturb.check_names``).
"""
ANY_LENGTH = np.iinfo(np.int64).max
_Stays = Callable[[IntArray], BoolArray]  # from the group at each position to whether it stays


def narrow(model: Model, site_map: SiteMap, keep: Mapping[str, NDArray[np.bool_]]) -> ir.Model:
    """Return a model without some of its units.

    It computes what the model computes if every weighted node, and every norm for its statistics,
    reads 0 from the removed units.
    Inputs, outputs, names, metadata and unchanged weights are those of the model; the weights are
    shared with it.

    Args:
        model: The model, with known shapes.
        site_map: Its sites.
        keep: By the name of a site whether each unit stays, shape (units,); all units of other
            sites stay.

    Raises:
        ModelError: a site is not known, a unit is locked or removed without the rest of its group,
            or no unit of a site stays.

    Example:
        >>> from pathlib import Path
        >>> from onnx import parser
        >>> from frivkit.graph.shapes import infer_shapes
        >>> from frivkit.graph.sites.site_map import find_sites
        >>> text = '<ir_version: 8, opset_import: ["": 17]> net (float[N, 1] x) => (float[N, 1] y)'
        >>> text += "<float[1, 2] v = {1, 2}, float[2, 1] w = {3, 4}>"
        >>> text += "{ a = MatMul(x, v) h = Relu(a) y = MatMul(h, w) }"
        >>> network = ir.from_proto(parser.parse_model(text))
        >>> infer_shapes(network)
        >>> model = Model(network, Path("net.onnx"), "onnx", "", (), None)
        >>> graph = narrow(model, find_sites(model), {"h": np.array([False, True])}).graph
        >>> {name: value.const_value.numpy().tolist() for name, value in graph.initializers.items()}
        {'v': [[2.0]], 'w': [[4.0]]}
    """
    pruning_graph = analyze_groups(model, site_map)
    staying = _staying_groups(site_map, pruning_graph.groups, keep)
    copy = model.ir.clone()
    if staying.all():
        return copy
    lines = line_flags(pruning_graph.groups.heads, staying)
    flags = np.concatenate([staying, lines, [True]])  # the last entry is NO_GROUP's
    narrowing = _Narrowing(copy.graph, model, lambda group_ids: flags[group_ids])
    narrowing.apply(pruning_graph)
    return copy


def _staying_groups(
    site_map: SiteMap, groups: Groups, keep: Mapping[str, NDArray[np.bool_]]
) -> BoolArray:
    """Return whether each group stays, after checking the flags of the units."""
    sites = {site.name: site for site in site_map.sites}
    unknown = next((name for name in keep if name not in sites), None)
    if unknown is not None:
        raise ModelError(f"no site is named {unknown!r}; it has {', '.join(sites) or 'none'}")
    stays, removed = (np.zeros(groups.count, dtype=np.bool_) for _ in range(2))
    for name, site in sites.items():
        flags = np.asarray(keep.get(name, np.ones(site.width, dtype=np.bool_)))
        if flags.dtype != np.bool_ or flags.shape != (site.width,):
            raise ModelError(
                f"flags of layer {site.layer} are {flags.dtype} of shape {flags.shape}; give "
                f"{site.width} truth values"
            )
        if not flags.any():
            raise ModelError(f"no unit of layer {site.layer} stays; leave at least one")
        stays[groups.of[name][flags]] = True
        removed[groups.of[name][~flags]] = True
    for row in groups.rows:
        if not stays[row].any():
            raise ModelError(
                "nothing would stay of a part into which the units of a layer are split; leave at "
                "least one unit of each"
            )
    for name, site in sites.items():
        _check_unit_flags(site, groups.of[name], groups.locked, removed, stays)
    for heads in groups.heads:
        reason = why_unequal(heads, stays)
        if reason is not None:
            names = [
                s.layer for s in sites.values() if np.isin(groups.of[s.name], heads.groups).any()
            ]
            raise ModelError(
                f"units of {', '.join(names)} cannot leave as asked: {reason}; let every head that "
                "stays keep equally many"
            )
    return stays


def _check_unit_flags(
    site: Site, groups: IntArray, locked: Mapping[int, str], removed: BoolArray, stays: BoolArray
) -> None:
    for unit in np.flatnonzero(removed[groups]).tolist():
        group = int(groups[unit])
        if group in locked:
            raise ModelError(f"unit {unit} of layer {site.layer} cannot leave: {locked[group]}")
        if stays[group]:
            raise ModelError(
                f"unit {unit} of layer {site.layer} is to leave and others of its group are to "
                "stay; let a group leave together"
            )


class _Narrowing:
    """Applies edits to a graph, from its end to its beginning: consumers change constants."""

    def __init__(self, graph: ir.Graph, model: Model, stays: _Stays) -> None:
        self._graph, self._model, self._stays = graph, model, stays
        self._constants = NewConstants(graph, model.ir.ir_version)
        self._edits = ConstantEdits(self._constants)
        self._norms = NarrowedNorms(self._constants, ADDED)

    def apply(self, pruning_graph: PruningGraph) -> None:
        nodes = list(self._graph)
        for index in reversed(range(len(nodes))):
            self._edit(nodes[index], pruning_graph.edits.get(index, ()))
            self._edits.apply_to_outputs(nodes[index])
        self._edits.finish()
        self._norms.finish()
        for node in [*nodes, *self._norms.added]:
            for value in node.outputs if node.op_type in SPLITTING else node.outputs[:1]:
                self._narrow_shape(node, value, pruning_graph)
        drop_unused(self._graph)

    def _edit(self, node: ir.Node, edits: tuple[Edit, ...]) -> None:
        slices: dict[int, dict[int, BoolArray]] = {}
        lengths: dict[int, dict[int, int]] = {}
        compensated: dict[int, int] = {}
        self._adapt(node, edits)
        self._split(
            node, [self._stays(edit.group_ids) for edit in edits if isinstance(edit, UpdateSplit)]
        )
        for edit in edits:
            stays = self._stays(edit.group_ids)
            if stays.all():
                continue
            if isinstance(edit, SliceOperand):
                slices.setdefault(edit.index, {})[edit.axis] = stays
            elif isinstance(edit, UpdateShape):
                lengths.setdefault(edit.index, {})[edit.entry] = int(stays.sum())
            elif isinstance(edit, CompensateShape):
                compensated[edit.entry] = int((~stays).sum())
            elif isinstance(edit, UpdateGroupCount):
                node.attributes["group"] = ir.AttrInt64("group", int(stays.sum()))
        for index, axes in slices.items():
            self._edits.request(node, index, ConstantChange(axes, {}))
        for index, entries in lengths.items():
            self._set_lengths(node, index, entries)
        if compensated and not _gathers_other_entries(node, compensated):
            self._compensate(node, compensated)

    def _split(self, node: ir.Node, parts: list[BoolArray]) -> None:
        """Set the lengths of the parts of a Split, unless all of them stay."""
        if all(stays.all() for stays in parts):
            return
        lengths = [int(stays.sum()) for stays in parts]
        node.attributes.pop("num_outputs", None)
        node.resize_inputs(2)
        node.replace_input_with(1, self._constant(lengths))

    def _adapt(self, node: ir.Node, edits: tuple[Edit, ...]) -> None:
        """Select entries of operands, keep statistics, and set attributes that were left out."""
        self._norms.apply(node, edits, self._stays)
        for edit in edits:
            if isinstance(edit, SetAttribute) and not self._stays(edit.group_ids).all():
                node.attributes[edit.name] = ir.AttrFloat32(edit.name, edit.number)

    def _set_lengths(self, node: ir.Node, index: int, entries: dict[int, int]) -> None:
        """Set lengths in an operand; a computed operand gets them as upper bounds."""
        value = node.inputs[index]
        if value is None:
            return
        if constant_tensor(value) is not None:
            self._edits.request(node, index, ConstantChange({}, entries))
            return
        numbers = reshape_target(node, self._model)
        if numbers is not None:
            for entry, number in entries.items():
                numbers[entry] = number
            node.replace_input_with(index, self._constant(numbers))
            return
        most = [entries.get(i, ANY_LENGTH) for i in range(_length(value, node))]
        bounded = self._node("Min", [value, self._constant(most)])
        self._graph.insert_before(node, bounded)
        node.replace_input_with(index, bounded.outputs[0])

    def _compensate(self, node: ir.Node, compensated: dict[int, int]) -> None:
        """Add the removed lengths to a shape for all its consumers."""
        value = node.outputs[0]
        removed = [compensated.get(i, 0) for i in range(_length(value, node))]
        uses = [(use.node, use.idx) for use in value.uses()]
        added = self._node("Add", [value, self._constant(removed)])
        self._graph.insert_after(node, added)
        for consumer, index in uses:
            consumer.replace_input_with(index, added.outputs[0])

    def _node(self, op: str, inputs: list[ir.Value]) -> ir.Node:
        name = self._constants.unused_name(f"{ADDED}/{op}")
        value = ir.Value(name=name, shape=inputs[0].shape, type=inputs[0].type)
        return ir.Node("", op, inputs, outputs=[value], name=name)

    def _constant(self, numbers: list[int]) -> ir.Value:
        return self._constants.new_constant(f"{ADDED}/sizes", np.array(numbers, dtype=np.int64))

    def _narrow_shape(self, node: ir.Node, value: ir.Value, pruning_graph: PruningGraph) -> None:
        for axis, group_ids in pruning_graph.assignment.at(value).items():
            stays = self._stays(group_ids)
            if value.shape is not None and not stays.all():
                sizes = list(value.shape)
                sizes[axis] = int(stays.sum())
                value.shape = ir.Shape(sizes)
                for other in [] if node.op_type in SPLITTING else node.outputs[1:]:
                    other.shape = None  # these have no consumers


def _length(value: ir.Value, node: ir.Node) -> int:
    """Return the number of entries of a vector of lengths."""
    if value.shape is not None and len(value.shape) == 1 and isinstance(value.shape[0], int):
        return value.shape[0]
    vector_of = node.inputs[0] if node.op_type in ("Shape", "Resize") else node.outputs[0]
    return 0 if vector_of is None or vector_of.shape is None else len(vector_of.shape)


def _gathers_other_entries(node: ir.Node, entries: Mapping[int, int]) -> bool:
    """Whether all consumers of a shape gather entries other than some."""
    value = node.outputs[0]
    if value.is_graph_output():
        return False
    for use in value.uses():
        indices = constant_tensor(use.node.inputs[1]) if use.node.op_type == "Gather" else None
        if (
            indices is None
            or use.idx != 0
            or np.isin(_indices(indices, value), list(entries)).any()
        ):
            return False
    return True


def _indices(indices: ir.TensorProtocol, value: ir.Value) -> NDArray[np.intp]:
    numbers = np.atleast_1d(indices.numpy()).astype(np.intp)
    length = value.shape[0] if value.shape is not None else None
    return np.where(numbers < 0, numbers + (length if isinstance(length, int) else 0), numbers)
