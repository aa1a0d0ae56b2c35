"""Write parts of an axis that are taken one by one as a Split of it.

torch's own attention cuts one axis into three parts, moves the axis of the parts to the front, and
takes queries, keys and values from there.  A Split gives the same without moving anything.
"""

from collections.abc import Iterator

import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute
from frivkit.graph.model import constant_tensor
from frivkit.graph.onnx_io.fold_shapes import remove_unused
from frivkit.graph.onnx_io.reshape_sizes import ProductSize, sizes_of

SPLIT_SIZES_ARE_AN_INPUT = 13
"""The first opset whose Split takes sizes as an operand; before it nothing is written."""
_MOVES = ("Transpose", "Unsqueeze", "Squeeze", "Identity")
_PART = -2
"""The axis of parts behind the Reshape that cuts the last axis."""


def split_parts(model: ir.Model) -> None:
    """Rewrite a graph in place; its outputs do not change.

    Args:
        model: The model, with inferred shapes.
    """
    opset = model.opset_imports.get("", 1)
    if opset < SPLIT_SIZES_ARE_AN_INPUT:
        return
    splits: dict[tuple[int, int], ir.Node] = {}
    for node in list(model.graph):
        gathers = node.op_type == "Gather" and not node.outputs[0].is_graph_output()
        found = _cut(node) if gathers and node.domain == "" else None
        if found is None:
            continue
        value, count, index = found
        split = splits.get((id(value), count))
        if split is None:
            split = splits[id(value), count] = _split(model.graph, opset, value, count)
        part, old = split.outputs[index], node.outputs[0]
        part.shape, part.type, name = old.shape, old.type, old.name
        ir.convenience.replace_all_uses_with(old, part)
        remove_unused(model.graph, old)
        old.name, part.name = f"{name}/moved", name


def _split(graph: ir.Graph, opset: int, value: ir.Value, count: int) -> ir.Node:
    (wide, _) = (sizes_of(value) or ((0, ()),))[-1]
    build = Builder(graph, opset, f"{value.name}/parts")
    sizes = build.constant([wide // count] * count)
    name = f"{value.name}/split"
    split = ir.node("Split", [value, sizes], {"axis": -1}, num_outputs=count, name=name)
    for i, output in enumerate(split.outputs):
        output.name = f"{name}/{i}"
        output.shape = ir.Shape([*(value.shape or ())[:-1], wide // count])
        output.type = value.type
    producer = value.producer()
    if producer is not None:
        graph.insert_after(producer, split)
    return split


def _cut(node: ir.Node) -> tuple[ir.Value, int, int] | None:
    """Return what a Gather takes a part of, how many parts there are, and which it takes."""
    tensor = constant_tensor(node.inputs[1])
    moves = list(_moves(node.inputs[0]))
    if tensor is None or len(tensor.shape) or not moves or moves[-1].op_type != "Reshape":
        return None
    value = moves[-1].inputs[0]
    before, after = sizes_of(value), sizes_of(moves[-1].outputs[0])
    if value is None or value.producer() is None or before is None or after is None:
        return None
    (count, names), part = after[_PART:] if len(after) > 1 else ((0, ()), (0, ()))
    cut: tuple[ProductSize, ...] = (*before[:-1], (count, ()), part)
    if names or part[1] or after != cut or before[-1] != (count * part[0], ()) or count < 2:
        return None
    axes: list[int | None] | None = list(range(len(after)))
    for move in reversed(moves[:-1]):
        axes = None if axes is None else _moved(move, axes)
    if axes is None:
        return None
    taken = axes[attribute(node, "axis", 0)]
    rest = [axis for axis in axes if axis is not None and axis != taken]
    if taken != len(after) + _PART or rest != sorted(rest):
        return None
    same = sizes_of(node.outputs[0]) == (*before[:-1], part)
    return (value, count, int(tensor.numpy()) % count) if same else None


def _moves(value: ir.Value | None) -> Iterator[ir.Node]:
    """Yield the nodes that moved axes to where they are, up to the first Reshape."""
    node = None if value is None else value.producer()
    while node is not None and node.domain == "" and node.op_type in (*_MOVES, "Reshape"):
        yield node
        source = None if node.op_type == "Reshape" else node.inputs[0]
        node = None if source is None else source.producer()


def _moved(move: ir.Node, axes: list[int | None]) -> list[int | None] | None:
    """Return where axes are behind a node; None stands for an axis of size 1 that was added."""
    if move.op_type == "Identity":
        return axes
    if move.op_type == "Transpose":
        perm = move.attributes.get("perm")
        order = range(len(axes))[::-1] if perm is None else perm.as_ints()
        return [axes[axis] for axis in order]
    given = constant_tensor(move.inputs[1]) if len(move.inputs) > 1 else None
    if given is None:
        return None
    where = given.numpy().ravel().tolist()
    if move.op_type == "Squeeze":
        gone = {axis % len(axes) for axis in where}
        left = [axis for i, axis in enumerate(axes) if i not in gone]
        return left if all(axes[i] is None for i in gone) else None
    rank = len(axes) + len(where)
    added, rest = {axis % rank for axis in where}, iter(axes)
    return [None if i in added else next(rest) for i in range(rank)]
