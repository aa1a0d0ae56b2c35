"""Running sums over positions, which leave units where they are."""

import onnx_ir as ir

from frivkit.plugin import (
    Effect,
    Kept,
    Layout,
    Operator,
    Untraceable,
    constant_tensor,
    rank_of,
    unchanged,
)


def running_sum(node: ir.Node, index: int, layout: Layout) -> Effect:
    """Return the units in place if they do not lie along the axis of the sum."""
    axis, rank = constant_tensor(node.inputs[1]), rank_of(node.inputs[0])
    if index != 0 or axis is None or rank is None:
        return Untraceable("a CumSum along an axis that is computed")
    if int(axis.numpy().item()) % rank in layout.axes:
        return Untraceable("a CumSum over units")
    return Kept(layout, moves_positions=True)


OPERATORS = {"CumSum": Operator(running_sum, unchanged)}
