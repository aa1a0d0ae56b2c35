"""Mutations of attention: the number of heads, how they are laid out, and who multiplies whom."""

import numpy as np
from numpy.random import Generator
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from reliability.fuzz.values import integer, number, one_of

COUNTS = ("num_heads", "q_num_heads", "kv_num_heads", "rotary_embedding_dim", "hidden_size")
FLAGS = ("is_causal", "unidirectional", "do_rotary", "interleaved", "qk_matmul_output_mode")
SCALES = ("scale", "softcap", "mask_filter_value", "rotary_scale")


def _nodes(model: ModelProto, *operators: str) -> list[NodeProto]:
    return [node for node in model.graph.node if any(op in node.op_type for op in operators)]


def change_heads(model: ModelProto, rng: Generator) -> None:
    """Give an attention or a rotary embedding another number of heads, a mask or a scale."""
    node = one_of(rng, _nodes(model, "Attention", "RotaryEmbedding"))
    names = [each.name for each in node.attribute if each.name in COUNTS]
    name = one_of(rng, (*names, *names, *names, *COUNTS, *FLAGS, *SCALES))
    value = number(rng) if name in SCALES else one_of(rng, (integer(rng), int(rng.integers(9))))
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def change_head_shape(model: ModelProto, rng: Generator) -> None:
    """Let a Reshape lay heads out otherwise: other sizes, other places, one more or one less."""
    shapes = {node.input[1] for node in _nodes(model, "Reshape") if len(node.input) > 1}
    tensor: TensorProto = one_of(rng, [t for t in model.graph.initializer if t.name in shapes])
    sizes = numpy_helper.to_array(tensor).astype(np.int64).ravel().tolist()
    at, way = int(rng.integers(len(sizes))), rng.integers(5)
    if way == 0:
        sizes[at] = one_of(rng, (0, -1, 1, 2, 3, 5, integer(rng)))
    elif way == 1:
        sizes.insert(at, one_of(rng, (1, 2, -1)))
    elif way == 2 and len(sizes) > 1:
        del sizes[at]
    elif way == 3:
        sizes = [sizes[i] for i in rng.permutation(len(sizes))]
    else:
        other = int(rng.integers(len(sizes)))
        sizes[at], sizes[other] = 2 * sizes[at], sizes[other] // 2
    shape = np.array([max(-(1 << 63), min((1 << 63) - 1, size)) for size in sizes], np.int64)
    tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


def change_order(model: ModelProto, rng: Generator) -> None:
    """Let a Transpose put the axes of heads, positions and dimensions in another order."""
    node = one_of(rng, [n for n in _nodes(model, "Transpose") if n.attribute])
    perm = list(node.attribute[0].ints)
    del node.attribute[:]
    order = [perm[i] for i in rng.permutation(len(perm))]
    node.attribute.append(helper.make_attribute("perm", order))


def swap_operands(model: ModelProto, rng: Generator) -> None:
    """Exchange two operands, such as keys and values, or what a product multiplies."""
    several = [node for node in model.graph.node if len(node.input) > 1]
    node = one_of(rng, _nodes(model, "MatMul", "Attention", "Einsum", "Embedding") or several)
    one, other = (int(rng.integers(len(node.input))) for _ in range(2))
    node.input[one], node.input[other] = node.input[other], node.input[one]
