"""The pieces that attentions in one node are written with: heads, scores, masks, sums of values."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute, shape_of

HIDDEN = -10_000.0
"""What is added to scores of hidden keys, unless a node says otherwise."""
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16)


def operands(node: ir.Node, count: int) -> list[ir.Value | None]:
    """Return the first operands of a node, None for those that are left out."""
    return [*node.inputs, *[None] * count][:count]


def keeps(node: ir.Node) -> bool:
    """Whether more than the first output of a node is read."""
    return any(value.uses() or value.is_graph_output() for value in node.outputs[1:])


def named(value: ir.Value, node: ir.Node) -> ir.Value:
    """Return a value whose node has the name of that which it stands for."""
    producer = value.producer()
    if producer is not None and node.name:
        producer.name = node.name
    return value


def units(value: ir.Value | None) -> int | None:
    """Return the size of the last axis of a tensor, also of one of unknown shape."""
    sizes = shape_of(value)
    if sizes and sizes[-1] is not None:
        return sizes[-1]
    maker = None if value is None else value.producer()
    if maker is None or maker.op_type not in ("MatMul", "Add"):
        return None
    found = [units(each) for each in maker.inputs]
    return found[1] if maker.op_type == "MatMul" else max((n for n in found if n), default=None)


def split(build: Builder, value: ir.Value, sizes: Sequence[int]) -> list[ir.Value]:
    """Add the parts of the last axis of a tensor, of some sizes."""
    lengths = build.constant(sizes)
    parts = ir.node("Split", [value, lengths], {"axis": -1}, num_outputs=len(sizes))
    parts.name = f"{lengths.name}/parts"
    build.insert(parts)
    for i, output in enumerate(parts.outputs):
        output.name = f"{parts.name}/{i}"
    return list(parts.outputs)


def by_head(build: Builder, value: ir.Value, heads: int) -> ir.Value:
    """Add (examples, heads, tokens, dimensions) of (examples, tokens, units)."""
    apart = build.add("Reshape", value, build.constant([0, 0, heads, -1]))
    return build.add("Transpose", apart, perm=[0, 2, 1, 3])


def in_one(build: Builder, value: ir.Value) -> ir.Value:
    """Add (examples, tokens, units) of (examples, heads, tokens, dimensions)."""
    moved = build.add("Transpose", value, perm=[0, 2, 1, 3])
    return build.add("Reshape", moved, build.constant([0, 0, -1]))


def scaled_scores(
    node: ir.Node, build: Builder, query: ir.Value, key: ir.Value, wide: int
) -> ir.Value:
    """Add the products of queries and keys of heads, and their scale.

    Args:
        node: The attention, with attributes of ONNX Runtime.
        build: Where nodes are added.
        query: Queries by head.
        key: Keys by head, as many heads.
        wide: The dimensions of a head.
    """
    scores = build.add("MatMul", query, build.add("Transpose", key, perm=[0, 1, 3, 2]))
    given = node.attributes.get("scale")
    factor = 0.0 if given is None else given.as_float()
    return build.add("Mul", scores, number(build, query, factor or wide**-0.5))


def weighed(
    build: Builder,
    scores: ir.Value,
    seen: Sequence[ir.Value],
    value: ir.Value,
    hidden: float = HIDDEN,
) -> ir.Value:
    """Add the Softmax of scores over the keys that are seen, and the sum of values.

    Args:
        build: Where nodes are added.
        scores: Products of queries and keys.
        seen: Whether keys are seen, each broadcast to the scores.
        value: Values by head.
        hidden: What is added to the scores of other keys.
    """
    for each in seen:
        numbers = (number(build, value, constant) for constant in (0.0, hidden))
        scores = build.add("Add", scores, build.add("Where", each, *numbers))
    return build.add("MatMul", build.add("Softmax", scores, axis=-1), value)


def number(build: Builder, like: ir.Value, constant: float) -> ir.Value:
    """Register a number of the type of a tensor, whose type need not be inferred yet."""
    return build.array(np.array(constant, _type_of(like).numpy()))


def _type_of(value: ir.Value) -> ir.DataType:
    while value.dtype not in _FLOATS:
        maker = value.producer()
        if maker is not None and maker.op_type == "Cast":
            return ir.DataType(attribute(maker, "to", ir.DataType.FLOAT))
        read = [] if maker is None else [each for each in maker.inputs if each is not None]
        if not read:
            return ir.DataType.FLOAT
        value = next((each for each in read if each.dtype in _FLOATS), read[0])
    return value.dtype or ir.DataType.FLOAT


def seen_tokens(build: Builder, query: ir.Value, window: int = 0) -> ir.Value:
    """Add whether each token sees each, (tokens, tokens): itself and those before it.

    Args:
        build: Where nodes are added.
        query: Queries by head.
        window: How many of them it sees at most; 0 for all.
    """
    numbers = places_of(build, query)
    rows, columns = (build.add("Unsqueeze", numbers, build.constant([axis])) for axis in (1, 0))
    seen = build.add("LessOrEqual", columns, rows)
    if window < 1:
        return seen
    last = build.add("Sub", rows, build.constant([window]))
    return build.add("And", seen, build.add("Less", last, columns))


def places_of(build: Builder, by_head: ir.Value) -> ir.Value:
    """Add the numbers of tokens, from 0."""
    sizes = build.add("Shape", by_head)
    count = build.add("Gather", sizes, build.array(np.array(2, np.int64)))
    start, step = (build.array(np.array(number, np.int64)) for number in (0, 1))
    return build.add("Range", start, count, step)
