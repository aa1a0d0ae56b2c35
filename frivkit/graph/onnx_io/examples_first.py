"""Inputs and outputs with examples on the first axis, wherever a file has them.

A file may have its examples elsewhere: ``[2, n, 16]`` for the states of a recurrent layer, ``[time,
n, features]`` for its steps.  A Transpose behind such an input, and in front of such an output,
brings the axes in order; both are taken away again when a file is written
(``frivkit.graph.interface``).
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from frivkit.graph.interface import IN_FILE
from frivkit.graph.shapes import Size, axis_name, batch_symbol

_BATCH_NAME = re.compile(r"n|b|bs|bsz|.*batch.*", re.IGNORECASE)
"""Names that exporters and people give to the axis of examples."""


MOST_AMBIGUOUS = 3
"""Axes of an input above which the first one, if it is open, is the batch: those of pictures."""


def move_inputs(model: ir.Model, said: Mapping[str, int] | None = None) -> dict[str, int]:
    """Put the examples of all inputs on their first axis.

    Args:
        model: The model; it is changed.
        said: The axis of the examples of inputs of which the user says it, by name.

    Returns:
        The axis in the file of each input that was moved, by name.
    """
    graph = model.graph
    inputs = [v for v in graph.inputs if not v.is_initializer() and v.shape]
    axes = example_axes([list(value.shape or ()) for value in inputs])
    moved = {}
    for value, axis in zip(inputs, axes, strict=True):
        wanted = (said or {}).get(value.name or "", axis)
        if 0 < wanted < len(value.shape or ()):
            moved[value.name or ""] = wanted
    for value in inputs:
        if value.name in moved:
            _move_input(graph, value, moved[value.name])
    return moved


def example_axes(shapes: Sequence[Sequence[Size]]) -> list[int]:
    """Return the axis of examples of each input.

    1. An axis whose name says so (``batch``, ``n``): the first one, if it is open.
    2. An axis whose name all inputs with open axes share.
    3. The first axis, if it is open.
    4. Where other inputs have an open axis of examples, the only open axis; without one, the only
       axis of size 1.  Where the sizes of all inputs are fixed, the only axis that is as long as
       the first axis of the first input.
    5. The first axis.

    Args:
        shapes: The sizes of each input: numbers, or names of open axes as symbolic sizes.

    Example:
        >>> n, t = ir.SymbolicDim("n"), ir.SymbolicDim("t")
        >>> example_axes([[n, 256], [2, n, 16]]), example_axes([[t, n, 40]])
        ([0, 1], [1])
        >>> example_axes([[1, 80, t]])
        [0]
    """
    names = [{i: axis_name(s) for i, s in enumerate(shape) if not _fixed(s)} for shape in shapes]
    opened = [set(axes.values()) - {None} for axes in names if axes]
    common = set.intersection(*opened) if len(opened) > 1 else set()
    if all(_single(shape) for shape in shapes):
        common = set()  # one example a run, as in 1 x 80 x time
    free = [_free_axis(shape, axes, common) for shape, axes in zip(shapes, names, strict=True)]
    others = any(axis is not None for axis in free)
    first = next((shape[0] for shape in shapes if len(shape)), None)
    return [
        _fallback(shape, axes, first, others=others) if axis is None else axis
        for shape, axes, axis in zip(shapes, names, free, strict=True)
    ]


def doubtful_axes(model: ir.Model) -> Iterator[str]:
    """Return a sentence for each input whose examples may lie on another axis than assumed.

    Such an input has several open axes, of which none is named as examples are, and as many axes
    as a sequence has; or its first axis is fixed and several others are open.
    """
    inputs = [v for v in model.graph.inputs if not v.is_initializer() and v.shape]
    shapes = [list(value.shape or ()) for value in inputs]
    for value, shape, axis in zip(inputs, shapes, example_axes(shapes), strict=True):
        opened = {i: axis_name(size) for i, size in enumerate(shape) if not _fixed(size)}
        if len(opened) < 2 or _single(shape) or _BATCH_NAME.fullmatch(opened.get(axis) or ""):
            continue
        if axis in opened and len(shape) > MOST_AMBIGUOUS:
            continue
        other = next(i for i in opened if i != axis)
        sizes = [str(size) if _fixed(size) else "7" for size in shape]
        form = "x".join("n" if i == other else size for i, size in enumerate(sizes))
        yield (
            f"which axis of input {value.name!r} counts the examples is not certain, and axis "
            f"{axis} is taken: name it n in the file, or write n for it in --input-shape, such as "
            f"{form} for axis {other}"
        )


def _free_axis(
    shape: Sequence[Size], names: dict[int, str | None], common: set[str | None]
) -> int | None:
    """Return the open axis of examples of one input, None if it is not known to have one."""
    single = _single(shape)
    said = [axis for axis, name in names.items() if name and _BATCH_NAME.fullmatch(name)]
    if said and (
        not single or "batch" in (names[said[0]] or "").lower() or names[said[0]] in common
    ):
        return said[0]
    shared = [axis for axis, name in names.items() if name in common]
    if shared:
        return shared[0]
    return 0 if 0 in names else None


def _fallback(
    shape: Sequence[Size], names: dict[int, str | None], first: Size, *, others: bool
) -> int:
    if others:
        if shape[0] == 1:
            return 0
        fitting = list(names) or [axis for axis, size in enumerate(shape) if size == 1]
    else:
        if shape[0] == first:
            return 0
        fitting = [axis for axis, size in enumerate(shape) if size == first]
    return fitting[0] if len(fitting) == 1 else 0


def _single(shape: Sequence[Size]) -> bool:
    """Whether the first axis says that there is one example."""
    return len(shape) > 0 and shape[0] == 1


def _fixed(size: Size) -> bool:
    return isinstance(size, int) and size > 0


def _move_input(graph: ir.Graph, value: ir.Value, axis: int) -> None:
    shape = list(value.shape or ())
    order = [axis, *(a for a in range(len(shape)) if a != axis)]
    name = value.name or ""
    new = ir.Value(name=name, shape=ir.Shape([shape[a] for a in order]), type=value.type)
    inner = ir.Value(name=_unused(graph, name), shape=value.shape, type=value.type)
    perm = np.argsort(order).tolist()
    node = ir.Node(
        "",
        "Transpose",
        [new],
        [ir.AttrInt64s("perm", perm)],
        outputs=[inner],
        name=inner.name,
    )
    at = next(i for i, each in enumerate(graph.inputs) if each is value)
    ir.convenience.replace_all_uses_with(value, inner)
    for i, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[i] = inner
    graph.inputs[at] = new
    first = next(iter(graph), None)
    if first is None:
        graph.append(node)
    else:
        graph.insert_before(first, node)


def move_outputs(model: ir.Model, *, moved_inputs: bool) -> dict[str, int]:
    """Put the examples of the outputs on their first axis, where they are known to be elsewhere.

    Args:
        model: The model, with inferred shapes; it is changed.
        moved_inputs: Whether inputs were moved.  Only then are examples of a fixed number looked
            for, since another axis may be as long.

    Returns:
        The axis in the file of each output that was moved, by name.
    """
    graph, symbol = model.graph, batch_symbol(model.graph)
    first = next((v.shape[0] for v in graph.inputs if not v.is_initializer() and v.shape), None)
    moved: dict[str, int] = {}
    for at, value in enumerate(graph.outputs):
        if value.shape is None or value.producer() is None or (symbol is None and not moved_inputs):
            continue
        sizes = [axis_name(s) if symbol else s for s in value.shape]
        wanted = symbol or first
        if not sizes or wanted in sizes[:1] or sizes.count(wanted) != 1:
            continue
        if symbol is not None and str(sizes[0] or "").endswith(f"*{symbol}"):
            continue  # several rows of the first axis are one example
        moved[value.name or ""] = sizes.index(wanted)
        _move_output(graph, at, sizes.index(wanted))
    return moved


def _move_output(graph: ir.Graph, at: int, axis: int) -> None:
    value = graph.outputs[at]
    shape, name = list(value.shape or ()), value.name or ""
    order = [axis, *(a for a in range(len(shape)) if a != axis)]
    value.name = _unused(graph, name)
    new = ir.Value(name=name, shape=ir.Shape([shape[a] for a in order]), type=value.type)
    node = ir.Node(
        "", "Transpose", [value], [ir.AttrInt64s("perm", order)], outputs=[new], name=value.name
    )
    graph.append(node)
    graph.outputs[at] = new


def _unused(graph: ir.Graph, name: str) -> str:
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    taken |= {value.name for value in graph.inputs}
    wanted = f"{name}{IN_FILE}"
    while wanted in taken:
        wanted += "_"
    return wanted
