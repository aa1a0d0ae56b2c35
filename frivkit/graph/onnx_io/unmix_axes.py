"""Write what is computed on axes that are merged, and taken apart again, on the axes apart.

Exporters lay the tokens of all examples in rows for a Gemm, and put heads on one axis with the
examples for products of matrices.  A Reshape merges the axes in front and another takes them apart
behind.  The nodes in between compute the same on the axes apart, where tokens, heads and examples
have axes of their own.  Where the axes stay merged nothing is changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute
from frivkit.graph.model import constant_tensor, is_constant
from frivkit.graph.onnx_io.fold_shapes import remove_unused
from frivkit.graph.onnx_io.reshape_sizes import (
    ProductSizes,
    Runs,
    completed,
    is_mixed,
    named_shape,
    product,
    refined,
    reshape_entries,
    sizes_of,
)
from frivkit.graph.operators.table import OPERATORS


@dataclass(slots=True, eq=False)
class Apart:
    """A tensor with merged axes, as one with these axes apart.

    Attributes:
        sizes: The sizes of the axes apart.
        runs: For each axis of the tensor the axes that are merged in it.
        write: Adds the tensor with the axes apart to the graph.
        made: That tensor, None before it is written.
    """

    sizes: ProductSizes
    runs: Runs
    write: Callable[[], ir.Value]
    made: ir.Value | None = None

    @property
    def merged(self) -> ProductSizes:
        """The sizes of the tensor with merged axes."""
        return tuple(product([self.sizes[axis] for axis in run]) for run in self.runs)

    def single(self, count: int) -> bool:
        """Whether none of the last axes is a merged one."""
        return all(len(run) == 1 for run in self.runs[len(self.runs) - count :])

    def value(self) -> ir.Value:
        """Return the tensor with the axes apart, which is written once."""
        if self.made is None:
            self.made = self.write()
            self.made.shape = named_shape(self.sizes)
        return self.made


def unmix_axes(model: ir.Model) -> None:
    """Rewrite a graph in place; its outputs do not change.

    Args:
        model: The model, with inferred shapes.
    """
    opset = model.opset_imports.get("", 1)
    rewriting = _Rewriting(model.graph, opset)
    for node in list(model.graph):
        if node.domain == "" and node.outputs and node.inputs:
            rewriting.visit(node)
    rewriting.finish()


class _Rewriting:
    """Follows merged axes through a graph in its order."""

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self._graph, self._opset = graph, opset
        self._apart: dict[int, Apart] = {}
        self._at: ir.Node | None = None  # nodes are written in front of it
        self._nodes: list[tuple[ir.Node, Apart]] = []
        self._count = 0

    def visit(self, node: ir.Node) -> None:
        """Note how a node's output is merged, or take its axes apart if it ends that."""
        self._at = node
        if node.op_type == "Reshape":
            self._reshape(node)
            return
        rule = {"Transpose": self._transpose, "MatMul": self._matmul, "Gemm": self._gemm}
        if self._known(node.inputs[0]) is None and node.op_type not in ("Add", "Mul", "Where"):
            return
        found = rule.get(node.op_type, self._elementwise)(node)
        if found is not None:
            self._note(node, found)

    def finish(self) -> None:
        """Merge axes of what is written and read in a merged form, too."""
        for node, apart in reversed(self._nodes):
            value = node.outputs[0]
            if apart.made is None or node.graph is None:
                continue
            if value.uses() or value.is_graph_output():
                made = apart.made.producer()
                build = self._builder(value, after=made)
                entries = reshape_entries(apart.sizes, apart.merged)
                merged = build.add("Reshape", apart.made, build.constant(entries or [-1]))
                _take_place(value, merged)
            remove_unused(self._graph, value)

    def _note(self, node: ir.Node, found: Apart) -> None:
        if (
            reshape_entries(found.sizes, found.merged) is not None
        ):  # else it could not be merged again
            self._apart[id(node.outputs[0])] = found
            self._nodes.append((node, found))

    def _known(self, value: ir.Value | None) -> Apart | None:
        return None if value is None else self._apart.get(id(value))

    def _builder(self, value: ir.Value, after: ir.Node | None = None) -> Builder:
        before = self._at
        if after is not None:
            nodes = list(self._graph)
            before = nodes[nodes.index(after) + 1]
        self._count += 1
        prefix = f"{value.name}/apart{self._count}"
        return Builder(self._graph, self._opset, prefix, before=before)

    def _copied(self, node: ir.Node, inputs: Sequence[ir.Value | None]) -> ir.Value:
        """Add a node that computes the same on other operands, under the same name."""
        output = ir.Value(name=f"{node.outputs[0].name}/apart", type=node.outputs[0].type)
        copy = ir.Node(
            "", node.op_type, inputs, list(node.attributes.values()), outputs=[output],
            name=node.name,
        )  # fmt: skip
        self._graph.insert_before(self._at or node, copy)
        return output

    def _reshape(self, node: ir.Node) -> None:
        """Start with axes that are merged, or end it where they are apart again."""
        source, output = node.inputs[0], node.outputs[0]
        known = self._known(source)
        before = known.sizes if known is not None else sizes_of(source)
        if source is None or before is None or node.inputs[1] is None:
            return
        wanted = completed(output, before)
        fine = None if wanted is None else refined(before, wanted)
        if wanted is None or fine is None or reshape_entries(before, fine[0]) is None:
            return
        if any(is_mixed(size) for size in wanted):

            def write() -> ir.Value:
                value = source if known is None else known.value()
                return self._reshaped(value, before, fine[0], output)

            self._note(node, Apart(fine[0], fine[1], write))
        elif known is not None and reshape_entries(before, wanted) is not None:
            made = self._reshaped(known.value(), before, wanted, output)
            if made is known.made and output.is_graph_output():
                made = self._builder(output).add("Identity", made)
            _take_place(output, made)
            remove_unused(self._graph, output)

    def _reshaped(
        self, value: ir.Value, before: ProductSizes, wanted: ProductSizes, name: ir.Value
    ) -> ir.Value:
        if before == wanted:
            return value
        build = self._builder(name)
        made = build.add("Reshape", value, build.constant(reshape_entries(before, wanted) or []))
        made.shape, made.type = named_shape(wanted), value.type
        return made

    def _transpose(self, node: ir.Node) -> Apart | None:
        known = self._known(node.inputs[0])
        if known is None or "perm" not in node.attributes:
            return None
        perm = list(node.attributes["perm"].as_ints())
        order = [axis for old in perm for axis in known.runs[old]]
        runs = tuple(tuple(order.index(axis) for axis in known.runs[old]) for old in perm)

        def write() -> ir.Value:
            made = self._builder(node.outputs[0]).add("Transpose", known.value(), perm=order)
            made.type = node.outputs[0].type
            return made

        return Apart(tuple(known.sizes[axis] for axis in order), runs, write)

    def _elementwise(self, node: ir.Node) -> Apart | None:
        """Return the output of a node that computes each entry, or the entries of the last axis."""
        operator = OPERATORS.get(node.op_type)
        last = node.op_type in ("Softmax", "LogSoftmax", "LayerNormalization")
        if operator is None or not (operator.elementwise or last) or len(node.outputs) > 1:
            return None
        found = [each for value in node.inputs if (each := self._known(value)) is not None]
        first = found[0] if found else None
        if first is None or any(not _alike(each, first) for each in found):
            return None
        if last:
            rank = len(first.runs)
            axis = attribute(node, "axis", -1)
            if axis not in (-1, rank - 1) or not first.single(1):
                return None
        others = [v for v in node.inputs if v is not None and self._known(v) is None]
        if any(not _fits(value, first) for value in others):
            return None
        sizes = tuple(max(parts) for parts in zip(*(each.sizes for each in found), strict=True))

        def write() -> ir.Value:
            inputs = [
                value if (each := self._known(value)) is None else each.value()
                for value in node.inputs
            ]
            made = self._copied(node, inputs)
            producer = made.producer()
            if last and producer is not None:
                producer.attributes["axis"] = ir.AttrInt64("axis", -1)
            return made

        return Apart(sizes, first.runs, write)

    def _matmul(self, node: ir.Node) -> Apart | None:
        left, right = (self._known(value) for value in node.inputs)
        if left is None or not left.single(1 if right is None else 2):
            return None
        if right is None:  # rows times weights
            matrix = node.inputs[1]
            weight = sizes_of(matrix)
            if matrix is None or weight is None or len(weight) != 2 or not is_constant(matrix):
                return None
            sizes = (*left.sizes[:-1], weight[1])
        else:
            same = left.runs == right.runs and left.sizes[:-2] == right.sizes[:-2]
            if not same or not right.single(2):
                return None
            sizes = (*left.sizes[:-1], right.sizes[-1])

        def write() -> ir.Value:
            second = node.inputs[1] if right is None else right.value()
            return self._copied(node, [left.value(), second])

        return Apart(sizes, left.runs, write)

    def _gemm(self, node: ir.Node) -> Apart | None:
        """Return the rows of a Gemm as tokens: a product with its weights, and its bias added."""
        known, weight = self._known(node.inputs[0]), node.inputs[1]
        factors = [node.attributes.get(name) for name in ("alpha", "beta")]
        plain = all(each is None or each.as_float() == 1 for each in factors)
        wide, transposed = sizes_of(weight), attribute(node, "transB", 0)
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if known is None or weight is None or wide is None or len(wide) != 2 or not plain:
            return None
        reads, writes = (wide[1], wide[0]) if transposed else (wide[0], wide[1])
        if attribute(node, "transA", 0) or (bias is not None and not is_constant(bias)):
            return None
        if bias is not None and sizes_of(bias) not in ((writes,), ((1, ()), writes)):
            return None
        tokens = tuple(known.sizes[axis] for axis in known.runs[0])
        if reshape_entries(known.sizes, (*tokens, reads)) is None:
            return None

        def write() -> ir.Value:
            value = self._reshaped(known.value(), known.sizes, (*tokens, reads), node.outputs[0])
            build = self._builder(node.outputs[0])
            matrix = _transposed(weight, build) if transposed else weight
            made = build.add("MatMul", value, matrix)
            made.shape, made.type = named_shape((*tokens, writes)), node.outputs[0].type
            producer = made.producer()
            if producer is not None and node.name:
                producer.name = node.name
            if bias is not None:
                made = build.add("Add", made, bias)
                made.type = node.outputs[0].type
            return made

        count = len(tokens)
        return Apart((*tokens, writes), (tuple(range(count)), (count,)), write)


