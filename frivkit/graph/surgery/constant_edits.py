"""Put other constants where nodes read some: in place where all readers agree, else beside."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.constants import ConstantChange, operand_axes

OLDEST_APART = 4
"""The IR version from which initializers need not be listed as inputs, too."""


class NewConstants:
    """New constants of a graph, under names that nothing else has."""

    def __init__(self, graph: ir.Graph, ir_version: int) -> None:
        """Begin; the graph is not changed yet."""
        self.graph, self._listed = graph, ir_version < OLDEST_APART
        self._taken = {value.name for node in graph for value in node.outputs}
        self._taken |= {value.name for value in graph.inputs} | set(graph.initializers)
        self._taken |= {node.name for node in graph}

    def free(self, name: str) -> str:
        """Return a name like ``name`` that nothing has, and take it."""
        names = (name, *(f"{name}#{again}" for again in range(2, len(self._taken) + 3)))
        free = next(each for each in names if each not in self._taken)
        self._taken.add(free)
        return free

    def new(self, name: str, array: NDArray[Any], dtype: ir.DataType | None = None) -> ir.Value:
        """Register an initializer under a name like ``name``."""
        free = self.free(name)
        tensor = ir.tensor(array, dtype=dtype, name=free)
        value = ir.Value(
            name=free,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        if self._listed:
            self.graph.inputs.append(value)
        return value

    def put(
        self, node: ir.Node, index: int, array: NDArray[Any], dtype: ir.DataType | None
    ) -> None:
        """Let a node read an array; who else reads what it read goes on doing so."""
        old = node.inputs[index]
        if old is not None and old.is_initializer() and len(old.uses()) == 1:
            old.const_value = ir.tensor(array, dtype=dtype, name=old.name)
            old.shape = ir.Shape(array.shape)
            return
        name = None if old is None else old.name
        value = self.new(name or f"{node.name or node.op_type}/{index}", array, dtype)
        node.replace_input_with(index, value)

    def add_behind(self, node: ir.Node, array: NDArray[Any], dtype: ir.DataType | None) -> None:
        """Add an array to what a node gives; the sum takes its name."""
        value = node.outputs[0]
        name, uses = value.name or "", [(use.node, use.idx) for use in value.uses()]
        value.name = self.free(f"{name}/unbiased")
        total = ir.Value(name=name, shape=value.shape, type=value.type)
        bias = self.new(f"{name}/bias", array, dtype)
        add = ir.Node("", "Add", [value, bias], outputs=[total], name=self.free(f"{name}/Add"))
        self.graph.insert_after(node, add)
        for reader, index in uses:
            reader.replace_input_with(index, total)
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = total


@dataclass(slots=True)
class _Asked:
    """A change that some readers ask for of a constant."""

    change: ConstantChange
    uses: list[tuple[ir.Node, int]] = field(default_factory=list)


class ConstantEdits:
    """Changes to the constants of a graph, asked for by their readers.

    Readers ask from the end of the graph to its beginning, and each node is settled after those
    behind it, so that a constant is made new once it is known what all its readers want.
    """

    def __init__(self, constants: NewConstants) -> None:
        """Begin; nothing is changed before ``settle`` or ``finish``."""
        self._constants = constants
        self._asked: dict[int, tuple[ir.Value, dict[tuple[object, ...], _Asked]]] = {}

    def ask(self, node: ir.Node, index: int, change: ConstantChange) -> None:
        """Ask that a node read, as one of its operands, what a change makes of it."""
        value = node.inputs[index]
        if value is not None:
            _, changes = self._asked.setdefault(id(value), (value, {}))
            changes.setdefault(change.key, _Asked(change)).uses.append((node, index))

    def settle(self, node: ir.Node) -> None:
        """Change what a node gives, if it is a constant that was asked to change."""
        for value in node.outputs:
            _, changes = self._asked.pop(id(value), (value, {}))
            for asked in changes.values():
                self._change(value, asked)

    def finish(self) -> None:
        """Change the initializers."""
        for value, changes in self._asked.values():
            for asked in changes.values():
                self._change(value, asked)
        self._asked.clear()

    def _change(self, value: ir.Value, asked: _Asked) -> None:
        alone = len(asked.uses) == len(value.uses()) and not value.is_graph_output()
        tensor, node = constant_tensor(value), value.producer()
        if tensor is not None:
            array = asked.change.of(tensor.numpy())
            if alone:
                _set_tensor(value, ir.tensor(array, dtype=tensor.dtype, name=tensor.name))
            else:
                made = self._constants.new(value.name or "constant", array, tensor.dtype)
                _redirect(asked, made)
        elif node is not None:
            self._change_computed(value, node, asked, alone=alone)

    def _change_computed(
        self, value: ir.Value, node: ir.Node, asked: _Asked, *, alone: bool
    ) -> None:
        """Change what a constant is computed from, or compute it a second time."""
        made = node if alone else self._again(node)
        if not alone:
            _redirect(asked, made.outputs[0])
        wanted: dict[int, dict[int, NDArray[np.bool_]]] = {}
        for axis, stays in asked.change.cuts.items():
            found = operand_axes(value, axis)
            for index, there in () if isinstance(found, str) else found:
                wanted.setdefault(index, {})[there] = stays
        made.outputs[0].shape = asked.change.of_shape(value.shape)
        for index, cuts in wanted.items():
            self.ask(made, index, ConstantChange(cuts, {}))

    def _again(self, node: ir.Node) -> ir.Node:
        """Make a node a second time, for readers that want something else of it."""
        output = node.outputs[0]
        name = self._constants.free(output.name or node.op_type)
        value = ir.Value(name=name, shape=output.shape, type=output.type)
        again = ir.Node(
            node.domain,
            node.op_type,
            node.inputs,
            list(node.attributes.values()),
            outputs=[value],
            name=name,
        )
        self._constants.graph.insert_after(node, again)
        return again


def drop_unused(graph: ir.Graph) -> None:
    """Drop nodes and initializers that nothing reads."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
            if value.is_graph_input():
                graph.inputs.remove(value)


def _set_tensor(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Return an initializer or the output of a Constant another tensor."""
    node = value.producer()
    if node is None:
        value.const_value = tensor
    else:
        node.attributes.clear()
        node.attributes["value"] = ir.AttrTensor("value", tensor)
        value.const_value = None
    value.shape = ir.Shape(tensor.shape.numpy())


def _redirect(asked: _Asked, value: ir.Value) -> None:
    for node, index in asked.uses:
        node.replace_input_with(index, value)
