"""Write attentions in one node as products and a Softmax, or with an axis for heads.

Those of ONNX Runtime stay as they are if they keep keys and values of earlier tokens, turn queries
and keys themselves, or read queries, keys and values from one tensor.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute, rank_of, shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.onnx_io.attention_parts import (
    HIDDEN,
    by_head,
    in_one,
    keeps,
    named,
    operands,
    places_of,
    scaled_scores,
    seen_tokens,
    split,
    units,
    weighed,
)

_TOKENS_AND_UNITS = ("MatMul", "Add", "Gemm", "Split", "Reshape", "Slice")
_ROWS, _BY_HEAD = 3, 4  # axes of tensors without and with an axis for heads


def attention(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add what an Attention of ONNX Runtime computes; return it, None if the node stays."""
    tokens, weight, bias, mask, past = operands(node, 5)
    size = None if weight is None else (shape_of(weight) or (None, None))[1]
    if tokens is None or weight is None or size is None or past is not None or keeps(node):
        return None
    if attribute(node, "do_rotary", 0) or not _is_known(mask):
        return None
    given = node.attributes.get("qkv_hidden_sizes")
    sizes = [size // 3] * 3 if given is None else list(given.as_ints())
    made = named(build.add("MatMul", tokens, weight), node)
    made = made if bias is None else build.add("Add", made, bias)
    return _weighed(node, build, split(build, made, sizes), mask, sizes[0])


def multi_head(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add what a MultiHeadAttention of ONNX Runtime computes; return it, None if it stays."""
    query, key, value, bias, mask, _, *past = operands(node, 8)
    if query is None or key is None or value is None or keeps(node) or past != [None, None]:
        return None
    parts = [query, key, value]
    if not all(_in_rows(each) for each in parts) or not _is_known(mask):
        return None
    offsets = None if bias is None else constant_tensor(bias)
    wide = units(query)
    if bias is not None:
        if offsets is None or wide is None or offsets.numpy().size < 2 * wide:
            return None
        array = offsets.numpy()
        cut = np.split(array, [wide, 2 * wide])
        parts = [
            build.add("Add", part, build.array(piece))
            for part, piece in zip(parts, cut, strict=True)
        ]
    return None if wide is None else _weighed(node, build, parts, mask, wide)


def attention_of_rows(node: ir.Node, build: Builder) -> ir.Value | None:
    """Add an Attention of ONNX with an axis for heads in place of one on rows of units.

    Returns:
        What it computes; None if it stays.
    """
    query, key, value, mask, *past = operands(node, 6)
    names = ("q_num_heads", "kv_num_heads")
    heads = [attribute(node, name, 0) for name in names]
    if query is None or key is None or value is None or not all(heads):
        return None
    if past != [None, None] or keeps(node) or rank_of(query) not in (None, _ROWS):
        return None
    parts = [
        by_head(build, part, count)
        for part, count in zip((query, key, value), (heads[0], heads[1], heads[1]), strict=True)
    ]
    made = build.add("Attention", *parts, *([] if mask is None else [mask]))
    producer = made.producer()
    if producer is not None:
        given = {k: v for k, v in node.attributes.items() if k not in names}
        producer.attributes.update(given)
    return in_one(build, named(made, node))


def _is_known(mask: ir.Value | None) -> bool:
    """Whether a mask has an entry for each key, or the length of each example, or there is none."""
    return mask is None or _are_lengths(mask) or _hides_keys(mask)


def _hides_keys(mask: ir.Value) -> bool:
    maker = mask.producer()
    if rank_of(mask) is None and maker is not None and maker.op_type in ("Cast", "Identity"):
        source = maker.inputs[0]
        return source is not None and _hides_keys(source)
    return rank_of(mask) == 2


def _are_lengths(mask: ir.Value) -> bool:
    maker = mask.producer()
    while maker is not None and maker.op_type == "Cast" and maker.inputs[0] is not None:
        maker = maker.inputs[0].producer()
    lengths = maker is not None and maker.op_type in ("ReduceSum", "EmbedLayerNormalization")
    return lengths and rank_of(mask) in (None, 1)


def _in_rows(value: ir.Value) -> bool:
    """Whether a tensor has axes for examples, tokens and units."""
    if rank_of(value) is not None:
        return rank_of(value) == _ROWS
    maker = value.producer()
    return maker is not None and maker.op_type in _TOKENS_AND_UNITS


def _weighed(
    node: ir.Node, build: Builder, parts: Sequence[ir.Value], mask: ir.Value | None, wide: int
) -> ir.Value:
    """Add the products and the Softmax of an attention.

    Args:
        node: The attention, with attributes of ONNX Runtime.
        build: Where nodes are added.
        parts: Queries, keys and values, each (examples, tokens, units).
        mask: 1 for keys that are seen, (examples, keys), or their number, (examples,); None for
            all.
        wide: The units of queries.
    """
    heads, added = attribute(node, "num_heads", 1), operands(node, 6)[5]
    query, key, value = (by_head(build, part, heads) for part in parts)
    scores = scaled_scores(node, build, query, key, wide // heads)
    scores = scores if added is None else build.add("Add", scores, added)
    seen = [] if mask is None else [_seen_keys(build, mask, key)]
    if attribute(node, "unidirectional", 0):
        seen.append(seen_tokens(build, query))
    given = node.attributes.get("mask_filter_value")
    hidden = HIDDEN if given is None else given.as_float()
    return in_one(build, weighed(build, scores, seen, value, hidden))


def _seen_keys(build: Builder, mask: ir.Value, key: ir.Value) -> ir.Value:
    """Add whether each key is seen, (examples, 1, 1, keys)."""
    if _are_lengths(mask):
        ends = build.add("Unsqueeze", mask, build.constant([1]))
        ends = build.add("Cast", ends, to=ir.DataType.INT64.value)
        seen = build.add("Less", places_of(build, key), ends)
    else:
        seen = build.add("Cast", mask, to=ir.DataType.BOOL.value)
    return build.add("Unsqueeze", seen, build.constant([1, 2]))
