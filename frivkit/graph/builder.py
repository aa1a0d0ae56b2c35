"""Append nodes to a graph, each with one output."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir


class Builder:
    """Adds nodes and constants whose names have a common prefix.

    Attributes:
        graph: The graph.
        opset: Its version of the standard operators.
    """

    def __init__(
        self, graph: ir.Graph, opset: int, prefix: str, *, before: ir.Node | None = None
    ) -> None:
        """Start with an unchanged graph.

        Args:
            graph: The graph.
            opset: Its version of the standard operators.
            prefix: The prefix of all names.
            before: The node before which nodes are inserted; None appends them to the graph.
        """
        self.graph, self.opset = graph, opset
        self._prefix, self._before = prefix, before
        self._count = 0

    def add(self, op: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Add a node, and return its output."""
        node = ir.node(op, inputs, attributes=attributes, name=self._name())
        node.outputs[0].name = f"{node.name}/out"
        self.insert(node)
        return node.outputs[0]

    def insert(self, node: ir.Node) -> None:
        """Put a node of several outputs, with their names, where nodes are added."""
        if self._before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self._before, node)

    def reduce(
        self, op: str, value: ir.Value, axes: Sequence[int], *, keepdims: bool = False
    ) -> ir.Value:
        """Add ``ReduceSum`` or ``ReduceMean``, whose axes are an input from some opset on."""
        if self.opset >= _AXES_ARE_AN_INPUT[op]:
            return self.add(op, value, self.constant(axes), keepdims=int(keepdims))
        return self.add(op, value, axes=list(axes), keepdims=int(keepdims))

    def constant(self, numbers: Sequence[int]) -> ir.Value:
        """Register integers as an initializer of type int64."""
        return self.array(np.array(numbers, dtype=np.int64))

    def array(self, array: np.ndarray[Any, Any]) -> ir.Value:
        """Register numbers as an initializer of their own type."""
        tensor = ir.tensor(array)
        value = ir.Value(
            name=self._name(),
            const_value=tensor,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
        )
        self.graph.register_initializer(value)
        return value

    def input(self, name: str, sizes: Sequence[int | str], dtype: ir.DataType) -> ir.Value:
        """Register a new input of the graph."""
        value = ir.Value(name=name, shape=ir.Shape(sizes), type=ir.TensorType(dtype))
        self.graph.inputs.append(value)
        return value

    def _name(self) -> str:
        self._count += 1
        return f"{self._prefix}/{self._count}"


_AXES_ARE_AN_INPUT: Mapping[str, int] = {"ReduceSum": 13, "ReduceMean": 18}
