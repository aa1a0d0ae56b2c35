"""Fold nodes that are computed from weights alone into constants.

Weight normalization, for one, is exported as arithmetic on two weights.  What it computes is the
weight that the layer reads; only as a constant it can be sliced and refitted.
"""

import numpy as np
import onnx_ir as ir

from frivkit.graph.model import RANDOM, GivenTensor, constant_tensor, is_constant, subgraphs
from frivkit.graph.onnx_io.evaluate import AnyArray, evaluate, inferred_entries
from frivkit.graph.onnx_io.fold_shapes import remove_unused
from frivkit.graph.onnx_io.limits import INITIALIZERS_ARE_NO_INPUTS

LARGEST_GROWN = 1 << 20
"""Entries of the largest result that may be larger than the operands together."""
STORING = frozenset(
    [
        *("Constant", "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear"),
        *("Shape", "Size", "Dropout"),
    ]
)
"""Operators that are not folded: constants, stores of fewer bits, shapes, and what may be drawn."""


def fold_constants(model: ir.Model) -> None:
    """Replace nodes of standard operators whose operands are all constants by their results.

    Not folded are random numbers, texts, outputs of the graph, a weight that others read
    untransposed, what restores weights that are stored in fewer bits (DequantizeLinear, a Cast to
    a wider type) and what is computed from it, and results that are much larger than their
    operands.

    Args:
        model: The model; it is changed, and its outputs are not.
    """
    graph, opset = model.graph, model.opset_imports.get("", 1)
    folded = False
    for node in list(graph):
        if not _foldable(node):
            continue
        operands = [None if each is None else _array(each) for each in node.inputs]
        if _too_large(node, operands, opset):
            continue
        results = evaluate(node, operands, opset)
        if results is None or len(results) != len(node.outputs):
            continue
        for value, array in zip(node.outputs, results, strict=True):
            _replace(graph, value, array)
        for value in node.outputs:
            remove_unused(graph, value)
        folded = True
    if folded:
        _drop_unused_initializers(graph)
        model.ir_version = max(INITIALIZERS_ARE_NO_INPUTS, model.ir_version)


def _foldable(node: ir.Node) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type in STORING | RANDOM or subgraphs(node):
        return False
    if not node.inputs or any(not value.name or value.is_graph_output() for value in node.outputs):
        return False
    tensors = [constant_tensor(each) for each in node.inputs if each is not None]
    if not all(map(_is_number, tensors)):
        return False
    source, tensor = node.inputs[0], constant_tensor(node.inputs[0])
    if source is None or tensor is None or tensor.size <= 1:
        return True
    if (
        node.op_type in ("Transpose", "Identity") and len(source.uses()) > 1
    ):  # tied weights stay one tensor
        consumers = (use.node for use in node.outputs[0].uses())
        return any(all(each is None or is_constant(each) for each in n.inputs) for n in consumers)
    stores = tensor.dtype.is_floating_point() or tensor.dtype.itemsize <= 1
    casts = stores and node.op_type in ("Cast", "CastLike")
    return not casts or tensor.dtype.itemsize > _itemsize(node)


def _is_number(tensor: ir.TensorProtocol | None) -> bool:
    """Whether a tensor holds numbers of the file, which were not given for an input of it."""
    given = isinstance(tensor, GivenTensor)
    return tensor is not None and tensor.dtype != ir.DataType.STRING and not given


def _itemsize(node: ir.Node) -> float:
    """Return the bytes of a number of the type that a Cast casts to."""
    if node.op_type == "CastLike":
        like = node.inputs[1]
        return 8 if like is None or like.dtype is None else like.dtype.itemsize
    return ir.DataType(node.attributes["to"].as_int()).itemsize


def _array(value: ir.Value) -> AnyArray | None:
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def _too_large(node: ir.Node, operands: list[AnyArray | None], opset: int) -> bool:
    """Whether a result has many more entries than the operands, or might have."""
    entries = inferred_entries(node, operands, opset)
    given = sum(each.size for each in operands if each is not None)
    return entries is None or max(entries, default=0) > max(given, LARGEST_GROWN)


def _replace(graph: ir.Graph, value: ir.Value, array: AnyArray) -> None:
    """Let the consumers of a value read a constant of its name."""
    name = value.name or ""
    value.name = f"{name}/computed"
    array = np.ascontiguousarray(array).reshape(array.shape)
    tensor = ir.tensor(array, name=name)
    constant = ir.Value(
        name=name,
        const_value=tensor,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
    )
    graph.register_initializer(constant)
    ir.convenience.replace_all_uses_with(value, constant)


def _drop_unused_initializers(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
