"""Mutations of ONNX models: of nodes, attention, weights, declared types, names and places."""

from collections.abc import Callable, Sequence

from numpy.random import Generator
from onnx import ModelProto

from reliability.fuzz import (
    attention_mutations,
    graph_mutations,
    node_mutations,
    tensor_mutations,
)
from reliability.fuzz.values import one_of

Mutation = Callable[[ModelProto, Generator], None]

MUTATIONS: tuple[Mutation, ...] = (
    node_mutations.add_attribute,
    graph_mutations.add_declared,
    attention_mutations.change_head_shape,
    attention_mutations.change_heads,
    attention_mutations.change_order,
    attention_mutations.swap_operands,
    node_mutations.change_attribute,
    node_mutations.change_attribute,
    graph_mutations.change_declared,
    graph_mutations.change_declared,
    tensor_mutations.change_dims,
    graph_mutations.change_interface,
    graph_mutations.change_metadata,
    tensor_mutations.change_numbers,
    node_mutations.change_operator,
    node_mutations.change_operator,
    node_mutations.change_outputs,
    tensor_mutations.change_type,
    graph_mutations.change_versions,
    tensor_mutations.cut_data,
    node_mutations.delete_node,
    graph_mutations.make_function,
    tensor_mutations.make_sparse,
    tensor_mutations.move_out,
    graph_mutations.nest,
    graph_mutations.rename,
    graph_mutations.rename_output,
    node_mutations.repeat_node,
    tensor_mutations.resize_weight,
    tensor_mutations.resize_weight,
    node_mutations.retype_attribute,
    node_mutations.rewire,
    node_mutations.rewire,
    node_mutations.swap_nodes,
)


OF_ATTENTION = (
    attention_mutations.change_head_shape,
    attention_mutations.change_heads,
    attention_mutations.change_order,
    attention_mutations.swap_operands,
    tensor_mutations.resize_weight,
)
OF_OUTPUTS = (
    graph_mutations.change_declared,
    graph_mutations.change_interface,
    graph_mutations.rename,
    graph_mutations.rename_output,
    tensor_mutations.change_numbers,
    tensor_mutations.resize_weight,
    attention_mutations.change_head_shape,
)


def mutated(model: ModelProto, rng: Generator, mutations: Sequence[Mutation] = MUTATIONS) -> bytes:
    """Return a model after one to three mutations, in some cases with bytes changed as well.

    A mutation that does not apply, such as one of attributes where there are none, is drawn anew.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    rest = int(rng.choice([1, 1, 1, 2, 2, 3]))
    for _ in range(50):
        try:
            one_of(rng, mutations)(copy, rng)
        except (ValueError, IndexError, TypeError, OverflowError, KeyError):
            continue
        rest -= 1
        if rest == 0:
            break
    return copy.SerializeToString()
