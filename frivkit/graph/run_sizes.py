"""Numbers of one run, computed again: the reverse of folding sizes that a file leaves open."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import SHAPE_ONLY
from frivkit.graph.model import RunTensor

ARITHMETIC = frozenset(
    [
        *("Add", "Sub", "Mul", "Div", "Mod", "Neg", "Abs", "Floor", "Ceil", "Min", "Max", "Pow"),
        *("Cast", "Identity", "Gather", "Concat", "Slice", "Squeeze", "Unsqueeze", "Reshape"),
        *("Transpose", "Where", "Equal", "Less", "Greater", "Not", "And", "Or", "ConstantOfShape"),
        *("ReduceProd", "ReduceSum", "Sqrt", "Range", "Expand", "ScatterND", "Constant"),
    ]
)
"""Operators that compute sizes from sizes."""


def compute_sizes(graph: ir.Graph, original: ir.Graph) -> None:
    """Let operands that hold numbers of one run be computed again, as in the file.

    What is computed are the sizes that tensors had before units left.

    Args:
        graph: The graph that was made; it is changed.
        original: The graph that it was made from.

    Raises:
        ModelError: what they are computed from is gone.
    """
    marked = [v for v in graph.initializers.values() if isinstance(v.const_value, RunTensor)]
    if not marked:
        return
    order = {id(node): i for i, node in enumerate(graph)}
    first = {id(v): min((order.get(id(u.node), 0) for u in v.uses()), default=0) for v in marked}
    nodes = list(graph)
    sizes = _SizeNodes(graph, original)
    for value in sorted(marked, key=lambda each: first[id(each)]):
        tensor = value.const_value
        if isinstance(tensor, RunTensor) and value.uses():
            computed = sizes.add(tensor, nodes[first[id(value)]])
            ir.convenience.replace_all_uses_with(value, computed)
        del graph.initializers[value.name or ""]


class _SizeNodes:
    """Adds the nodes that compute sizes to a graph."""

    def __init__(self, graph: ir.Graph, original: ir.Graph) -> None:
        self._graph = graph
        self._values = {v.name or "": v for v in graph.inputs}
        self._values |= {v.name or "": v for node in graph for v in node.outputs}
        self._values |= dict(graph.initializers.items())
        self._lengths = {v.name or "": v.shape for node in original for v in node.outputs}

    def add(self, tensor: RunTensor, before: ir.Node) -> ir.Value:
        """Return what a graph computes where a run had numbers; nodes go before another node."""
        found: dict[str, ir.Value] = {v.name or "": v for v in tensor.graph.inputs}
        found |= {v.name or "": v for node in tensor.graph for v in node.outputs}
        computed = self._value(found[tensor.source], before)
        now = tensor.numpy()
        if np.array_equal(now, tensor.before):
            return computed
        if now.shape != tensor.before.shape:
            raise ModelError(
                f"{tensor.source!r} depends on sizes that the file leaves open and on the units "
                "that leave: give a file whose sizes are fixed"
            )
        name = f"{tensor.source}/narrowed"
        changed = self._constant(f"{name}/changed", now != tensor.before)
        numbers = self._constant(f"{name}/numbers", now)
        return self._node("Where", [changed, numbers, computed], name, before)

    def _value(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """Return a value of the original graph in this one."""
        known = self._values.get(value.name or "")
        if known is not None:
            return known
        node = value.producer()
        if node is None and value.const_value is not None:
            self._values[value.name or ""] = self._constant(
                value.name or "", value.const_value.numpy()
            )
            return self._values[value.name or ""]
        if node is None or (node.op_type not in SHAPE_ONLY and node.op_type not in ARITHMETIC):
            raise ModelError(
                f"the size of {value.name!r}, which the file leaves open, is needed and the tensor "
                "is gone: give a file whose sizes are fixed"
            )
        read = [None if each is None else self._value(each, before) for each in node.inputs]
        attributes = dict(node.attributes)
        outputs = [ir.Value(name=each.name, type=each.type) for each in node.outputs]
        copy = ir.Node(
            node.domain,
            node.op_type,
            read,
            list(attributes.values()),
            outputs=outputs,
            name=node.name,
        )
        self._graph.insert_before(before, copy)
        self._values |= {each.name or "": each for each in outputs}
        at = next(i for i, each in enumerate(node.outputs) if each is value)
        if node.op_type == "Shape" and read[0] is not None:
            self._values[value.name or ""] = self._whole(outputs[at], read[0], attributes, before)
        return self._values[value.name or ""]

    def _whole(
        self,
        sizes: ir.Value,
        tensor: ir.Value,
        attributes: Mapping[str, ir.Attr],
        before: ir.Node,
    ) -> ir.Value:
        """Return the sizes that a tensor had before units left, from those that it has."""
        was, now = self._lengths.get(tensor.name or ""), tensor.shape
        if was is None or now is None or len(was) != len(now):
            return sizes
        gone = [
            old - new if isinstance(old, int) and isinstance(new, int) else 0
            for old, new in zip(was, now, strict=True)
        ]
        start, end = (attributes.get(name) for name in ("start", "end"))
        first = 0 if start is None else start.as_int()
        removed = np.array(gone[first : None if end is None else end.as_int()], np.int64)
        if not removed.any():
            return sizes
        name = f"{sizes.name}/whole"
        return self._node("Add", [sizes, self._constant(f"{name}/gone", removed)], name, before)

    def _node(self, op: str, inputs: list[ir.Value], name: str, before: ir.Node) -> ir.Value:
        output = ir.Value(name=name, type=inputs[-1].type)
        self._graph.insert_before(before, ir.Node("", op, inputs, outputs=[output], name=name))
        return output

    def _constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        while name in self._graph.initializers:
            name += "_"
        tensor = ir.Tensor(array, name=name)
        value = ir.Value(
            name=name,
            const_value=tensor,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
        )
        self._graph.register_initializer(value)
        return value
