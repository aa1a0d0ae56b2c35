"""Mutations of whole ONNX graphs: what they declare, names, versions, nesting and functions."""

from numpy.random import Generator
from onnx import ModelProto, ValueInfoProto, helper

from reliability.fuzz.onnx_places import TYPES, names_of, node_of, value_of
from reliability.fuzz.values import integer, one_of, text


def change_declared(model: ModelProto, rng: Generator) -> None:
    """Declare another shape or type of an input, an output or a tensor between."""
    value = value_of(model, rng)
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
    name = one_of(rng, names_of(model))
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
        name = one_of(rng, names_of(model))
        listed.append(helper.make_tensor_value_info(name, one_of(rng, (1, 6, 7, 10)), None))


def rename(model: ModelProto, rng: Generator) -> None:
    """Give a tensor, a node or the graph a hostile name."""
    name = text(rng)
    if rng.random() < 0.3:
        node_of(model, rng).name = name
        model.graph.name = name
    else:
        _rename(model, one_of(rng, names_of(model)), name)


def rename_output(model: ModelProto, rng: Generator) -> None:
    """Give an output a name that says what it holds, perhaps wrongly, or that of another."""
    names = [*TELLING, *(value.name for value in model.graph.output)]
    _rename(model, one_of(rng, model.graph.output).name, one_of(rng, names))


TELLING = (
    "logits",
    "output0",
    "boxes",
    "scores",
    "num_detections",
    "embedding",
    "heatmaps",
    "mask",
)


def _rename(model: ModelProto, old: str, name: str) -> None:
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for index, each in enumerate(names):
                if each == old:
                    names[index] = name
    for named in (*graph.initializer, *graph.input, *graph.output):
        if named.name == old:
            named.name = name


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
