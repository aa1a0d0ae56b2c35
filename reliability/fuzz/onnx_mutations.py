"""Mutations of ONNX models: of nodes, attributes, weights, declared types, names and places."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

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
TYPES = tuple(range(26))


def _node(model: ModelProto, rng: Generator) -> NodeProto:
    return one_of(rng, model.graph.node)


def _tensor(model: ModelProto, rng: Generator) -> TensorProto:
    held = list(model.graph.initializer)
    held += [
        attribute.t
        for node in model.graph.node
        for attribute in node.attribute
        if attribute.type == AttributeProto.TENSOR
    ]
    return one_of(rng, held)


def _value(model: ModelProto, rng: Generator) -> ValueInfoProto:
    graph = model.graph
    return one_of(rng, [*graph.input, *graph.output, *graph.value_info])


def _names(model: ModelProto) -> list[str]:
    graph = model.graph
    return [
        *(name for node in graph.node for name in node.output),
        *(tensor.name for tensor in graph.initializer),
        *(value.name for value in graph.input),
        "",
    ]


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
    _node(model, rng).attribute.append(attribute)


def change_dims(model: ModelProto, rng: Generator) -> None:
    """Declare another shape of a weight, with the same numbers."""
    tensor = _tensor(model, rng)
    way = rng.integers(4)
    if way == 0 and len(tensor.dims) > 1:
        shape = list(tensor.dims)[::-1]
        del tensor.dims[:]
        tensor.dims.extend(shape)
    elif way == 1 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = integer(rng)
    elif way == 2:
        tensor.dims.append(int(rng.integers(0, 3)))
    elif tensor.dims:
        del tensor.dims[-1]


def resize_weight(model: ModelProto, rng: Generator) -> None:
    """Give a weight other sizes and as many numbers as these ask for."""
    tensor = _tensor(model, rng)
    shape = list(tensor.dims)
    if shape:
        shape[int(rng.integers(len(shape)))] = int(rng.integers(0, 9))
    numbers = rng.standard_normal(shape).astype(np.float32)
    replacement = helper.make_tensor(tensor.name, 1, shape, numbers.tobytes(), raw=True)
    tensor.CopyFrom(replacement)


def cut_data(model: ModelProto, rng: Generator) -> None:
    """Give a weight too few or too many bytes."""
    tensor = _tensor(model, rng)
    raw = tensor.raw_data or bytes(4 * max(1, int(np.prod(tensor.dims))))
    for field in ("float_data", "int64_data", "int32_data", "double_data"):
        tensor.ClearField(field)
    tensor.raw_data = raw[: int(rng.integers(len(raw) + 1))] if rng.random() < 0.6 else raw * 2


def change_type(model: ModelProto, rng: Generator) -> None:
    """Declare another element type of a weight."""
    _tensor(model, rng).data_type = one_of(rng, TYPES)


def change_numbers(model: ModelProto, rng: Generator) -> None:
    """Set numbers of a weight to unlikely ones."""
    tensor = _tensor(model, rng)
    if tensor.data_type != TensorProto.FLOAT:
        return change_dims(model, rng)
    if tensor.raw_data:
        numbers = np.frombuffer(tensor.raw_data, np.float32).copy()
    else:
        numbers = np.array(tensor.float_data, np.float32)
    if numbers.size:
        chosen = rng.random(numbers.size) < one_of(rng, (0.01, 0.3, 1.0))
        numbers[chosen] = np.float32(number(rng))
        numbers[int(rng.integers(numbers.size))] = np.float32(number(rng))
    tensor.ClearField("float_data")
    tensor.raw_data = numbers.tobytes()
    return None


def delete_node(model: ModelProto, rng: Generator) -> None:
    """Take out a node."""
    del model.graph.node[int(rng.integers(len(model.graph.node)))]


def repeat_node(model: ModelProto, rng: Generator) -> None:
    """Repeat a node, with the same outputs or with other ones, anywhere."""
    copy = NodeProto()
    copy.CopyFrom(_node(model, rng))
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
    node = _node(model, rng)
    if rng.random() < 0.8:
        node.op_type = one_of(rng, OPERATORS)
    else:
        node.domain = one_of(rng, ("com.microsoft", "ai.onnx.ml", "nowhere", text(rng)))


def rewire(model: ModelProto, rng: Generator) -> None:
    """Let a node read another tensor."""
    node = _node(model, rng)
    name = one_of(rng, _names(model))
    if node.input and rng.random() < 0.8:
        node.input[int(rng.integers(len(node.input)))] = name
    else:
        node.input.append(name)


def change_outputs(model: ModelProto, rng: Generator) -> None:
    """Rename, repeat or drop an output of a node."""
    node = _node(model, rng)
    way = rng.integers(3)
    if way == 0 and node.output:
        node.output[int(rng.integers(len(node.output)))] = one_of(rng, _names(model))
    elif way == 1:
        node.output.append(f"more_{integer(rng)}")
    elif node.output:
        del node.output[-1]


def change_declared(model: ModelProto, rng: Generator) -> None:
    """Declare another shape or type of an input, an output or a tensor between."""
    value = _value(model, rng)
    tensor = value.type.tensor_type
    way = rng.integers(5)
    if way == 0:
        tensor.elem_type = one_of(rng, TYPES)
    elif way == 1 and tensor.shape.dim:
        one_of(rng, tensor.shape.dim).dim_value = integer(rng)
    elif way == 2 and tensor.shape.dim:
        one_of(rng, tensor.shape.dim).dim_param = text(rng)
    elif way == 3:
        tensor.ClearField("shape")
    else:
        tensor.shape.dim.add().dim_value = integer(rng)


def add_declared(model: ModelProto, rng: Generator) -> None:
    """Declare a shape of a tensor between that may contradict its node."""
    shape = [int(rng.integers(-1, 9)) for _ in range(int(rng.integers(0, 5)))]
    name = one_of(rng, _names(model))
    model.graph.value_info.append(helper.make_tensor_value_info(name, one_of(rng, TYPES), shape))


def change_interface(model: ModelProto, rng: Generator) -> None:
    """Drop or repeat an input or an output of the model, or make another tensor one."""
    listed = one_of(rng, (model.graph.input, model.graph.output))
    way = rng.integers(3)
    if way == 0 and listed:
        del listed[int(rng.integers(len(listed)))]
    elif way == 1 and listed:
        listed.append(one_of(rng, listed))
    else:
        name = one_of(rng, _names(model))
        listed.append(helper.make_tensor_value_info(name, one_of(rng, (1, 6, 7, 10)), None))


def rename(model: ModelProto, rng: Generator) -> None:
    """Give a tensor, a node or the graph a hostile name."""
    name, old = text(rng), one_of(rng, _names(model))
    if rng.random() < 0.3:
        _node(model, rng).name = name
        model.graph.name = name
        return
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for index, each in enumerate(names):
                if each == old:
                    names[index] = name
    for named in (*graph.initializer, *graph.input, *graph.output):
        if named.name == old:
            named.name = name


def move_out(model: ModelProto, rng: Generator) -> None:
    """Say that a weight lies in another file."""
    tensor = _tensor(model, rng)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = (text(rng), "seed.data", ".", "seed.onnx", "link")
    entries = {"location": one_of(rng, places)}
    if rng.random() < 0.7:
        entries |= {"offset": str(integer(rng)), "length": str(integer(rng))}
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)


def change_versions(model: ModelProto, rng: Generator) -> None:
    """Change the version of the file or of its operators."""
    if rng.random() < 0.3:
        model.ir_version = integer(rng)
    elif rng.random() < 0.7 and model.opset_import:
        one_of(rng, model.opset_import).version = int(rng.integers(-1, 30))
    else:
        model.opset_import.append(helper.make_opsetid(text(rng), integer(rng)))


def change_metadata(model: ModelProto, rng: Generator) -> None:
    """Say something unlikely in the metadata that the program reads."""
    keys = ("frivkit.data", "frivkit.recipe", "frivkit.layers", "frivkit.joined", "x")
    specs = ("npz:/etc/passwd", "digits?n=20", "digits?n=-1", "gaussian?shape=1x")
    values = (text(rng), "[" * 9000, *specs)
    model.metadata_props.add(key=one_of(rng, keys), value=one_of(rng, values))


def nest(model: ModelProto, rng: Generator) -> None:
    """Put the whole graph into an If or a Loop of a new graph."""
    inner = model.graph
    outputs = [f"{value.name}_out" for value in inner.output]
    body = type(inner)()
    body.CopyFrom(inner)
    del body.input[:]
    condition = helper.make_tensor("condition", 9, [], [True])
    node = helper.make_node("If", ["condition"], outputs, then_branch=body, else_branch=body)
    if rng.random() < 0.3:
        node = helper.make_node("Loop", ["", "condition"], outputs, body=body)
    values = list(inner.output)
    del inner.node[:]
    inner.node.append(node)
    inner.initializer.append(condition)
    del inner.output[:]
    for value, name in zip(values, outputs, strict=True):
        copy = ValueInfoProto()
        copy.CopyFrom(value)
        copy.name = name
        inner.output.append(copy)


def make_function(model: ModelProto, rng: Generator) -> None:
    """Move the nodes into a function of the model, perhaps one that calls itself."""
    graph = model.graph
    inputs = [*(value.name for value in graph.input), *(each.name for each in graph.initializer)]
    outputs = [value.name for value in graph.output]
    nodes = list(graph.node)
    if rng.random() < 0.3:
        nodes.append(helper.make_node("Whole", inputs, ["again"], domain="own"))
    imports = [*model.opset_import, helper.make_opsetid("own", 1)]
    model.functions.append(
        helper.make_function("own", "Whole", inputs, outputs, nodes, opset_imports=imports)
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    del graph.node[:]
    graph.node.append(helper.make_node("Whole", inputs, outputs, domain="own"))


def make_sparse(model: ModelProto, rng: Generator) -> None:
    """Store a weight as a sparse one, perhaps with indices beyond its shape."""
    index = int(rng.integers(len(model.graph.initializer)))
    tensor = TensorProto()
    tensor.CopyFrom(model.graph.initializer[index])
    del model.graph.initializer[index]
    values = helper.make_tensor(tensor.name, 1, [2], [1.0, 2.0])
    at = [0, integer(rng)]
    indices = helper.make_tensor(f"{tensor.name}_indices", 7, [2], at)
    sparse = helper.make_sparse_tensor(values, indices, list(tensor.dims))
    model.graph.sparse_initializer.append(sparse)


MUTATIONS: tuple[Callable[[ModelProto, Generator], None], ...] = (
    add_attribute,
    add_declared,
    change_attribute,
    change_attribute,
    change_declared,
    change_declared,
    change_dims,
    change_interface,
    change_metadata,
    change_numbers,
    change_operator,
    change_operator,
    change_outputs,
    change_type,
    change_versions,
    cut_data,
    delete_node,
    make_function,
    make_sparse,
    move_out,
    nest,
    rename,
    repeat_node,
    resize_weight,
    resize_weight,
    retype_attribute,
    rewire,
    rewire,
    swap_nodes,
)


def mutated(model: ModelProto, rng: Generator) -> bytes:
    """Return a model after one to three mutations, in some cases with bytes changed as well.

    A mutation that does not apply, such as one of attributes where there are none, is drawn anew.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    rest = int(rng.choice([1, 1, 1, 2, 2, 3]))
    for _ in range(50):
        try:
            one_of(rng, MUTATIONS)(copy, rng)
        except (ValueError, IndexError, TypeError, OverflowError, KeyError):
            continue
        rest -= 1
        if rest == 0:
            break
    return copy.SerializeToString()
