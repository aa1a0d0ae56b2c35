"""Write rotations of positions (RoPE, Su 2021) in one node as products and sums.

A pair of dimensions of a head is turned by an angle that grows with the position: a dimension and
that half a head behind it, or two neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute, rank_of, shape_of

_BY_TOKEN, _ROWS, _BY_HEAD = 2, 3, 4  # axes of places, and of tensors without and with heads


@dataclass(frozen=True, slots=True)
class Rotation:
    """How queries and keys are rotated.

    Attributes:
        cos: Cosines, one for each pair of dimensions on the last axis; all other axes meet those of
            the tensor that is rotated.
        sin: Sines of the same shape.
        pairs: The number of pairs; dimensions behind them are not rotated.
        neighbours: Whether neighbours are turned together, else dimensions half a head apart.
    """

    cos: ir.Value
    sin: ir.Value
    pairs: int
    neighbours: bool


def rotary(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add what a RotaryEmbedding of ONNX computes; return it, None if the node stays."""
    value, cos, sin, places = [*node.inputs, None][:4]
    return _rotated(node, build, (value, cos, sin, places), attribute(node, "num_heads", 0))


def rotary_of_runtime(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add what a RotaryEmbedding of ONNX Runtime computes; return it, None if the node stays."""
    value, places, cos, sin = [*node.inputs, None, None][:4]
    given = node.attributes.get("scale")
    scaled = given is not None and given.as_float() not in (0.0, 1.0)
    if attribute(node, "is_packed_batching", 0) or scaled or rank_of(places) != _BY_TOKEN:
        return None
    heads, wide, pairs = attribute(node, "num_heads", 0), _last(value), _last(cos)
    if not heads and rank_of(value) == _ROWS and wide and pairs:
        heads = wide // (2 * pairs)  # a head is as wide as its angles
    return _rotated(node, build, (value, cos, sin, places), heads)


def turned_by_head(build: Builder, value: ir.Value, rotation: Rotation, width: int) -> ir.Value:
    """Add what a rotation makes of queries or keys.

    Args:
        build: Where nodes are added.
        value: A tensor of four axes, the dimensions of heads on the last.
        rotation: The rotation.
        width: The number of dimensions of a head.
    """
    rotated, behind = 2 * rotation.pairs, None
    if rotated < width:
        value, behind = (
            _slice(build, value, start, end) for start, end in ((0, rotated), (rotated, width))
        )
    if rotation.neighbours:
        first, second = (_slice(build, value, start, rotated, 2) for start in (0, 1))
    else:
        half = rotation.pairs
        first, second = (_slice(build, value, at, at + half) for at in (0, half))
    one = build.add(
        "Sub", build.add("Mul", first, rotation.cos), build.add("Mul", second, rotation.sin)
    )
    other = build.add(
        "Add", build.add("Mul", first, rotation.sin), build.add("Mul", second, rotation.cos)
    )
    if rotation.neighbours:
        apart = [build.add("Unsqueeze", each, build.constant([4])) for each in (one, other)]
        made = build.add(
            "Reshape", build.add("Concat", *apart, axis=-1), build.constant([0, 0, 0, -1])
        )
    else:
        made = build.add("Concat", one, other, axis=-1)
    return made if behind is None else build.add("Concat", made, behind, axis=-1)


def _rotated(
    node: ir.Node, build: Builder, read: Sequence[ir.Value | None], heads: int
) -> ir.Value | None:
    """Add a rotation, return what it computes; None if the node stays.

    Args:
        node: The rotation in one node.
        build: Where nodes are added.
        read: What turns, (examples, heads, tokens, width) or (examples, tokens, units); cosines
            and sines, with a row for each place, or (examples, tokens, pairs); and places,
            (examples, tokens), or None.
        heads: The number of heads of a tensor of three axes.
    """
    value, cos, sin, places = read
    rank, wide, pairs = rank_of(value), _last(value), _last(cos)
    if value is None or cos is None or sin is None or not wide or not pairs:
        return None
    if attribute(node, "rotary_embedding_dim", 0) not in (0, 2 * pairs):
        return None
    if rank not in (_ROWS, _BY_HEAD) or (rank == _ROWS and not heads):
        return None
    axis = build.constant([1 if rank == _BY_HEAD else 2])
    at = [cos, sin] if places is None else [_rows(build, each, places) for each in (cos, sin)]
    cos, sin = (build.add("Unsqueeze", each, axis) for each in at)
    rotation = Rotation(cos, sin, pairs, bool(attribute(node, "interleaved", 0)))
    if rank == _BY_HEAD:
        return turned_by_head(build, value, rotation, wide)
    apart = build.add("Reshape", value, build.constant([0, 0, heads, -1]))
    made = turned_by_head(build, apart, rotation, wide // heads)
    return build.add("Reshape", made, build.constant([0, 0, -1]))


def _last(value: ir.Value | None) -> int | None:
    """Return the size of the last axis of a tensor, None if it is not known."""
    return (shape_of(value) or (None,))[-1]


def _rows(build: Builder, table: ir.Value, places: ir.Value) -> ir.Value:
    return build.add("Gather", table, places, axis=0)


def _slice(build: Builder, value: ir.Value, start: int, end: int, step: int = 1) -> ir.Value:
    numbers = ([start], [end], [-1], [step])
    return build.add("Slice", value, *(build.constant(each) for each in numbers))
