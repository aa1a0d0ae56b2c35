"""How large tensors are, and which of their axes holds the examples.

An axis may be the batch (named ``N``, say), a multiple of it (``4*N``, when windows or tokens are
laid beside the examples) or of a size of its own.
"""

import logging
import re
from collections.abc import Iterator, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

STAND_INS = (7919, 7927)
"""What stands for a free batch during inference: two primes, so that what differs is told apart."""

_MULTIPLE = re.compile(r"(\d+)\*.+")
_NAMELESS = re.compile(r"unk__\d+")  # what ONNX calls sizes it could not infer

Size = int | ir.SymbolicDim | str | None
Sizes = tuple[int | None, ...]


def batch_symbol(graph: ir.Graph) -> str | None:
    """Return the name of the free batch axis of a graph's inputs, None where it is a number."""
    firsts = [shape[0] for _, shape in _inputs(graph)]
    if any(isinstance(size, int) for size in firsts):
        return None
    return next((name for size in firsts if (name := _name(size))), "N")


def batch_symbol_of(node: ir.Node) -> str | None:
    """Return the name of the free batch axis of the graph that a node is in."""
    return batch_symbol(node.graph) if isinstance(node.graph, ir.Graph) else None


def sizes_for(value: ir.Value | None, symbol: str | None, batch: int) -> Sizes | None:
    """Return a tensor's sizes for a number of examples; None for a size that is not known.

    Example:
        >>> value = ir.Value(name="windows", shape=ir.Shape(["4*N", 16, "N", "H"]))
        >>> sizes_for(value, "N", 3)
        (12, 16, 3, None)
    """
    if value is None or value.shape is None:
        return None
    return tuple(_numbered(size, symbol, batch) for size in value.shape)


def _numbered(size: Size, symbol: str | None, batch: int) -> int | None:
    if isinstance(size, int):
        return size
    name = _name(size) or ""
    if symbol is None or not name.endswith(symbol):
        return None
    times = name.removesuffix(symbol).removesuffix("*")
    return batch * int(times or 1) if name in (symbol, f"{times}*{symbol}") else None


def infer_shapes(model: ir.Model) -> None:
    """Infer shapes anew, with the batch axis told from all others; the model is changed.

    Numbers stand for a free batch, so that a shape computed from it (``x.view(n * 4, -1)``) is
    followed too.  What the file says of shapes is kept where inference finds nothing: a file made
    for one example whose inputs were opened later says 1 where any number is meant.
    """
    graph = model.graph
    symbol = batch_symbol(graph)
    bodies = [each for each in model.graphs() if each is not graph]
    values = [value for each in model.graphs() for node in each for value in node.outputs]
    values += [value for body in bodies for value in body.inputs if not value.is_initializer()]
    said = [value.shape for value in values]
    if symbol is None:
        batch = next(shape[0] for _, shape in _inputs(graph) if isinstance(shape[0], int))
        found = _inferred(model, values, batch)
    else:
        small, large = (_inferred(model, values, batch) for batch in STAND_INS)
        found = [from_two(a, b, symbol, STAND_INS) for a, b in zip(small, large, strict=True)]
    for value, shape, before in zip(values, found, said, strict=True):
        value.shape = _merged(None if shape is None else ir.Shape(shape), before)


def _inferred(
    model: ir.Model, values: Sequence[ir.Value], batch: int
) -> list[tuple[Size, ...] | None]:
    """Return the shapes of values for one batch size; those of the inputs stay as they are."""
    inputs = list(_inputs(model.graph))
    for value, shape in inputs:
        value.shape = ir.Shape([batch, *shape[1:]])
    for value in values:
        value.shape = None
    _infer(model)
    for value, shape in inputs:
        value.shape = shape
    return [None if value.shape is None else tuple(value.shape) for value in values]


def batch_first(value: ir.Value, batch: int | None) -> bool:
    """Whether the first axis of a tensor is the batch, as far as its shape tells.

    Args:
        value: The tensor.
        batch: The batch size the model insists on, None when any will do.
    """
    if value.shape is None:
        return True
    if len(value.shape) == 0:
        return False
    first = value.shape[0]
    return first == batch if isinstance(first, int) else not _MULTIPLE.fullmatch(_name(first) or "")


def example_sizes(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a tensor's shape for one example, with None for each size that is not known.

    The batch axis counts 1 and a multiple of it that number; a tensor without either has its
    batch, of fixed size, in front.

    Example:
        >>> value = ir.Value(name="windows", shape=ir.Shape(["4*N", 16, "H"]))
        >>> example_sizes(value)
        (4, 16, None)
    """
    if value is None or value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else None for size in value.shape]
    named = [axis for axis, size in enumerate(value.shape) if _name(size)]
    if named:
        found = _MULTIPLE.fullmatch(_name(value.shape[named[0]]) or "")
        sizes[named[0]] = int(found[1]) if found else 1
    elif None not in sizes[:1]:
        sizes[:1] = [1] * len(sizes[:1])
    return tuple(sizes)


def from_two(
    small: Sequence[Size] | None,
    large: Sequence[Size] | None,
    symbol: str,
    batches: tuple[int, int],
) -> tuple[Size, ...] | None:
    """Read a tensor's shape from its shapes for two batch sizes; None where they tell none.

    Example:
        >>> from_two((2, 16, 8, 4), (3, 16, 12, 5), "N", (2, 3))
        ('N', 16, '4*N', None)
    """
    if small is None or large is None or len(small) != len(large):
        return None
    return tuple(_either(a, b, symbol, batches) for a, b in zip(small, large, strict=True))


def _either(a: Size, b: Size, symbol: str, batches: tuple[int, int]) -> Size:
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


def _name(size: Size) -> str | None:
    """Return the name of an axis, None for a number or where it has none of its own."""
    name = size.value if isinstance(size, ir.SymbolicDim) else None
    return None if name is None or _NAMELESS.fullmatch(name) else name


def _merged(found: ir.Shape | None, said: ir.Shape | None) -> ir.Shape | None:
    if found is None or said is None or len(found) != len(said):
        return said if found is None else found
    return ir.Shape(b if _open(a) and not _open(b) else a for a, b in zip(found, said, strict=True))


def _open(size: Size) -> bool:
    return not isinstance(size, int) and not _name(size)


def _infer(model: ir.Model) -> None:
    """Run ONNX's inference, which gives what it can; what fails in it is nobody's business."""
    log = logging.getLogger("onnx_ir.passes.common.shape_inference")
    was, log.disabled = log.disabled, True
    try:
        ShapeInferencePass(check_type=False, strict_mode=False)(model)
    finally:
        log.disabled = was
