"""Change constants of a graph: in place if all their consumers agree, else as copies."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import RunTensor, constant_tensor
from frivkit.graph.onnx_io.limits import INITIALIZERS_ARE_NO_INPUTS
from frivkit.graph.operators.constants import ConstantChange, operand_axes
from frivkit.graph.sites.shared_weights import weight_readers, weight_root


class NewConstants:
    """New constants of a graph, with unused names."""

    def __init__(self, graph: ir.Graph, ir_version: int) -> None:
        """Start with an unchanged graph.

        Args:
            graph: The graph.
            ir_version: The IR version of its model.
        """
        self.graph, self._listed = graph, ir_version < INITIALIZERS_ARE_NO_INPUTS
        self._taken = {value.name for node in graph for value in node.outputs}
        self._taken |= {value.name for value in graph.inputs} | set(graph.initializers)
        self._taken |= {node.name for node in graph}

    def unused_name(self, name: str) -> str:
        """Return a name like ``name`` that is not used yet, and reserve it."""
        names = (name, *(f"{name}#{count}" for count in range(2, len(self._taken) + 3)))
        unused = next(each for each in names if each not in self._taken)
        self._taken.add(unused)
        return unused

    def new_constant(
        self, name: str, array: NDArray[Any], dtype: ir.DataType | None = None
    ) -> ir.Value:
        """Register an initializer under a name like ``name``."""
        unused = self.unused_name(name)
        tensor = ir.tensor(array, dtype=dtype, name=unused)
        value = ir.Value(
            name=unused,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(tensor.dtype),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        if self._listed:
            self.graph.inputs.append(value)
        return value

    def replace_operand(
        self, node: ir.Node, index: int, array: NDArray[Any], dtype: ir.DataType | None
    ) -> None:
        """Replace an operand of a node by an array; other consumers keep the old operand."""
        old = node.inputs[index]
        if old is not None and old.is_initializer() and len(old.uses()) == 1:
            old.const_value = ir.tensor(array, dtype=dtype, name=old.name)
            old.shape = ir.Shape(array.shape)
            return
        name = None if old is None else old.name
        value = self.new_constant(name or f"{node.name or node.op_type}/{index}", array, dtype)
        node.replace_input_with(index, value)

    def replace_operands(self, operands: Sequence["Operand"]) -> None:
        """Replace operands by arrays; a constant that several nodes read stays one.

        It is changed in place if all that read it, itself or behind Transposes, get the same
        numbers.  Otherwise nodes that get the same numbers share a new one.
        """
        by_root: dict[int, list[Operand]] = {}
        for each in operands:
            found = weight_root(each.node.inputs[each.index])
            if found is None:
                self.replace_operand(*each.arguments)
            else:
                by_root.setdefault(id(found[0]), []).append(each)
        for several in by_root.values():
            if len(several) == 1:
                self.replace_operand(*several[0].arguments)
            else:
                self._replace_shared(several)

    def _replace_shared(self, operands: Sequence["Operand"]) -> None:
        found = [weight_root(each.node.inputs[each.index]) for each in operands]
        root = next(each[0] for each in found if each is not None)
        arrays = [
            each.array.transpose(np.argsort(axes[1]))
            for each, axes in zip(operands, found, strict=True)
            if axes is not None
        ]
        requested = {(id(each.node), each.index) for each in operands}
        users = {(id(node), index) for node, index in weight_readers(root)}
        alike = all(np.array_equal(arrays[0], array) for array in arrays[1:])
        if alike and users == requested and not root.is_graph_output():
            dtype, first = operands[0].dtype, np.ascontiguousarray(arrays[0])
            _set_tensor(root, ir.tensor(first, dtype=dtype, name=root.name))
            return
        made: dict[tuple[tuple[int, ...], bytes], ir.Value] = {}
        for each in operands:
            key = (each.array.shape, each.array.tobytes())
            if key not in made:
                made[key] = self.new_constant(root.name or "weight", each.array, each.dtype)
            each.node.replace_input_with(each.index, made[key])

    def add_bias_node(self, node: ir.Node, bias: ir.Value) -> None:
        """Add a constant to the output of a node; the sum takes the name of the output."""
        value = node.outputs[0]
        name, uses = value.name or "", [(use.node, use.idx) for use in value.uses()]
        value.name = self.unused_name(f"{name}/unbiased")
        total = ir.Value(name=name, shape=value.shape, type=value.type)
        add = ir.Node(
            "", "Add", [value, bias], outputs=[total], name=self.unused_name(f"{name}/Add")
        )
        self.graph.insert_after(node, add)
        for consumer, index in uses:
            consumer.replace_input_with(index, total)
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = total


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """New numbers for an operand of a node.

    Attributes:
        node: The node.
        index: The operand.
        array: Its numbers.
        dtype: Their type; None takes that of the array.
    """

    node: ir.Node
    index: int
    array: NDArray[Any]
    dtype: ir.DataType | None

    @property
    def arguments(self) -> tuple[ir.Node, int, NDArray[Any], ir.DataType | None]:
        """What :meth:`NewConstants.replace_operand` takes."""
        return self.node, self.index, self.array, self.dtype


@dataclass(slots=True)
class _RequestedChange:
    """A change of a constant, and the uses that request it."""

    change: ConstantChange
    uses: list[tuple[ir.Node, int]] = field(default_factory=list)


class ConstantEdits:
    """Changes of the constants of a graph, requested by their consumers.

    Consumers request changes from the end of the graph to its beginning, and the outputs of each
    node are changed after all nodes behind it, so that all requests for a constant are known.
    """

    def __init__(self, constants: NewConstants) -> None:
        """Start without requests; ``apply_to_outputs`` and ``finish`` change the graph.

        Args:
            constants: The constants of the graph.
        """
        self._constants = constants
        self._requested: dict[int, tuple[ir.Value, dict[tuple[object, ...], _RequestedChange]]] = {}

    def request(self, node: ir.Node, index: int, change: ConstantChange) -> None:
        """Request a change of an operand of a node."""
        value = node.inputs[index]
        if value is not None:
            _, changes = self._requested.setdefault(id(value), (value, {}))
            changes.setdefault(change.key, _RequestedChange(change)).uses.append((node, index))

    def apply_to_outputs(self, node: ir.Node) -> None:
        """Apply the changes that were requested for the outputs of a node."""
        for value in node.outputs:
            _, changes = self._requested.pop(id(value), (value, {}))
            for requested in changes.values():
                self._change(value, requested)

    def finish(self) -> None:
        """Apply the changes that were requested for initializers."""
        for value, changes in self._requested.values():
            for requested in changes.values():
                self._change(value, requested)
        self._requested.clear()

    def _change(self, value: ir.Value, requested: _RequestedChange) -> None:
        all_uses = len(requested.uses) == len(value.uses()) and not value.is_graph_output()
        tensor, node = constant_tensor(value), value.producer()
        if tensor is not None:
            array = requested.change.apply(tensor.numpy())
            if all_uses and isinstance(tensor, RunTensor):
                name = value.name or ""
                _set_tensor(
                    value, RunTensor(array, tensor.source, tensor.before, tensor.graph, name)
                )
            elif all_uses:
                _set_tensor(value, ir.tensor(array, dtype=tensor.dtype, name=tensor.name))
            else:
                result = self._constants.new_constant(value.name or "constant", array, tensor.dtype)
                _redirect(requested, result)
        elif node is not None:
            self._change_computed(value, node, requested, all_uses=all_uses)

    def _change_computed(
        self, value: ir.Value, node: ir.Node, requested: _RequestedChange, *, all_uses: bool
    ) -> None:
        """Change the operands of a computed constant, of a copy if not all consumers request it."""
        result = node if all_uses else self._copy_node(node)
        if not all_uses:
            _redirect(requested, result.outputs[0])
        by_operand: dict[int, dict[int, NDArray[np.bool_]]] = {}
        for axis, stays in requested.change.slices.items():
            operands = operand_axes(value, axis)
            for index, its_axis in () if isinstance(operands, str) else operands:
                by_operand.setdefault(index, {})[its_axis] = stays
        result.outputs[0].shape = requested.change.apply_to_shape(value.shape)
        for index, slices in by_operand.items():
            self.request(result, index, ConstantChange(slices, {}))

    def _copy_node(self, node: ir.Node) -> ir.Node:
        """Insert a copy of a node, for consumers that request another change."""
        output = node.outputs[0]
        name = self._constants.unused_name(output.name or node.op_type)
        value = ir.Value(name=name, shape=output.shape, type=output.type)
        copy = ir.Node(
            node.domain,
            node.op_type,
            node.inputs,
            list(node.attributes.values()),
            outputs=[value],
            name=name,
        )
        self._constants.graph.insert_after(node, copy)
        return copy


def drop_unused(graph: ir.Graph) -> None:
    """Remove nodes and initializers without consumers."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
            if value.is_graph_input():
                graph.inputs.remove(value)


def _set_tensor(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Replace the tensor of an initializer or of the output of a Constant."""
    node = value.producer()
    if node is None:
        value.const_value = tensor
    else:
        node.attributes.clear()
        node.attributes["value"] = ir.AttrTensor("value", tensor)
        value.const_value = None
    value.shape = ir.Shape(tensor.shape.numpy())


def _redirect(requested: _RequestedChange, value: ir.Value) -> None:
    for node, index in requested.uses:
        node.replace_input_with(index, value)
