"""Weights that several nodes read, each perhaps in another orientation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.components import connected_components
from frivkit.graph.coupling import MergePoint, SitePart
from frivkit.graph.layout import NO_GROUP, IntArray, Layout, attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor, is_constant
from frivkit.graph.names import node_label
from frivkit.graph.operators.edits import Edit, SliceOperand

LINEAR_CONSUMERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that are linear in the units that they consume."""
Edits = Mapping[int, tuple[Edit, ...]]
"""Edits by the position of their node in the graph."""
_MATRIX = 2
"""Axes of more than one entry from which on a constant counts as a weight that is shared: exporters
join vectors that happen to be equal, such as biases of zeros, so these are copied instead."""
_LARGEST_COPY = 1 << 18
"""Entries up to which a table that is added or multiplied is copied, too: angles of positions, or
biases of distances, which all attentions of a network read."""


def weight_root(value: ir.Value | None) -> tuple[ir.Value, tuple[int, ...]] | None:
    """Return the stored weight behind Transposes, and where each axis of the value lies in it.

    Example:
        >>> weight = ir.Value(name="w", const_value=ir.tensor([[1.0, 2.0]]), shape=ir.Shape([1, 2]))
        >>> node = ir.Node("", "Transpose", [weight])
        >>> weight_root(node.outputs[0])[1]
        (1, 0)
    """
    if value is None:
        return None
    if constant_tensor(value) is not None:
        return value, tuple(range(rank_of(value) or 0))
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in ("Transpose", "Identity"):
        return None
    found = weight_root(node.inputs[0])
    if found is None:
        return None
    root, axes = found
    perm = node.attributes.get("perm")
    if node.op_type == "Identity":
        return found
    order = tuple(reversed(range(len(axes)))) if perm is None else tuple(perm.as_ints())
    return root, tuple(axes[i] for i in order)


def stored_array(value: ir.Value | None) -> NDArray[Any] | None:
    """Return the numbers of a stored weight, or of one behind Transposes; None for other values."""
    found = weight_root(value)
    tensor = None if found is None else constant_tensor(found[0])
    return None if tensor is None or found is None else tensor.numpy().transpose(found[1])


def weight_readers(root: ir.Value) -> list[tuple[ir.Node, int]]:
    """Return the nodes that read a stored weight, itself or behind Transposes, and which operand.

    Args:
        root: The stored weight.
    """
    users: list[tuple[ir.Node, int]] = []
    pending = [root]
    while pending:
        for use in pending.pop().uses():
            if use.idx == 0 and weight_root(use.node.outputs[0]) is not None:
                pending.append(use.node.outputs[0])
            else:
                users.append((use.node, use.idx))
    return users


@dataclass(frozen=True, slots=True, eq=False)
class WeightUse:
    """A node that multiplies a stored weight with what it reads.

    Attributes:
        node: The node.
        root: The stored weight.
        inputs: The axis of the stored weight along which what is read lies.
        outputs: The axis of it along which what is written lies.
    """

    node: ir.Node
    root: ir.Value
    inputs: int
    outputs: int


def weight_use(node: ir.Node) -> WeightUse | None:
    """Return how a linear node uses a stored weight, None if it uses none or one in groups."""
    if node.op_type not in LINEAR_CONSUMERS or node.domain != "" or len(node.inputs) < 2:
        return None
    found = weight_root(node.inputs[1])
    if found is None or attribute(node, "transA", 0) or attribute(node, "group", 1) != 1:
        return None
    root, axes = found
    if len(axes) < 2 or (node.op_type == "MatMul" and len(axes) != 2):
        return None
    reads_second = node.op_type == "Conv" or bool(attribute(node, "transB", 0))
    inputs, outputs = (axes[1], axes[0]) if reads_second else (axes[0], axes[1])
    return WeightUse(node, root, inputs, outputs)


def shared_weights(graph: ir.Graph) -> tuple[tuple[WeightUse, ...], ...]:
    """Return the uses of each stored weight that several linear nodes use, in order."""
    by_root: dict[int, list[WeightUse]] = {}
    for node in graph:
        use = weight_use(node)
        if use is not None:
            by_root.setdefault(id(use.root), []).append(use)
    return tuple(tuple(uses) for uses in by_root.values() if len(uses) > 1)


