"""Shapes of tensors, and the axis that holds the examples.

The size of an axis may be the batch size (named ``N``, say), a multiple of it (``4*N``, if windows
or tokens share the axis with the examples) or independent of it.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

TRIAL_BATCHES = (7919, 7927)
"""Batch sizes for which shapes are inferred: two primes that no fixed size is a multiple of."""

TRIAL_SIZES = ((389, 97), (73, 31))
"""Numbers for open sizes: large, so that pooling leaves different ones, and below what tables of
positions have."""

_MULTIPLE = re.compile(r"(\d+)\*.+")
_NAMELESS = re.compile(r"unk__\d+")  # what ONNX calls sizes it could not infer

MICROSOFT = "com.microsoft"
_ELEMENTWISE = ("BiasGelu", "FastGelu", "Gelu", "QuickGelu")
"""Operators of ONNX Runtime whose output has the shape of a sum of their inputs; ONNX's inference
does not know them."""

Size = int | ir.SymbolicDim | str | None
Sizes = tuple[int | None, ...]


def batch_symbol(graph: ir.Graph) -> str | None:
    """Return the name of the free batch axis of a graph's inputs, None if the batch is fixed."""
    firsts = [shape[0] for _, shape in _inputs(graph)]
    if any(isinstance(size, int) for size in firsts):
        return None
    return next((name for size in firsts if (name := axis_name(size))), "N")


def batch_symbol_of(node: ir.Node) -> str | None:
    """Return the name of the free batch axis of the graph that a node is in."""
    return batch_symbol(node.graph) if isinstance(node.graph, ir.Graph) else None


def sizes_for(value: ir.Value | None, symbol: str | None, batch: int) -> Sizes | None:
    """Return a tensor's shape for a number of examples, with None for sizes that are not known.

    Args:
        value: The tensor; None, or one of unknown shape, gives None.
        symbol: The name of the batch axis, None if the batch is fixed.
        batch: The number of examples, at least 1.

    Example:
        >>> value = ir.Value(name="windows", shape=ir.Shape(["4*N", 16, "N", "H"]))
        >>> sizes_for(value, "N", 3)
        (12, 16, 3, None)
    """
    if value is None or value.shape is None:
        return None
    return tuple(_size_for(size, symbol, batch) for size in value.shape)


def _size_for(size: Size, symbol: str | None, batch: int) -> int | None:
    if isinstance(size, int):
        return size
    name = axis_name(size) or ""
    if symbol is None or not name.endswith(symbol):
        return None
    times = name.removesuffix(symbol).removesuffix("*")
    return batch * int(times or 1) if name in (symbol, f"{times}*{symbol}") else None


MAKING_SEQUENCES = frozenset(
    [
        *("SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceMap"),
        *("SplitToSequence", "Optional"),
    ]
)
"""Operators whose outputs are lists of tensors, or may be no tensor."""


def infer_shapes(model: ir.Model) -> None:
    """Infer the shapes of all tensors, and name each axis that holds examples.

    A free batch is replaced by two numbers in turn, so that shapes computed from it
    (``x.view(n * 4, -1)``) are inferred, too.  Shapes that the file declares are used only for
    tensors without an inferred one: a file made for one example whose inputs were opened later
    declares 1 for any number.

    Args:
        model: The model; it is changed.
    """
    graph = model.graph
    symbol = batch_symbol(graph)
    bodies = [each for each in model.graphs() if each is not graph]
    values = [value for each in model.graphs() for node in each for value in node.outputs]
    values += [value for body in bodies for value in body.inputs if not value.is_initializer()]
    declared = [value.shape for value in values]
    runs: list[tuple[Size, Mapping[str, int]]] = [(batch, {}) for batch in TRIAL_BATCHES]
    if symbol is None:
        batch = next(shape[0] for _, shape in _inputs(graph) if isinstance(shape[0], int))
        runs = [(batch, {})]
    inferred = _common_shapes(model, values, symbol, runs)
    for value, shape, before in zip(values, inferred, declared, strict=True):
        value.shape = _merge(None if shape is None else ir.Shape(shape), before)
    _infer_for_open_sizes(model, values, symbol)


