"""Scores of attention: products of queries and keys in front of a Softmax."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.layout import NO_GROUP, IntArray, attribute, rank_of, shape_of
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.onnx_io.evaluate import constant_array, evaluate
from frivkit.graph.operators.attention import has_head_axis
from frivkit.graph.sites.groups import PruningGraph
from frivkit.graph.sites.head_axes import groups_by_axes
from frivkit.graph.sites.products import Product, factors_of, product_of
from frivkit.graph.sites.site_map import SiteMap

_LINEAR = ("Mul", "Div")
_OPEN_SIZES = (7919, 7907)  # what is computed is known if it is the same for both
_PASSING = ("Add", "Sub", "Where", "Cast", "Identity", "Dropout", "Reshape", "Max", "Clip")


@dataclass(frozen=True, slots=True, eq=False)
class HeadOperand:
    """An operand of a product with heads, as a tensor to read.

    Attributes:
        tensor: Its name.
        heads: The axis of heads, None if there is one head.
        dimensions: The axis of dimensions.
        positions: The axis of positions (tokens).
        groups: The pruning group of each dimension, shape (heads, dimensions).
    """

    tensor: str
    heads: int | None
    dimensions: int
    positions: int
    groups: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """A product of queries and keys, and what the Softmax behind it weighs.

    Attributes:
        node: The label of the product.
        query: The operand of which each position has a Softmax of its own.
        key: The operand whose positions the Softmax runs over.
        scale: The constant factor of scores in front of the Softmax.
        weights: The tensor behind the Softmax, of the axes (batch, heads, queries, keys); None if
            the product and the Softmax are one node.
        value: The tensor that is weighed, None if it has no units.
    """

    node: str
    query: HeadOperand
    key: HeadOperand
    scale: float
    weights: str | None
    value: HeadOperand | None


def find_scores(model: Model, site_map: SiteMap, pruning_graph: PruningGraph) -> tuple[Score, ...]:
    """Return the scores of all attentions whose dimensions can leave, in the order of the graph.

    Args:
        model: The model, with known shapes.
        site_map: Its sites.
        pruning_graph: Its pruning groups.
    """
    return tuple(_scores(model, site_map, pruning_graph))


def _scores(model: Model, site_map: SiteMap, pruning_graph: PruningGraph) -> Iterator[Score]:
    opset = model.ir.opset_imports.get("", 1)
    in_heads = {group for each in pruning_graph.groups.heads for group in each.groups.tolist()}

    def operand(node: ir.Node, index: int) -> HeadOperand | None:
        """Return queries or keys, which are in heads, or values, which in one head need not be."""
        product, side = factors_of(node)[index]
        value, letters = node.inputs[index], product.operands[side]
        parts = site_map.layouts.get((value.name if value else None) or "", ())
        found = [
            each
            for axes, groups in groups_by_axes(parts, pruning_graph.assignment.of).items()
            if (each := _operand(value, letters, product, axes, groups)) is not None
        ]
        known = [
            each
            for each in found
            if not product.is_summed(letters[each.dimensions])
            or in_heads.issuperset(each.groups.ravel().tolist())
        ]
        return known[0] if len(known) == 1 else None

    for node in model.graph:
        product = product_of(node)
        softmax = None if product is None else _softmax_behind(node, opset)
        if product is None or softmax is None:
            found = _in_one_node(node, operand)
            if found is not None:
                yield found
            continue
        left, right = (operand(node, index) for index in (0, 1))
        normalized, scale = softmax
        letter = product.output[attribute(normalized, "axis", -1) % len(product.output)]
        if left is None or right is None or letter not in product.operands[0] + product.operands[1]:
            continue
        query, key = (left, right) if letter in product.operands[1] else (right, left)
        last = letter == product.output[-1]
        value = _weighed(normalized, operand) if last else None
        yield Score(node_label(node), query, key, scale, normalized.outputs[0].name or "", value)


def _in_one_node(
    node: ir.Node, operand: Callable[[ir.Node, int], HeadOperand | None]
) -> Score | None:
    """Return the scores of an attention in one node, None for any other node."""
    if not has_head_axis(node):
        return None
    query, key, value = (operand(node, index) for index in range(3))
    if query is None or key is None:
        return None
    given = node.attributes.get("scale")
    scale = query.groups.shape[1] ** -0.5 if given is None else given.as_float()
    return Score(node_label(node), query, key, scale, None, value)


def _operand(
    value: ir.Value | None,
    letters: str,
    product: Product,
    axes: tuple[int, ...],
    groups: IntArray,
) -> HeadOperand | None:
    """Return an operand whose units lie in heads and dimensions, None for any other."""
    inner = [axis for axis in axes if not product.is_batch(letters[axis])]
    outer = [axis for axis in axes if product.is_batch(letters[axis])]
    free = [a for a, x in enumerate(letters) if not product.is_batch(x) and a not in inner]
    if value is None or len(inner) != 1 or len(outer) > 1 or len(free) != 1:
        return None
    if (groups == NO_GROUP).any() or len(letters) > 4:
        return None
    matrix = groups[np.newaxis] if not outer else np.moveaxis(groups, axes.index(inner[0]), 1)
    heads = outer[0] if outer else None
    if heads == 0 or (heads is None and len(letters) > 3 and (shape_of(value) or ())[1] != 1):
        return None
    return HeadOperand(value.name or "", heads, inner[0], free[0], matrix)


def _softmax_behind(node: ir.Node, opset: int) -> tuple[ir.Node, float] | None:
    """Return the Softmax behind a product, and the constant factor in front of it."""
    value, scale = node.outputs[0], 1.0
    while True:
        uses = list(value.uses())
        if len(uses) != 1 or value.is_graph_output():
            return None
        behind, index = uses[0].node, uses[0].idx
        if behind.op_type == "Softmax":
            return behind, scale
        if behind.op_type in _LINEAR:
            factor = scalar(behind.inputs[1 - index], opset)
            if factor is None or (behind.op_type == "Div" and index == 1):
                return None
            scale = scale * factor if behind.op_type == "Mul" else scale / factor
        elif behind.op_type not in _PASSING or rank_of(behind.outputs[0]) != rank_of(value):
            return None
        value = behind.outputs[0]


def scalar(value: ir.Value | None, opset: int) -> float | None:
    """Return the only number of a tensor that is constant, or computed from known sizes.

    Args:
        value: The tensor.
        opset: The version of the standard operators.

    Returns:
        The number; None if there are more, or if it depends on inputs or on open sizes.
    """
    sizes = None if value is None else shape_of(value)
    if sizes is not None and any(size != 1 for size in sizes):  # such as a residual stream
        return None
    found = [_Entries(opset, size).of(value) for size in _OPEN_SIZES]
    numbers = {float(each.ravel()[0]) for each in found if each is not None and each.size == 1}
    return numbers.pop() if len(numbers) == 1 and None not in found else None


class _Entries:
    """The entries of tensors if open sizes had a value.

    Each tensor is computed once: behind residual sums there are exponentially many ways back.
    """

    def __init__(self, opset: int, open_size: int) -> None:
        self._opset, self._open_size = opset, open_size
        self._known: dict[int, NDArray[Any] | None] = {}

    def of(self, value: ir.Value | None) -> NDArray[Any] | None:
        """Return the entries of a tensor, None if inputs matter."""
        if id(value) not in self._known:
            self._known[id(value)] = self._computed(value)
        return self._known[id(value)]

    def _computed(self, value: ir.Value | None) -> NDArray[Any] | None:
        known = constant_array(value, self._opset)
        node = None if value is None else value.producer()
        if known is not None or node is None or node.domain not in ("", "ai.onnx"):
            return known
        if node.op_type == "Shape":
            sizes = shape_of(node.inputs[0])
            if sizes is None:
                return None
            whole = np.array([self._open_size if n is None else n for n in sizes], np.int64)
            return whole[attribute(node, "start", 0) : attribute(node, "end", len(sizes))]
        operands: list[NDArray[Any] | None] = []
        for each in node.inputs:
            operands.append(self.of(each))
            if operands[-1] is None and each is not None:
                return None
        if not operands:
            return None
        results = evaluate(node, operands, self._opset)
        at = next(i for i, output in enumerate(node.outputs) if output is value)
        return None if results is None or at >= len(results) else results[at]


def _weighed(
    softmax: ir.Node, operand: Callable[[ir.Node, int], HeadOperand | None]
) -> HeadOperand | None:
    """Return the values that a Softmax weighs, None if they have no units."""
    value = softmax.outputs[0]
    while len(uses := list(value.uses())) == 1:
        node, index = uses[0].node, uses[0].idx
        product = product_of(node)
        if product is not None:
            return operand(node, 1 - index)
        if node.op_type not in ("Dropout", "Cast", "Identity"):
            return None
        value = node.outputs[0]
    return None
