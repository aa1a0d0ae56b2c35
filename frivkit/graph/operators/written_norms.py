"""Norms over the last axis that a file writes in pieces: means, squares, a root and a division."""

from typing import Literal

import numpy as np
import onnx_ir as ir

from frivkit.graph.model import constant_tensor, is_constant

Statistic = Literal["mean", "spread", "square"]
"""Of a mean in such a norm: the mean that is subtracted, the mean of the squares of what is left
(both of a layer norm), or the mean of the squares themselves (of a root-mean-square norm)."""
_ON_THE_WAY = ("Add", "Sqrt", "Pow", "Reciprocal", "Div", "Cast")
"""Operators between the mean of squares and the division by its root."""


def statistic_of(node: ir.Node) -> Statistic | None:
    """Return which statistic of a norm in pieces a node computes, None if it is none.

    A layer norm in pieces is ``c = x - mean(x)``, ``c / sqrt(mean(c * c) + epsilon)``; a
    root-mean-square norm is the same without the first mean.

    Source: J. L. Ba et al., Layer Normalization, 2016; B. Zhang and R. Sennrich, Root Mean Square
    Layer Normalization, NeurIPS 2019.
    """
    if node.op_type != "ReduceMean" or node.inputs[0] is None:
        return None
    squared = _squared(node.inputs[0])
    if squared is not None:
        if not _divides(node.outputs[0], squared):
            return None
        return "square" if _subtracted_mean(squared) is None else "spread"
    uses = list(node.outputs[0].uses())
    if not uses or any(use.node.op_type != "Sub" or use.idx != 1 for use in uses):
        return None
    centred = [use.node.outputs[0] for use in uses]
    known = all(_subtracted_mean(value) is node.outputs[0] for value in centred)
    return "mean" if known and any(map(_is_normed, centred)) else None


def _is_normed(centred: ir.Value) -> bool:
    """Whether entries are divided by the root of the mean of their squares."""
    made = [use.node.outputs[0] for use in centred.uses()]
    squares = [value for value in made if _squared(value) is not None]
    means = [use.node for value in squares for use in value.uses()]
    return any(statistic_of(each) is not None for each in means)


def _squared(value: ir.Value) -> ir.Value | None:
    """Return what a value is the square of, without casts, None if it is no square."""
    node = value.producer()
    if node is None or node.op_type not in ("Pow", "Mul"):
        return None
    base, other = node.inputs[0], node.inputs[1]
    if base is None or other is None:
        return None
    if node.op_type == "Mul":
        return _uncast(base) if base is other else None
    exponent = constant_tensor(other)
    return _uncast(base) if exponent is not None and np.all(exponent.numpy() == 2) else None


def _subtracted_mean(value: ir.Value) -> ir.Value | None:
    """Return the mean that was subtracted to make a value, None if there is none."""
    node = value.producer()
    if node is None or node.op_type != "Sub" or node.inputs[0] is None or node.inputs[1] is None:
        return None
    mean = node.inputs[1].producer()
    if mean is None or mean.op_type != "ReduceMean" or mean.inputs[0] is not node.inputs[0]:
        return None
    return node.inputs[1]


def _divides(statistic: ir.Value, entries: ir.Value) -> bool:
    """Whether all that is made of a mean of squares are factors or divisors of the entries."""
    uses = list(statistic.uses())
    if not uses or statistic.is_graph_output():
        return False
    for use in uses:
        others = [v for i, v in enumerate(use.node.inputs) if i != use.idx and v is not None]
        if use.node.op_type in ("Mul", "Div") and any(_uncast(v) is entries for v in others):
            continue
        constant = all(map(is_constant, others))
        if use.node.op_type not in _ON_THE_WAY or not constant:
            return False
        if not _divides(use.node.outputs[0], entries):
            return False
    return True


def _uncast(value: ir.Value) -> ir.Value:
    node = value.producer()
    while node is not None and node.op_type == "Cast" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value
