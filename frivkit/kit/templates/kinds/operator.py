"""What becomes of units in a sum along an axis."""

import onnx_ir as ir

from frivkit.plugin import Effect, Kept, Layout, Operator, Untraceable, constant_tensor, unchanged


def running_sum(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Return the units in place if they are not on the axis of the sum."""
    axis, summed = constant_tensor(node.inputs[1]), node.inputs[0]
    rank = None if summed is None or summed.shape is None else len(summed.shape)
    if index or axis is None or rank is None or int(axis.numpy().item()) % rank in layout.axes:
        return Untraceable("a CumSum over units, or along an axis that is computed")
    return Kept(layout, moves_positions=True)


OPERATORS = {"CumSum": Operator(running_sum, unchanged)}
