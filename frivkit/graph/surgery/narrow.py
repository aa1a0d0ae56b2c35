"""Write the thinner graph: units that do not stay are gone from every tensor and every weight."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import IntArray
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.operators.constants import ConstantChange, BoolArray
from frivkit.graph.operators.edits import (
    CompensateShape,
    Edit,
    SliceOperand,
    UpdateGroupCount,
    UpdateShape,
    UpdateSplit,
)
from frivkit.graph.operators.table import SPLITTING, reshape_target
from frivkit.graph.sites.groups import Groups, PruningGraph, analyze_groups
from frivkit.graph.sites.site_map import Site, SiteMap
from frivkit.graph.surgery.constant_edits import ConstantEdits, NewConstants, drop_unused

ADDED = "narrowed"
"""Prefix of the names of nodes and constants that are added.

They stay in the file, so it is none that is refused on reading (``instrument.check_names``).
"""
ANY_LENGTH = np.iinfo(np.int64).max
_Stays = Callable[[IntArray], BoolArray]  # from the marks of an axis to the positions that stay


def narrow(model: Model, site_map: SiteMap, keep: Mapping[str, NDArray[np.bool_]]) -> ir.Model:
    """Return a model in which the units that do not stay are gone.

    What it computes is what the model computes when every weighted node reads 0 from the units
    that leave.  Inputs, outputs, names, metadata and weights that do not change are those of the
    model; the weights are shared with it.

    Args:
        model: The model, with known shapes.
        site_map: What was found in that model.
        keep: For sites by name whether each unit stays, shape (units,); sites left out stay whole.

    Raises:
        ModelError: a site is not known, a unit cannot leave or leaves without its group, or no
            unit of a site stays.
    """
    pruning_graph = analyze_groups(model, site_map)
    staying = _groups_that_stay(site_map, pruning_graph.groups, keep)
    copy = model.ir.clone()
    if staying.all():
        return copy
    flags = np.append(staying, True)  # what belongs to no group always stays
    surgeon = _Surgeon(copy.graph, model, lambda group_ids: flags[group_ids])
    surgeon.work(pruning_graph)
    return copy


def _groups_that_stay(
    site_map: SiteMap, groups: Groups, keep: Mapping[str, NDArray[np.bool_]]
) -> BoolArray:
    """Check the flags of units and give those of their groups."""
    sites = {site.name: site for site in site_map.sites}
    unknown = next((name for name in keep if name not in sites), None)
    if unknown is not None:
        raise ModelError(f"no site is named {unknown!r}; it has {', '.join(sites) or 'none'}")
    stays, leaves = (np.zeros(groups.count, dtype=np.bool_) for _ in range(2))
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
        leaves[groups.of[name][~flags]] = True
    for row in groups.rows:
        if not stays[row].any():
            raise ModelError(
                "nothing would stay of a part into which the units of a layer are split; leave at "
                "least one unit of each"
            )
    for name, site in sites.items():
        _refuse(site, groups.of[name], groups.locked, leaves, stays)
    return stays


def _refuse(
    site: Site, groups: IntArray, locked: Mapping[int, str], leaves: BoolArray, stays: BoolArray
) -> None:
    for unit in np.flatnonzero(leaves[groups]).tolist():
        group = int(groups[unit])
        if group in locked:
            raise ModelError(f"unit {unit} of layer {site.layer} cannot leave: {locked[group]}")
        if stays[group]:
            raise ModelError(
                f"unit {unit} of layer {site.layer} is to leave and others of its group are to "
                "stay; let a group leave together"
            )


class _Surgeon:
    """Edits a graph, from its end to its beginning: readers say what constants must become."""

    def __init__(self, graph: ir.Graph, model: Model, stays: _Stays) -> None:
        self._graph, self._model, self._stays = graph, model, stays
        self._constants = NewConstants(graph, model.ir.ir_version)
        self._edits = ConstantEdits(self._constants)

    def work(self, pruning_graph: PruningGraph) -> None:
        nodes = list(self._graph)
        for index in reversed(range(len(nodes))):
            self._edit(nodes[index], pruning_graph.edits.get(index, ()))
            self._edits.settle(nodes[index])
        self._edits.finish()
        for node in nodes:
            for value in node.outputs if node.op_type in SPLITTING else node.outputs[:1]:
                self._narrow_shape(node, value, pruning_graph)
        drop_unused(self._graph)

    def _edit(self, node: ir.Node, edits: tuple[Edit, ...]) -> None:
        cuts: dict[int, dict[int, BoolArray]] = {}
        named: dict[int, dict[int, int]] = {}
        restored: dict[int, int] = {}
        self._split(
            node, [self._stays(edit.group_ids) for edit in edits if isinstance(edit, UpdateSplit)]
        )
        for edit in edits:
            stays = self._stays(edit.group_ids)
            if stays.all():
                continue
            if isinstance(edit, SliceOperand):
                cuts.setdefault(edit.index, {})[edit.axis] = stays
            elif isinstance(edit, UpdateShape):
                named.setdefault(edit.index, {})[edit.entry] = int(stays.sum())
            elif isinstance(edit, CompensateShape):
                restored[edit.entry] = int((~stays).sum())
            elif isinstance(edit, UpdateGroupCount):
                node.attributes["group"] = ir.AttrInt64("group", int(stays.sum()))
        for index, axes in cuts.items():
            self._edits.ask(node, index, ConstantChange(axes, {}))
        for index, entries in named.items():
            self._name(node, index, entries)
        if restored and not _picks_others(node, restored):
            self._restore(node, restored)

    def _split(self, node: ir.Node, parts: list[BoolArray]) -> None:
        """Let a Split say how long its parts are, where they are not as they were."""
        if all(stays.all() for stays in parts):
            return
        lengths = [int(stays.sum()) for stays in parts]
        node.attributes.pop("num_outputs", None)
        node.resize_inputs(2)
        node.replace_input_with(1, self._constant(lengths))

    def _name(self, node: ir.Node, index: int, entries: dict[int, int]) -> None:
        """Write new lengths into an operand, or keep a computed one down to them."""
        value = node.inputs[index]
        if value is None:
            return
        if constant_tensor(value) is not None:
            self._edits.ask(node, index, ConstantChange({}, entries))
            return
        numbers = reshape_target(node, self._model)
        if numbers is not None:
            for entry, number in entries.items():
                numbers[entry] = number
            node.replace_input_with(index, self._constant(numbers))
            return
        most = [entries.get(i, ANY_LENGTH) for i in range(_length(value, node))]
        kept = self._node("Min", [value, self._constant(most)])
        self._graph.insert_before(node, kept)
        node.replace_input_with(index, kept.outputs[0])

    def _restore(self, node: ir.Node, restored: dict[int, int]) -> None:
        """Add to a shape what left, for whoever computes with it."""
        value = node.outputs[0]
        gone = [restored.get(i, 0) for i in range(_length(value, node))]
        uses = [(use.node, use.idx) for use in value.uses()]
        added = self._node("Add", [value, self._constant(gone)])
        self._graph.insert_after(node, added)
        for reader, index in uses:
            reader.replace_input_with(index, added.outputs[0])

    def _node(self, op: str, inputs: list[ir.Value]) -> ir.Node:
        name = self._constants.free(f"{ADDED}/{op}")
        value = ir.Value(name=name, shape=inputs[0].shape, type=inputs[0].type)
        return ir.Node("", op, inputs, outputs=[value], name=name)

    def _constant(self, numbers: list[int]) -> ir.Value:
        return self._constants.new(f"{ADDED}/sizes", np.array(numbers, dtype=np.int64))

    def _narrow_shape(self, node: ir.Node, value: ir.Value, pruning_graph: PruningGraph) -> None:
        for axis, group_ids in pruning_graph.assignment.at(value).items():
            stays = self._stays(group_ids)
            if value.shape is not None and not stays.all():
                sizes = list(value.shape)
                sizes[axis] = int(stays.sum())
                value.shape = ir.Shape(sizes)
                for other in [] if node.op_type in SPLITTING else node.outputs[1:]:
                    other.shape = None  # nobody reads them


def _length(value: ir.Value, node: ir.Node) -> int:
    """Return the number of entries of a vector of sizes."""
    if value.shape is not None and len(value.shape) == 1 and isinstance(value.shape[0], int):
        return value.shape[0]
    of = node.inputs[0] if node.op_type in ("Shape", "Resize") else node.outputs[0]
    return 0 if of is None or of.shape is None else len(of.shape)


def _picks_others(node: ir.Node, entries: Mapping[int, int]) -> bool:
    """Whether all that reads a shape picks entries out of it that stay as they are."""
    value = node.outputs[0]
    if value.is_graph_output():
        return False
    for use in value.uses():
        picked = constant_tensor(use.node.inputs[1]) if use.node.op_type == "Gather" else None
        if picked is None or use.idx != 0 or np.isin(_entries(picked, value), list(entries)).any():
            return False
    return True


def _entries(picked: ir.TensorProtocol, value: ir.Value) -> NDArray[np.intp]:
    numbers = np.atleast_1d(picked.numpy()).astype(np.intp)
    length = value.shape[0] if value.shape is not None else None
    return np.where(numbers < 0, numbers + (length if isinstance(length, int) else 0), numbers)
