"""Append nodes to a graph, each with one output."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir


class Builder:
    """Adds nodes and constants whose names begin alike.

    Attributes:
        graph: The graph that is added to.
        opset: The version of the standard operators that its nodes are of.
    """

    def __init__(
        self, graph: ir.Graph, opset: int, prefix: str, *, before: ir.Node | None = None
    ) -> None:
        """Begin.

        Args:
            graph: The graph.
            opset: Its version of the standard operators.
            prefix: What all names begin with.
            before: The node before which nodes are put; None puts them at the end.
        """
        self.graph, self.opset = graph, opset
        self._prefix, self._before = prefix, before
        self._made = 0

    def add(self, op: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Append a node and give its output."""
        node = ir.node(op, inputs, attributes=attributes, name=self._name())
        node.outputs[0].name = f"{node.name}/out"
        if self._before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self._before, node)
        return node.outputs[0]

    def reduced(
        self, op: str, value: ir.Value, axes: Sequence[int], *, keepdims: bool = False
    ) -> ir.Value:
        """Append ``ReduceSum`` or ``ReduceMean``, whose axes became an input in some opset."""
        kept = int(keepdims)
        if self.opset >= _AXES_ARE_AN_INPUT[op]:
            return self.add(op, value, self.constant(axes), keepdims=kept)
        return self.add(op, value, axes=list(axes), keepdims=kept)

    def constant(self, numbers: Sequence[int]) -> ir.Value:
        """Register whole numbers as an initializer."""
        tensor = ir.tensor(np.array(numbers, dtype=np.int64))
        value = ir.Value(
            name=self._name(),
            const_value=tensor,
            shape=ir.Shape([len(numbers)]),
            type=ir.TensorType(ir.DataType.INT64),
        )
        self.graph.register_initializer(value)
        return value

    def input(self, name: str, sizes: Sequence[int | str], dtype: ir.DataType) -> ir.Value:
        """Register a new input of the graph."""
        value = ir.Value(name=name, shape=ir.Shape(sizes), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        return value

    def _name(self) -> str:
        self._made += 1
        return f"{self._prefix}/{self._made}"


_AXES_ARE_AN_INPUT: Mapping[str, int] = {"ReduceSum": 13, "ReduceMean": 18}
