"""Where a model can be changed: a node, a weight, a declared tensor or a name, drawn."""

from numpy.random import Generator
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from reliability.fuzz.values import one_of

TYPES = tuple(range(26))
"""The numbers of element types, of which some do not exist yet."""


def node_of(model: ModelProto, rng: Generator) -> NodeProto:
    """Draw a node."""
    return one_of(rng, model.graph.node)


def tensor_of(model: ModelProto, rng: Generator) -> TensorProto:
    """Draw a stored tensor: an initializer or that of an attribute."""
    held = list(model.graph.initializer)
    held += [
        attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == AttributeProto.TENSOR
    ]
    return one_of(rng, held)


def value_of(model: ModelProto, rng: Generator) -> ValueInfoProto:
    """Draw a declared tensor: an input, an output or one between."""
    graph = model.graph
    return one_of(rng, [*graph.input, *graph.output, *graph.value_info])


def names_of(model: ModelProto) -> list[str]:
    """Return the names of all tensors, and that of none."""
    graph = model.graph
    return [
        *(name for node in graph.node for name in node.output),
        *(tensor.name for tensor in graph.initializer),
        *(value.name for value in graph.input),
        "",
    ]