def _infer_for_open_sizes(model: ir.Model, values: Sequence[ir.Value], symbol: str | None) -> None:
    """Set what is still unknown of the shapes of values, by numbers for the inputs' open sizes.

    A size that is computed from an open one, such as the last of a Reshape to (examples, tokens,
    -1), is known only if that has a number.  What is the same for two numbers is taken as fixed,
    and what is as large as an open size gets its name.
    """
    inputs = [shape for _, shape in _inputs(model.graph)]
    names = [name for shape in inputs for name in map(axis_name, shape[1:]) if name]
    names = [name for name in dict.fromkeys(names) if name != symbol]
    for numbers in TRIAL_SIZES if names else ():
        found = [value.shape for value in values]
        if not any(shape is None or any(map(_is_open, shape)) for shape in found):
            return
        batches = TRIAL_BATCHES if symbol is not None else (inputs[0][0],) * 2
        runs = [
            (batch, {name: number + 2 * i for i, name in enumerate(names)})
            for batch, number in zip(batches, numbers, strict=True)
        ]
        shapes = _common_shapes(model, values, symbol, runs)
        for value, shape, before in zip(values, shapes, found, strict=True):
            value.shape = _merge(before, None if shape is None else ir.Shape(shape))


def _common_shapes(
    model: ir.Model,
    values: Sequence[ir.Value],
    symbol: str | None,
    runs: Sequence[tuple[Size, Mapping[str, int]]],
) -> list[tuple[Size, ...] | None]:
    """Return the shapes of values from one or two numbers for the batch and for open sizes.

    Args:
        model: The model.
        values: The values.
        symbol: The name of the free batch axis, None if the batch is fixed.
        runs: For each inference the batch, and numbers for open sizes by their names.
    """
    inferred = [_infer_for(model, values, batch, sizes) for batch, sizes in runs]
    if len(runs) == 1:
        return inferred[0]
    (_, small), (_, large) = runs
    names = {(number, large[name]): ir.SymbolicDim(name) for name, number in small.items()}
    return [
        None
        if a is None or b is None or len(a) != len(b)
        else tuple(
            names[pair] if pair in names else _common_size(*pair, symbol or "", TRIAL_BATCHES)
            for pair in zip(a, b, strict=True)
        )
        for a, b in zip(*inferred, strict=True)
    ]


def _infer_for(
    model: ir.Model, values: Sequence[ir.Value], batch: Size, sizes: Mapping[str, int]
) -> list[tuple[Size, ...] | None]:
    """Return the shapes of values for one batch size; those of the inputs are not changed."""
    inputs = list(_inputs(model.graph))
    for value, shape in inputs:
        value.shape = ir.Shape([batch, *(sizes.get(axis_name(s) or "", s) for s in shape[1:])])
    for value in values:
        value.shape = None
    _run_inference(model)
    for value, shape in inputs:
        value.shape = shape
    return [None if value.shape is None else tuple(value.shape) for value in values]


def batch_first(value: ir.Value, batch: int | None) -> bool:
    """Whether the first axis of a tensor is the batch; True if its shape is not known.

    Args:
        value: The tensor.
        batch: The batch size that the model requires, None if any is allowed.

    Example:
        >>> batch_first(ir.Value(name="x", shape=ir.Shape(["N", 3])), None)
        True
        >>> batch_first(ir.Value(name="windows", shape=ir.Shape(["4*N", 3])), None)
        False
    """
    if value.shape is None:
        return True
    if len(value.shape) == 0:
        return False
    first = value.shape[0]
    return (
        first == batch
        if isinstance(first, int)
        else not _MULTIPLE.fullmatch(axis_name(first) or "")
    )


def examples_axis(value: ir.Value, symbol: str | None) -> int | None:
    """Return the only axis of a tensor that is as long as the batch, the first one if it is.

    Args:
        value: The tensor.
        symbol: The name of the free batch axis, None if the batch is fixed.

    Returns:
        The axis; None if no axis is known to hold examples alone.

    Example:
        >>> examples_axis(ir.Value(name="steps", shape=ir.Shape([7, "N", 40])), "N")
        1
    """
    if value.shape is None or symbol is None:
        return None
    axes = [axis for axis, size in enumerate(value.shape) if axis_name(size) == symbol]
    return axes[0] if axes[:1] == [0] or len(axes) == 1 else None