def shared_merge_points(
    graph: ir.Graph, layouts: Mapping[str, tuple[tuple[str, Layout], ...]]
) -> Iterator[MergePoint]:
    """Yield the units that meet along each axis of each weight that several nodes use.

    Units that a node reads lie along one axis of its weight, those that it writes along the other.

    Args:
        graph: The graph.
        layouts: By the name of a tensor, the sites whose units lie in it and their layouts.
    """
    for uses in shared_weights(graph):
        sizes = shape_of(uses[0].root) or ()
        for axis in sorted({uses[0].inputs, uses[0].outputs}):
            parts: dict[SitePart, None] = {}
            for use in uses:
                value = use.node.inputs[0] if use.inputs == axis else use.node.outputs[0]
                last = use.node.op_type == "MatMul"
                unit_axis = (rank_of(value) or 2) - 1 if last else 1
                for site, layout in layouts.get("" if value is None else value.name or "", ()):
                    if layout.axes == (unit_axis,) and layout.size == sizes[axis]:
                        parts[SitePart(site, layout)] = None
            if len(parts) > 1:
                yield MergePoint(uses[0].root.name or "", "shared", tuple(parts))


@dataclass(frozen=True, slots=True)
class _Request:
    """What a use of a constant asks of it: the groups along its axes."""

    node: ir.Node
    by_axis: Mapping[int, IntArray]


def merged_groups(graph: ir.Graph, edits: Edits, count: int) -> IntArray:
    """Return new numbers of groups, equal for those that lie on each other in a shared constant.

    Args:
        graph: The graph.
        edits: The edits of its nodes.
        count: The number of groups.

    Returns:
        Shape (groups,), from 0 in the order of the first group of each.
    """
    pairs = [
        (first[both], second[both])
        for _, axis_requests in _shared_axes(graph, edits)
        for (_, first), (_, second) in pairwise(axis_requests)
        if (both := (first != NO_GROUP) & (second != NO_GROUP)).any()
    ]
    return connected_components(count, pairs)


def unequal_uses(graph: ir.Graph, edits: Edits) -> Iterator[tuple[str, IntArray]]:
    """Yield the groups that one use of a shared constant would remove and another not, with why.

    Each use is compared with the first: where any two differ, one of them differs from it.
    """
    for root, (first, *others) in _shared_axes(graph, edits):
        for (node, ids), (other, other_ids) in (
            pair for each in others for pair in ((first, each), (each, first))
        ):
            differ = (ids != other_ids) & (ids != NO_GROUP)
            if differ.any():
                yield (
                    f"{node_label(node)}: its weight {root.name!r} is that of "
                    f"{node_label(other)}, too, which needs all of it",
                    ids[differ],
                )


def _shared_axes(
    graph: ir.Graph, edits: Edits
) -> Iterator[tuple[ir.Value, list[tuple[ir.Node, IntArray]]]]:
    """Yield each axis of each shared constant that some use removes entries from.

    Yields:
        The constant; for each use the node and the groups along the axis, ``NO_GROUP`` where it
        removes nothing, shape (entries,).
    """
    order = {id(node): i for i, node in enumerate(graph)}
    for root in _roots(graph, edits, order):
        requests = _requests(root, edits, order)
        sizes = shape_of(root) or ()
        if requests is None or len(requests) < 2:
            continue
        for axis in sorted({axis for each in requests for axis in each.by_axis}):
            none = np.full(sizes[axis] or 0, NO_GROUP, np.intp)
            yield root, [(each.node, each.by_axis.get(axis, none)) for each in requests]


def _roots(graph: ir.Graph, edits: Edits, order: Mapping[int, int]) -> list[ir.Value]:
    """Return the stored matrices that nodes would be given slices of, each once."""
    roots: dict[int, ir.Value] = {}
    for node in graph:
        for edit in edits.get(order[id(node)], ()):
            found = weight_root(node.inputs[edit.index]) if isinstance(edit, SliceOperand) else None
            if found is not None and _stays_one(found[0]):
                roots[id(found[0])] = found[0]
    return list(roots.values())


def _stays_one(root: ir.Value) -> bool:
    """Whether a constant is not copied for nodes that need other slices of it."""
    sizes = [size for size in shape_of(root) or () if size != 1]
    if len(sizes) < _MATRIX:
        return False
    linear = any(node.op_type in LINEAR_CONSUMERS for node, _ in weight_readers(root))
    return linear or prod(size or 1 for size in sizes) > _LARGEST_COPY


def _requests(root: ir.Value, edits: Edits, order: Mapping[int, int]) -> list[_Request] | None:
    """Return what each use asks of a constant, None if constants are computed from it otherwise."""
    requests: list[_Request] = []
    for node, index in weight_readers(root):
        found = weight_root(node.inputs[index])
        if id(node) not in order or found is None or is_constant(node.outputs[0]):
            return None
        by_axis = {
            found[1][edit.axis]: edit.group_ids
            for edit in edits.get(order[id(node)], ())
            if isinstance(edit, SliceOperand) and edit.index == index
        }
        requests.append(_Request(node, by_axis))
    return sorted(requests, key=lambda each: order[id(each.node)])
