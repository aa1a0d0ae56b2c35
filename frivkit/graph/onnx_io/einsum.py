"""Write Einsum as Transpose, Reshape and MatMul, which units are followed through.

An equation over two tensors is a matrix product for each entry of the labels that both tensors and
the result have.  What is computed stays the same, up to the order in which numbers are summed.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import rank_of, shape_of
from frivkit.graph.model import constant_tensor
from frivkit.graph.operators.equation import Labels, parse_equation

OLDEST = 13
"""The first opset in which the axes of Unsqueeze, Squeeze and ReduceSum are inputs."""


def write_einsum_as_products(model: ir.Model) -> bool:
    """Replace Einsum nodes by nodes of other operators.

    An Einsum stays as it is if a label occurs twice in one operand, or if sizes that a Reshape
    needs are not known.

    Args:
        model: The model, with inferred shapes; it is changed.  New tensors have no shapes yet.

    Returns:
        Whether a node was replaced.
    """
    graph, opset = model.graph, model.opset_imports.get("", 1)
    matrices: dict[tuple[object, ...], ir.Value] = {}
    replaced = False
    for node in list(graph):
        if node.op_type != "Einsum" or node.domain not in ("", "ai.onnx") or opset < OLDEST:
            continue
        if any(value is None or rank_of(value) is None for value in node.inputs):
            continue
        terms, result = parse_equation(node)
        if any(len(set(labels)) < len(labels) for labels in (*terms, result)):
            continue
        writing = _Writing(graph, node, opset, matrices)
        if writing.replace(terms, result):
            replaced = True
    if replaced:
        _drop_unused(graph)
    return replaced


class _UnknownSizeError(Exception):
    """A size that a Reshape needs is not known."""


class _Writing:
    """An Einsum that is being replaced."""

    def __init__(
        self,
        graph: ir.Graph,
        node: ir.Node,
        opset: int,
        matrices: dict[tuple[object, ...], ir.Value],
    ) -> None:
        self._graph, self._node, self._matrices = graph, node, matrices
        name = node.name or node.outputs[0].name or "Einsum"
        self._build = Builder(graph, opset, f"{name}/product", before=node)
        self._size: dict[str, int | None] = {}
        self._added: list[ir.Node] = []
        self._named: ir.Node | None = None

    def replace(self, terms: Sequence[Labels], result: Labels) -> bool:
        """Replace the node, unless sizes are not known; return whether it was replaced."""
        operands = [value for value in self._node.inputs if value is not None]
        for labels, value in zip(terms, operands, strict=True):
            for label, size in zip(labels, shape_of(value) or (), strict=True):
                self._size[label] = (
                    size if self._size.get(label) in (None, 1) else self._size[label]
                )
        try:
            value, labels = operands[0], terms[0]
            for number in range(1, len(operands)):
                later = {label for term in (*terms[number + 1 :], result) for label in term}
                value, labels = self._pair(value, labels, operands[number], terms[number], later)
            value, labels = self._summed(value, labels, set(result))
            value = self._ordered(value, labels, result)
        except _UnknownSizeError:
            self._undo()
            return False
        if value.producer() is None or value in operands:
            value = self._add("Identity", value)
        self._finish(value)
        return True

    def _pair(
        self, a: ir.Value, left: Labels, b: ir.Value, right: Labels, later: set[str]
    ) -> tuple[ir.Value, Labels]:
        """Return the product of two tensors, summed over labels that nothing needs later."""
        a, left = self._summed(a, left, later | set(right))
        b, right = self._summed(b, right, later | set(left))
        contracted = tuple(label for label in left if label in right and label not in later)
        if not contracted:
            return self._times(a, left, b, right)
        only_left = [label for label in left if label not in right]
        only_right = [label for label in right if label not in left]
        is_left_constant = constant_tensor(a) is not None
        is_right_constant = constant_tensor(b) is not None
        swap = is_left_constant or (
            not is_right_constant and len(only_right) > 1 and len(only_left) <= 1
        )
        return (
            self._matmul(b, right, a, left, contracted)
            if swap
            else self._matmul(a, left, b, right, contracted)
        )

    def _times(
        self, a: ir.Value, left: Labels, b: ir.Value, right: Labels
    ) -> tuple[ir.Value, Labels]:
        labels = (*left, *(label for label in right if label not in left))
        factors = []
        for value, own in ((a, left), (b, right)):
            order = tuple(label for label in labels if label in own)
            value = self._ordered(value, own, order)  # noqa: PLW2901
            missing = [axis for axis, label in enumerate(labels) if label not in own]
            factors.append(self._unsqueezed(value, missing))
        product = self._add("Mul", *factors)
        self._name(product)
        return product, labels

    def _matmul(
        self, a: ir.Value, left: Labels, b: ir.Value, right: Labels, contracted: Labels
    ) -> tuple[ir.Value, Labels]:
        """Return a product of matrices, in which ``b`` may be the weight."""
        shared = tuple(label for label in left if label in right and label not in contracted)
        rows = tuple(label for label in left if label not in right)
        columns = tuple(label for label in right if label not in left)
        front = (*rows[:-1], *shared, *rows[-1:])
        a = self._ordered(a, left, (*front, *contracted))
        if not rows:
            a = self._unsqueezed(a, [len(front)])
        if len(contracted) > 1:
            a = self._reshaped(a, [0] * (len(front) + (not rows)), [contracted])
        b = self._right_factor(b, right, shared, contracted, columns)
        product = self._add("MatMul", a, b)
        self._name(product)
        labels = (*front, *columns)
        if not rows:
            product = self._squeezed(product, len(front))
        if not columns:
            return self._squeezed(product, len(front)), labels
        if len(columns) > 1:
            product = self._reshaped(product, [0] * len(front), [(each,) for each in columns])
        return product, labels

    def _right_factor(
        self, b: ir.Value, right: Labels, shared: Labels, contracted: Labels, columns: Labels
    ) -> ir.Value:
        """Return the right factor as a matrix for each entry of the shared labels."""
        order = (*shared, *contracted, *columns)
        tensor = constant_tensor(b)
        if tensor is None:
            b = self._ordered(b, right, order)
            if len(contracted) > 1 or len(columns) > 1:
                return self._reshaped(b, [0] * len(shared), [contracted, columns])
            return b if columns else self._unsqueezed(b, [len(order)])
        perm = tuple(right.index(label) for label in order)
        array = tensor.numpy()
        sizes = [array.shape[axis] for axis in perm]
        first, second = len(shared), len(shared) + len(contracted)
        shape = (*sizes[:first], prod(sizes[first:second]), prod(sizes[second:]))
        if perm == tuple(range(len(perm))) and shape == array.shape:
            return b
        if len(b.uses()) > 1 and len(shape) == len(perm):  # tied weights stay one tensor
            return self._ordered(b, right, order)
        key = (id(b), perm, shape)
        if key not in self._matrices:
            matrix = np.ascontiguousarray(array.transpose(perm).reshape(shape))
            self._matrices[key] = self._constant(b, matrix, tensor.dtype)
        return self._matrices[key]

    def _constant(self, old: ir.Value, array: np.ndarray, dtype: ir.DataType) -> ir.Value:
        """Register a rearranged weight; one that nothing else reads keeps its name."""
        name = old.name or "weight"
        if len(old.uses()) == 1 and old.is_initializer() and not old.is_graph_input():
            del self._graph.initializers[name]
            old.name = f"{name}/before"
            self._graph.initializers[old.name] = old
        else:
            name = f"{name}/matrix{len(self._matrices)}"
        tensor = ir.tensor(array, dtype=dtype, name=name)
        value = ir.Value(
            name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(dtype)
        )
        self._graph.register_initializer(value)
        return value

    def _summed(self, value: ir.Value, labels: Labels, needed: set[str]) -> tuple[ir.Value, Labels]:
        gone = [axis for axis, label in enumerate(labels) if label not in needed]
        if not gone:
            return value, labels
        left = tuple(label for label in labels if label in needed)
        return self._add("ReduceSum", value, self._build.constant(gone), keepdims=0), left

    def _ordered(self, value: ir.Value, labels: Labels, order: Labels) -> ir.Value:
        if labels == order:
            return value
        return self._add("Transpose", value, perm=[labels.index(each) for each in order])

    def _reshaped(self, value: ir.Value, front: list[int], parts: Sequence[Labels]) -> ir.Value:
        """Reshape the axes behind those in front, which are copied, to one axis for each part."""
        sizes = [[self._size.get(label) for label in part] for part in parts]
        numbers = [
            -1 if None in each else prod(size for size in each if size is not None)
            for each in sizes
        ]
        if numbers.count(-1) > 1:
            raise _UnknownSizeError
        return self._add("Reshape", value, self._build.constant([*front, *numbers]))

    def _unsqueezed(self, value: ir.Value, axes: list[int]) -> ir.Value:
        return self._add("Unsqueeze", value, self._build.constant(axes)) if axes else value

    def _squeezed(self, value: ir.Value, axis: int) -> ir.Value:
        return self._add("Squeeze", value, self._build.constant([axis]))

    def _add(self, op: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        value = self._build.add(op, *inputs, **attributes)
        self._added.extend(node for node in (value.producer(),) if node is not None)
        return value

    def _name(self, value: ir.Value) -> None:
        """Give a node the name of the Einsum; of several products the last one has it."""
        node = value.producer()
        if node is None or not self._node.name:
            return
        if self._named is not None:
            self._named.name = self._named.outputs[0].name
        node.name, self._named = self._node.name, node

    def _finish(self, result: ir.Value) -> None:
        old = self._node.outputs[0]
        result.shape, result.type, name = old.shape, old.type, old.name
        ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
        self._graph.remove(self._node, safe=True)
        old.name, result.name = f"{name}/einsum", name

    def _undo(self) -> None:
        """Remove the nodes that were added."""
        for node in reversed(self._added):
            self._graph.remove(node, safe=True)


def _drop_unused(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
