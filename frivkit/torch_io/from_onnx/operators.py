"""Translations of our own, where those of onnx2fx are wrong or end up on another device.

They are registered in a domain of their own, so that onnx2fx translates for others as before.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from frivkit.torch_io.from_onnx.resize import COORDINATES, Interpolation, resized

DOMAIN = "frivkit.torch"

Handler = Callable[[Any, onnx.NodeProto], Any]
"""From onnx2fx's builder and a node to the node of torch.fx that computes its output."""


RECURRENT = ("GRU", "LSTM", "RNN")
STATES = (5, 6)
"""Inputs of recurrent layers that are their initial states."""


def claim(model: ir.Model) -> None:
    """Make the nodes that are translated here known by our domain; the model is changed.

    Outputs that a recurrent layer leaves out get a name: onnx2fx counts only those that have one.
    """
    for count, node in enumerate(list(ir.traversal.RecursiveGraphIterator(model.graph))):
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in RECURRENT:
            for value in node.outputs:
                value.name = value.name or f"{DOMAIN}.{count}.{value.index()}"
            _leave_out_zeros(node)
        elif node.op_type in HANDLERS and _fits(node, model.opset_imports.get("", 1)):
            node.domain = DOMAIN
    model.graph.opset_imports[DOMAIN] = 1


def _leave_out_zeros(node: ir.Node) -> None:
    """Leave out initial states of zeros, which then have the number type that the module has."""
    for index in STATES:
        value = node.inputs[index] if index < len(node.inputs) else None
        producer = None if value is None else value.producer()
        if producer is not None and producer.op_type == "ConstantOfShape":
            filled = producer.attributes.get("value")
            if filled is None or not filled.as_tensor().numpy().any():
                node.replace_input_with(index, None)


def register() -> None:
    """Register the translations with onnx2fx; again and again is the same as once."""
    import onnx2fx

    for op, handler in HANDLERS.items():
        if not onnx2fx.is_supported(op, domain=DOMAIN):
            onnx2fx.register_op(op, handler, domain=DOMAIN)


def _fits(node: ir.Node, opset: int) -> bool:
    """Whether a node is one that the translation of its operator is written for."""
    if node.op_type == "BatchNormalization":  # one that reading left in training mode
        return not node.attributes.get_int("training_mode", 0)
    if node.op_type == "Loop":
        return len(node.outputs) == 1
    if node.op_type == "Resize":
        text = node.attributes.get_string
        return (
            opset >= 11
            and text("coordinate_transformation_mode", "half_pixel") in COORDINATES
            and text("keep_aspect_ratio_policy", "stretch") == "stretch"
            and not node.attributes.get_int("antialias", 0)
        )
    if node.op_type == "Cast":  # numbers that numpy has
        return ir.DataType(node.attributes.get_int("to", 1)).numpy().kind in "fiub"
    return not node.attributes.get_int("block_size", 0)  # scales of blocks along an axis


def _batch_normalization(builder: Any, node: onnx.NodeProto) -> Any:
    """Normalise by running statistics, which torch takes no gradient of."""
    inputs = [builder.get_value(name) for name in node.input]
    epsilon = _attribute(node, "epsilon", 1e-5)
    return builder.call_function(_by_running_statistics, (*inputs, epsilon))


def _by_running_statistics(x: Tensor, *numbers: Any) -> Tensor:
    scale, bias, mean, variance, epsilon = numbers
    # One tensor may be scale and variance: exporters merge equal ones.
    return functional.batch_norm(x, mean.detach(), variance.detach(), scale, bias, eps=epsilon)


def _gather(builder: Any, node: onnx.NodeProto) -> Any:
    """Take entries along an axis; onnx2fx fails on negative indices."""
    inputs = [builder.get_value(name) for name in node.input]
    return builder.call_function(_taken, (*inputs, _attribute(node, "axis", 0)))


def _taken(data: Tensor, indices: Tensor, axis: int) -> Tensor:
    axis %= data.dim()
    flat = indices.reshape(-1).long()
    flat = torch.where(flat < 0, flat + data.shape[axis], flat)
    shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
    return data.index_select(axis, flat).reshape(shape)


def _shape(builder: Any, node: onnx.NodeProto) -> Any:
    """Give sizes on the device of the tensor; those of onnx2fx are on the CPU."""
    bounds = _attribute(node, "start", 0), _attribute(node, "end", None)
    return builder.call_function(_sizes, (builder.get_value(node.input[0]), *bounds))


def _sizes(x: Tensor, start: int, end: int | None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device)


def _size(builder: Any, node: onnx.NodeProto) -> Any:
    return builder.call_function(_count, (builder.get_value(node.input[0]),))


def _count(x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), device=x.device)


def _constant_of_shape(builder: Any, node: onnx.NodeProto) -> Any:
    """Fill a tensor on the device of its shape, in the number type that the module has."""
    value = _attribute(node, "value", None)
    tensor = torch.zeros(1) if value is None else builder.load_tensor(value)
    shape, like = builder.get_value(node.input[0]), _like(builder, tensor.dtype)
    return builder.call_function(_filled, (shape, tensor.item(), tensor.dtype, like))


