"""Operators that act on each entry of a tensor, or on two tensors entry by entry."""

from functools import partial

import onnx_ir as ir

from frivkit.graph.layout import Layout, others_constant, rank_of, shape_of
from frivkit.graph.operators.edits import Edit, NodeContext, broadcast, unchanged
from frivkit.graph.operators.effects import Coupled, Effect, Kept, Untraceable
from frivkit.graph.operators.operator import Operator

NONLINEAR = frozenset(
    [
        *("Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Sigmoid"),
        *("HardSigmoid", "Tanh", "HardSwish", "Swish", "Gelu", "FastGelu", "BiasGelu"),
        *("QuickGelu", "Mish", "Softplus", "Softsign", "Clip", "Abs", "Exp", "Log", "Sqrt"),
        *("Reciprocal", "Erf", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"),
        *("Asin", "Acos", "Atan", "Sign", "Ceil", "Floor", "Round", "Pow", "Shrink", "Not"),
        *("IsNaN", "IsInf", "Max", "Min", "Mod", "Greater", "GreaterOrEqual", "Less"),
        *("LessOrEqual", "Equal", "Where", "And", "Or", "Xor", "BitShift", "BitwiseAnd"),
        *("BitwiseOr", "BitwiseNot", "BitwiseXor", "SwiGLU"),
    ]
)
"""Operators that are nonlinear functions of each entry."""
LINEAR = frozenset(
    ["Identity", "Cast", "CastLike", "Dropout", "Neg", "Add", "Sub", "Mul", "Div", "Sum", "Mean"]
)
"""Operators that are linear functions of each entry."""
ELEMENTWISE = NONLINEAR | LINEAR


def _elementwise(node: ir.Node, index: int, layout: Layout, *, nonlinear: bool) -> Effect:
    """Keep units entry by entry, or couple them with those of another computed operand."""
    new_layout = _broadcast(node, index, layout)
    if new_layout is None:
        return Untraceable("its other operand changes the axis that units lie on")
    if others_constant(node, index):
        divides = node.op_type == "Div" and index == 1  # a constant divided by the units
        return Kept(new_layout, nonlinear=nonlinear or divides)
    if node.op_type in ("Add", "Sub", "Sum", "Mean"):
        return Coupled(new_layout, "sum")
    if node.op_type in ("Mul", "Div") or nonlinear:
        return Coupled(new_layout, "product")
    return Untraceable(f"{node.op_type} of two computed tensors")


def _cast_like(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Keep units of the first input, cast to the type of the second."""
    del node
    return Kept(layout) if index == 0 else Untraceable("only their number type is read")


def _broadcast(node: ir.Node, index: int, layout: Layout) -> Layout | None:
    """Return the layout after numpy broadcasting, None if an axis of units changes its length."""
    before, after = rank_of(node.inputs[index]), rank_of(node.outputs[0])
    if len([value for value in node.inputs if value is not None]) == 1 or before is None:
        return layout
    shape = shape_of(node.outputs[0])
    if after is None or shape is None:
        return None
    axes = [axis + after - before for axis in layout.axes]
    lengths = zip((shape[axis] for axis in axes), layout.units.shape, strict=True)
    return layout.with_axes(*axes) if all(a in (None, b) for a, b in lengths) else None


def _narrow_elementwise(context: NodeContext) -> list[Edit]:
    if "broadcast" in context.node.attributes or "axis" in context.node.attributes:
        return context.locked(
            f"{context.node.op_type} of before opset 7, which aligns axes by number"
        )
    return broadcast(context)


OPERATORS = {
    **{
        op: Operator(
            partial(_elementwise, nonlinear=op in NONLINEAR),
            _narrow_elementwise,
            nonlinear=op in NONLINEAR,
            elementwise=True,
            beside_batch=True,
        )
        for op in ELEMENTWISE
    },
    "CastLike": Operator(_cast_like, unchanged, elementwise=True, beside_batch=True),
}
