"""Write a GroupQueryAttention of ONNX Runtime as products and a Softmax.

A token attends to itself and to those before it; heads of queries share keys and values in groups.
It stays in one node if keys and values of earlier tokens are read or given away.
"""

import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute, shape_of
from frivkit.graph.onnx_io.attention_parts import (
    by_head,
    in_one,
    keeps,
    number,
    operands,
    scaled_scores,
    seen_tokens,
    split,
    units,
    weighed,
)
from frivkit.graph.onnx_io.unfuse_rotary import Rotation, turned_by_head

_INPUTS = 11
"""Those that are known, up to what is added to scores."""
_UNKNOWN = ("smooth_softmax", "qk_output", "k_quant_type", "v_quant_type", "kv_cache_bit_width")
"""Attributes that are not written unless they are left out or 0."""


def grouped_queries(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add what a GroupQueryAttention computes; return it, None if the node stays.

    At tokens behind the length of an example ONNX Runtime leaves what happens to be in memory, so
    that nothing can depend on it; here they attend as all others do.
    """
    heads, shared = (attribute(node, name, 0) for name in ("num_heads", "kv_num_heads"))
    if not shared or heads % shared or not _is_written(node):
        return None
    cos, sin, _, added = operands(node, _INPUTS)[7:]
    turns, pairs = bool(attribute(node, "do_rotary", 0)), (shape_of(cos) or (0,))[-1]
    parts = _parts(node, build, heads, shared)
    if not parts or (turns and not pairs):
        return None
    wide = (units(node.inputs[0]) or 0) // (heads if node.inputs[1] else heads + 2 * shared)
    query, key, value = (
        by_head(build, part, count)
        for part, count in zip(parts, (heads, shared, shared), strict=True)
    )
    if turns and cos is not None and sin is not None and pairs:
        cos, sin = (_of_tokens(build, each, query) for each in (cos, sin))
        rotation = Rotation(cos, sin, pairs, bool(attribute(node, "rotary_interleaved", 0)))
        query, key = (turned_by_head(build, each, rotation, wide) for each in (query, key))
    key, value = (_repeated(build, each, heads, shared) for each in (key, value))
    scores = scaled_scores(node, build, query, key, wide)
    cap = node.attributes.get("softcap")
    if cap is not None and cap.as_float() > 0:
        most = number(build, query, cap.as_float())
        scores = build.add("Mul", build.add("Tanh", build.add("Div", scores, most)), most)
    scores = scores if added is None else build.add("Add", scores, added)
    seen = seen_tokens(build, query, attribute(node, "local_window_size", -1))
    return in_one(build, weighed(build, scores, [seen], value))


def _is_written(node: ir.Node) -> bool:
    """Whether a node reads and gives nothing but what is written here."""
    given = [each for name in _UNKNOWN if (each := node.attributes.get(name)) is not None]
    past = operands(node, 5)[3:]
    places = operands(node, _INPUTS)[9]
    more = [value for value in node.inputs[_INPUTS:] if value is not None]
    plain = all(each.value in (0, "NONE", b"NONE") for each in given)
    return plain and past == [None, None] and places is None and not more and not keeps(node)


def _parts(node: ir.Node, build: Builder, heads: int, shared: int) -> list[ir.Value]:
    """Return queries, keys and values, each (examples, tokens, units); empty if the node stays."""
    query, key, value = operands(node, 3)
    wide = units(query)
    if query is None or wide is None:
        return []
    if key is not None and value is not None:
        return [query, key, value]
    each, rest = divmod(wide, heads + 2 * shared)
    if key is not None or value is not None or rest:
        return []
    return split(build, query, [heads * each, shared * each, shared * each])


def _of_tokens(build: Builder, angles: ir.Value, by_head: ir.Value) -> ir.Value:
    """Add the first rows of a table of positions, one for each token."""
    sizes = build.add("Shape", by_head)
    count = build.add("Slice", sizes, *(build.constant([each]) for each in (2, 3, 0)))
    return build.add("Slice", angles, build.constant([0]), count, build.constant([0]))


def _repeated(build: Builder, by_head: ir.Value, heads: int, shared: int) -> ir.Value:
    """Add keys or values once for each head of queries that shares them."""
    if heads == shared:
        return by_head
    apart = build.add("Unsqueeze", by_head, build.constant([2]))
    spread = build.add("Expand", apart, build.constant([1, 1, heads // shared, 1, 1]))
    sizes = build.add(
        "Slice", build.add("Shape", by_head), *(build.constant([n]) for n in (2, 4, 0))
    )
    wanted = build.add("Concat", build.constant([0, heads]), sizes, axis=0)
    return build.add("Reshape", spread, wanted)