def _filled(shape: Tensor, number: float, dtype: torch.dtype, like: Tensor | None) -> Tensor:
    kind = dtype if like is None else like.dtype
    return torch.full(shape.tolist(), number, dtype=kind, device=shape.device)


def _cast(builder: Any, node: onnx.NodeProto) -> Any:
    """Change the number type; to float32 means to that of the module, which may have been moved."""
    kind = torch.from_numpy(
        np.empty(0, onnx.helper.tensor_dtype_to_np_dtype(_attribute(node, "to", 1)))
    ).dtype
    x = builder.get_value(node.input[0])
    return builder.call_function(_of_kind, (x, kind, _like(builder, kind)))


def _of_kind(x: Tensor, kind: torch.dtype, like: Tensor | None) -> Tensor:
    return x.to(kind if like is None else like.dtype)


def _like(builder: Any, kind: torch.dtype) -> Any:
    """Return a tensor of the module that shows what became of float32; None for other types."""
    if kind is not torch.float32:
        return None
    tensors = builder.initializer_map.items()
    return next((builder.get_value(name) for name, each in tensors if each.dtype is kind), None)


def _range(builder: Any, node: onnx.NodeProto) -> Any:
    return builder.call_function(_counted, tuple(builder.get_value(name) for name in node.input))


def _counted(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    ends = start.item(), limit.item(), delta.item()
    return torch.arange(*ends, dtype=start.dtype, device=start.device)


def _resize(builder: Any, node: onnx.NodeProto) -> Any:
    """Resize; onnx2fx does so as torch does, and not as the node says."""
    how = Interpolation(
        _text(node, "mode", "nearest"),
        _text(node, "coordinate_transformation_mode", "half_pixel"),
        _text(node, "nearest_mode", "round_prefer_floor"),
        _attribute(node, "cubic_coeff_a", -0.75),
        bool(_attribute(node, "exclude_outside", 0)),
    )
    x, _, scales, sizes = _operands(builder, node, 4)

    axes = _attribute(node, "axes", None)

    def resize(x: Tensor, scales: Tensor | None, sizes: Tensor | None) -> Tensor:
        along = range(x.dim()) if axes is None else [axis % x.dim() for axis in axes]
        if sizes is not None and sizes.numel():
            return resized(x, {}, dict(zip(along, sizes.tolist(), strict=True)), how)
        given = [] if scales is None else scales.tolist()
        return resized(x, dict(zip(along, given, strict=True)), {}, how)

    return builder.call_function(resize, (x, scales, sizes))


def _quantize(builder: Any, node: onnx.NodeProto) -> Any:
    """Round to whole numbers; onnx2fx does not find the axis of scales."""
    operands = _operands(builder, node, 3)
    return builder.call_function(_quantized, (*operands, _attribute(node, "axis", 1)))


def _quantized(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    kind = torch.uint8 if zero is None else zero.dtype
    bounds = torch.iinfo(kind)
    steps = torch.round(x / _along(scale, x, axis))
    if zero is not None:
        steps = steps + _along(zero, x, axis)
    return steps.clamp(bounds.min, bounds.max).to(kind)


def _dequantize(builder: Any, node: onnx.NodeProto) -> Any:
    """Give the numbers that whole ones stand for; onnx2fx does not find the axis of scales."""
    operands = _operands(builder, node, 3)
    return builder.call_function(_dequantized, (*operands, _attribute(node, "axis", 1)))


def _dequantized(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    steps = x.to(scale.dtype)
    if zero is not None:
        steps = steps - _along(zero, x, axis)
    return steps * _along(scale, x, axis)


def _along(numbers: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return numbers of an axis in a shape that broadcasts against a tensor."""
    if numbers.numel() == 1:
        return numbers.reshape(())
    return numbers.reshape([-1 if other == axis % x.dim() else 1 for other in range(x.dim())])


def _operands(builder: Any, node: onnx.NodeProto, count: int) -> list[Any]:
    """Return the inputs of a node, None for those that it leaves out."""
    names = [*node.input, *[""] * (count - len(node.input))]
    return [builder.get_value(name) if name else None for name in names]


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    found = _attribute(node, name, default)
    return found.decode() if isinstance(found, bytes) else str(found)


def _loop(builder: Any, node: onnx.NodeProto) -> Any:
    """Repeat as onnx2fx does, which gives a tuple of one where a node has one output."""
    from onnx2fx.op_registry import get_handler

    translate = get_handler("Loop", "", builder.opset_version)
    return builder.call_function(_only, (translate(builder, node),))


def _only(found: Any) -> Any:
    return found[0] if isinstance(found, tuple) else found


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return onnx.helper.get_node_attr_value(node, name) if _has(node, name) else default


def _has(node: onnx.NodeProto, name: str) -> bool:
    return any(each.name == name for each in node.attribute)


HANDLERS: dict[str, Handler] = {
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantize,
    "Gather": _gather,
    "Loop": _loop,
    "QuantizeLinear": _quantize,
    "Range": _range,
    "Resize": _resize,
    "Shape": _shape,
    "Size": _size,
}
"""Our translations, by operator."""