def example_sizes(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a tensor's shape for one example, with None for sizes that are not known.

    The batch axis counts as 1, and a multiple of it as that multiple.  If no axis has a name, the
    first one is the batch.

    Example:
        >>> value = ir.Value(name="windows", shape=ir.Shape(["4*N", 16, "H"]))
        >>> example_sizes(value)
        (4, 16, None)
    """
    if value is None or value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else None for size in value.shape]
    named = [axis for axis, size in enumerate(value.shape) if axis_name(size)]
    if named:
        inferred = _MULTIPLE.fullmatch(axis_name(value.shape[named[0]]) or "")
        sizes[named[0]] = int(inferred[1]) if inferred else 1
    elif None not in sizes[:1]:
        sizes[:1] = [1] * len(sizes[:1])
    return tuple(sizes)


def sizes_from_two_batches(
    small: Sequence[Size] | None,
    large: Sequence[Size] | None,
    symbol: str,
    batches: tuple[int, int],
) -> tuple[Size, ...] | None:
    """Return a tensor's shape from its shapes for two batch sizes, None if they do not agree.

    Args:
        small: Its shape for ``batches[0]`` examples.
        large: Its shape for ``batches[1]`` examples.
        symbol: The name of the batch axis.
        batches: The two numbers of examples.

    Example:
        >>> sizes_from_two_batches((2, 16, 8, 4), (3, 16, 12, 5), "N", (2, 3))
        ('N', 16, '4*N', None)
    """
    if small is None or large is None or len(small) != len(large):
        return None
    return tuple(_common_size(a, b, symbol, batches) for a, b in zip(small, large, strict=True))


def _common_size(a: Size, b: Size, symbol: str, batches: tuple[int, int]) -> Size:
    if a == b:
        return a
    if not isinstance(a, int) or not isinstance(b, int):
        return None
    times, rest = divmod(a, batches[0])
    if rest or b != times * batches[1]:
        return None
    return symbol if times == 1 else f"{times}*{symbol}"


def _inputs(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.Shape]]:
    for value in graph.inputs:
        if not value.is_initializer() and value.shape is not None and len(value.shape) > 0:
            yield value, value.shape


def axis_name(size: Size) -> str | None:
    """Return the name of an axis, None for a number or a name that ONNX made up."""
    name = size.value if isinstance(size, ir.SymbolicDim) else None
    return None if name is None or _NAMELESS.fullmatch(name) else name


def _merge(inferred: ir.Shape | None, declared: ir.Shape | None) -> ir.Shape | None:
    if inferred is None or declared is None or len(inferred) != len(declared):
        return declared if inferred is None else inferred
    return ir.Shape(
        b if _is_open(a) and not _is_open(b) else a for a, b in zip(inferred, declared, strict=True)
    )


def _is_open(size: Size) -> bool:
    return not isinstance(size, int) and not axis_name(size)


def _run_inference(model: ir.Model) -> None:
    """Run ONNX's shape inference without its log; it leaves what it cannot infer."""
    log = logging.getLogger("onnx_ir.passes.common.shape_inference")
    disabled_before, log.disabled = log.disabled, True
    renamed = [
        (node, node.op_type)
        for graph in model.graphs()
        for node in graph
        if node.domain == MICROSOFT and node.op_type in _ELEMENTWISE
    ]
    for node, _ in renamed:
        node.domain, node.op_type = "", "Sum"
    try:
        ShapeInferencePass(check_type=False, strict_mode=False)(model)
    finally:
        log.disabled = disabled_before
        for node, op in renamed:
            node.domain, node.op_type = MICROSOFT, op
    for node in model.graph.all_nodes():
        if node.op_type in MAKING_SEQUENCES:  # the pass takes these for tensors
            for value in node.outputs:
                value.type = value.shape = None