def _alike(one: Apart, other: Apart) -> bool:
    """Whether merged axes of two tensors are merged from the same."""
    return one.runs == other.runs and all(
        one.sizes[axis] == other.sizes[axis]
        for run in one.runs
        for axis in (run if len(run) > 1 else ())
    )


def _fits(value: ir.Value, apart: Apart) -> bool:
    """Whether a tensor of other axes is broadcast over axes that are not merged."""
    sizes = sizes_of(value)
    if sizes is None:
        return False
    while sizes and sizes[0] == (1, ()):
        sizes = sizes[1:]
    rank = len(value.shape or ())
    return apart.single(len(sizes)) and (rank == len(sizes) or rank <= len(apart.sizes))


def _transposed(weight: ir.Value, build: Builder) -> ir.Value:
    """Return a weight transposed: a constant of its name, which names the layer, if it can be."""
    tensor = constant_tensor(weight)
    if tensor is None or len(weight.uses()) > 1 or weight.is_graph_input():
        made = build.add("Transpose", weight, perm=[1, 0])
        made.shape, made.type = ir.Shape(reversed(list(weight.shape or ()))), weight.type
        return made
    array, name = np.ascontiguousarray(tensor.numpy().T), weight.name or ""
    if weight.is_initializer():
        build.graph.initializers.pop(name)
    weight.name, weight.const_value = f"{name}/transposed", tensor
    stored = ir.tensor(array, dtype=tensor.dtype, name=name)
    made = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=stored
    )
    build.graph.register_initializer(made)
    return made


def _take_place(old: ir.Value, made: ir.Value) -> None:
    """Let a value be read in place of another, under its name."""
    made.shape, made.type, name = old.shape, old.type, old.name
    ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
    old.name, made.name = f"{name}/merged", name
