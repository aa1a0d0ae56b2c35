"""What a file says of its inputs, outputs and tensors, for files that are made from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import GivenTensor
from frivkit.graph.run_sizes import compute_sizes

IN_FILE = "/as_in_file"
"""The suffix of the names of tensors whose axes are in the file's order, not examples first."""
Declared = tuple[ir.Shape | None, ir.TypeProtocol | None]


@dataclass(frozen=True, slots=True, eq=False)
class Interface:
    """The inputs, the outputs and the declared tensors of a file.

    Attributes:
        inputs: The names of the inputs in order, those with default values among them.
        outputs: The names of the outputs in order.
        declared: Shape and type that the file declares, by the name of a tensor.
        defaults: The inputs that have default values: weights that are listed as inputs as well.
        input_axes: The axis of the examples in the file, of each input where it is not the first.
        output_axes: The same of outputs.
        given: The numbers that the user gives for inputs without examples, by name.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    declared: Mapping[str, Declared]
    defaults: frozenset[str] = frozenset()
    input_axes: Mapping[str, int] = field(default_factory=dict)
    output_axes: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: ir.Model) -> "Interface":
        """Return the interface of a graph as it was read."""
        graph = model.graph
        values = [*graph.inputs, *graph.outputs, *(v for node in graph for v in node.outputs)]
        declared = {
            value.name or "": (None if value.shape is None else value.shape.copy(), value.type)
            for value in values
            if value.shape is not None or value.type is not None
        }
        inputs, outputs = ([v.name or "" for v in each] for each in (graph.inputs, graph.outputs))
        defaults = frozenset(v.name or "" for v in graph.inputs if v.is_initializer())
        return cls(tuple(inputs), tuple(outputs), declared, defaults)

    def open_sizes(self) -> bool:
        """Whether the file leaves open another size of an input than the number of examples."""
        for name in self.inputs:
            shape, _ = self.declared.get(name, (None, None))
            batch = self.input_axes.get(name, 0)
            if shape is None or any(
                not isinstance(size, int) or size < 1
                for axis, size in enumerate(shape)
                if axis != batch
            ):
                return name not in self.given
        return False


def restored(model: ir.Model, original: ir.Model, interface: Interface) -> ir.Model:
    """Return a graph made from a model with the interface of the model's file.

    Inputs and outputs have their axes in the file's order, inputs with given numbers are inputs
    again, and shapes are those that the file declares, but for axes that became shorter.

    Args:
        model: The graph that was made, as frivkit works with it.
        original: The graph that it was made from.
        interface: The interface of the file.

    Raises:
        ModelError: a size that depends on the run became a part of the graph.
    """
    copy = model.clone()
    graph = copy.graph
    compute_sizes(graph, original.graph)
    for name in interface.output_axes:
        _restore_output(graph, name)
    for name in interface.input_axes:
        _restore_input(graph, name, interface.declared[name])
    for name, value in list(graph.initializers.items()):
        if isinstance(value.const_value, GivenTensor):
            del graph.initializers[name]
            value.const_value = None
    _restore_inputs(graph, interface)
    _restore_shapes(graph, original.graph, interface)
    return copy


def _restore_output(graph: ir.Graph, name: str) -> None:
    """Remove the Transpose in front of an output."""
    at = next(i for i, value in enumerate(graph.outputs) if value.name == name)
    moved = graph.outputs[at]
    node = moved.producer()
    inner = None if node is None else node.inputs[0]
    if node is not None and inner is not None:
        graph.outputs[at] = inner
        graph.remove(node, safe=True)
        moved.name, inner.name = None, name


def _restore_input(graph: ir.Graph, name: str, declared: Declared) -> None:
    """Remove the Transpose behind an input."""
    at = next((i for i, value in enumerate(graph.inputs) if value.name == name), None)
    if at is None:
        return
    shape, kind = declared
    value = ir.Value(name=name, shape=shape, type=kind)
    moved = graph.inputs[at]
    for node in [use.node for use in moved.uses()]:
        ir.convenience.replace_all_uses_with(node.outputs[0], value)
        for i, output in enumerate(graph.outputs):
            if output is node.outputs[0]:
                graph.outputs[i] = value
        graph.remove(node, safe=True)
    graph.inputs[at] = value


def _restore_inputs(graph: ir.Graph, interface: Interface) -> None:
    """Put the inputs in the file's order; those that nothing reads any more stay.

    A weight that is listed as an input, and that became a part of another weight, is none any more:
    without a default value it would have to be given.
    """
    gone = interface.defaults - graph.initializers.keys() - interface.given.keys()
    values = {value.name: value for value in graph.inputs if value.name not in gone}
    wanted = []
    for name in (each for each in interface.inputs if each not in gone):
        value = values.pop(name, None)
        if value is None:
            if name in graph.initializers or name in interface.declared:
                shape, kind = interface.declared.get(name, (None, None))
                value = graph.initializers.get(name) or ir.Value(name=name, shape=shape, type=kind)
            else:
                continue
        wanted.append(value)
    graph.inputs[:] = [*wanted, *values.values()]


def _restore_shapes(graph: ir.Graph, original: ir.Graph, interface: Interface) -> None:
    """Declare what the file declares, with the lengths of axes that became shorter."""
    before = {value.name: value.shape for node in original for value in node.outputs}
    before |= {value.name: value.shape for value in original.inputs}
    outside = {id(value) for value in (*graph.inputs, *graph.outputs)}
    values = [*graph.inputs, *graph.outputs, *(v for node in graph for v in node.outputs)]
    values += [value for value in graph.initializers.values() if not value.is_graph_input()]
    for value in values:
        if value.is_initializer() and value.is_graph_input():
            continue
        known = interface.declared.get(value.name or "")
        if known is None:
            if id(value) not in outside:
                value.shape = value.type = None
            continue
        shape, kind = known
        moved = value.name in interface.output_axes or value.name in interface.input_axes
        now, was = value.shape, None if moved else before.get(value.name)
        value.type = kind
        value.shape = None if shape is None else _shape(shape, now, was)


def _shape(declared: ir.Shape, now: ir.Shape | None, was: ir.Shape | None) -> ir.Shape:
    """Return a declared shape with the sizes that differ between two others."""
    sizes = list(declared)
    if now is not None and was is not None and len(now) == len(was) == len(sizes):
        for axis, (new, old) in enumerate(zip(now, was, strict=True)):
            if isinstance(new, int) and new != old:
                sizes[axis] = new
    return ir.Shape(sizes)
