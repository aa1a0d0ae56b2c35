"""Mutations of the nodes of ONNX models: attributes, operators, wiring and order."""

from numpy.random import Generator
from onnx import AttributeProto, ModelProto, NodeProto, helper

from reliability.fuzz.onnx_places import names_of, node_of
from reliability.fuzz.values import integer, number, one_of, text

OPERATORS = (
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Conv",
    "ConvTranspose", "CumSum", "DepthToSpace", "Einsum", "Expand", "Flatten", "GRU", "Gather",
    "GatherND", "Gemm", "GlobalAveragePool", "GroupNormalization", "Identity", "If",
    "InstanceNormalization", "LSTM", "LayerNormalization", "Loop", "MatMul", "MaxPool", "Mul",
    "NonZero", "NotAnOperator", "PRelu", "Pad", "QLinearConv", "QuantizeLinear", "ReduceMean",
    "ReduceSum", "Relu", "Reshape", "Resize", "ScatterND", "Shape", "Slice", "Softmax", "Split",
    "Squeeze", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
)  # fmt: skip


def change_attribute(model: ModelProto, rng: Generator) -> None:
    """Set an attribute to an unlikely value of its type."""
    having = [node for node in model.graph.node if node.attribute]
    attribute = one_of(rng, one_of(rng, having).attribute)
    if attribute.type == AttributeProto.INT:
        attribute.i = integer(rng)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = number(rng)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = text(rng).encode()
    elif attribute.ints:
        if rng.random() < 0.5:
            attribute.ints[int(rng.integers(len(attribute.ints)))] = integer(rng)
        elif rng.random() < 0.5:
            attribute.ints.append(integer(rng))
        else:
            del attribute.ints[-1]
    else:
        attribute.type = int(rng.integers(0, 15))


def retype_attribute(model: ModelProto, rng: Generator) -> None:
    """Replace an attribute by one of another type, or drop or rename it."""
    having = [node for node in model.graph.node if node.attribute]
    node = one_of(rng, having)
    index = int(rng.integers(len(node.attribute)))
    name = node.attribute[index].name
    del node.attribute[index]
    way = rng.integers(4)
    if way == 0:
        values = (integer(rng), number(rng), text(rng), [integer(rng)] * 3, [number(rng)])
        node.attribute.append(helper.make_attribute(name, one_of(rng, values)))
    elif way == 1:
        node.attribute.append(helper.make_attribute(text(rng) or "x", integer(rng)))


def add_attribute(model: ModelProto, rng: Generator) -> None:
    """Give a node an attribute that some operator has."""
    names = ("axis", "axes", "perm", "group", "pads", "strides", "dilations", "transA", "transB")
    names += ("to", "keepdims", "kernel_shape", "auto_pad", "epsilon", "equation", "hidden_size")
    values = (integer(rng), [integer(rng), integer(rng)], number(rng), text(rng))
    attribute = helper.make_attribute(one_of(rng, names), one_of(rng, values))
    node_of(model, rng).attribute.append(attribute)


def delete_node(model: ModelProto, rng: Generator) -> None:
    """Take out a node."""
    del model.graph.node[int(rng.integers(len(model.graph.node)))]


def repeat_node(model: ModelProto, rng: Generator) -> None:
    """Repeat a node, with the same outputs or with other ones, anywhere."""
    copy = NodeProto()
    copy.CopyFrom(node_of(model, rng))
    if rng.random() < 0.6:
        for index, name in enumerate(copy.output):
            copy.output[index] = f"{name}_again"
    model.graph.node.insert(int(rng.integers(len(model.graph.node) + 1)), copy)


def swap_nodes(model: ModelProto, rng: Generator) -> None:
    """Exchange two nodes in the order of the file."""
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    one, other = (int(rng.integers(len(nodes))) for _ in range(2))
    nodes[one], nodes[other] = nodes[other], nodes[one]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def change_operator(model: ModelProto, rng: Generator) -> None:
    """Make a node one of another operator, or of another domain."""
    node = node_of(model, rng)
    if rng.random() < 0.8:
        node.op_type = one_of(rng, OPERATORS)
    else:
        node.domain = one_of(rng, ("com.microsoft", "ai.onnx.ml", "nowhere", text(rng)))


def rewire(model: ModelProto, rng: Generator) -> None:
    """Let a node read another tensor."""
    node = node_of(model, rng)
    name = one_of(rng, names_of(model))
    if node.input and rng.random() < 0.8:
        node.input[int(rng.integers(len(node.input)))] = name
    else:
        node.input.append(name)


def change_outputs(model: ModelProto, rng: Generator) -> None:
    """Rename, repeat or drop an output of a node."""
    node = node_of(model, rng)
    way = rng.integers(3)
    if way == 0 and node.output:
        node.output[int(rng.integers(len(node.output)))] = one_of(rng, names_of(model))
    elif way == 1:
        node.output.append(f"more_{integer(rng)}")
    elif node.output:
        del node.output[-1]
