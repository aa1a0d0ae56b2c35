"""Find the heads of attentions: by products of two computed tensors, whatever the layout.

1. An operand of such a product has a matrix of units: heads are on an axis with one product for
   each entry, dimensions on the axis that is summed over (queries and keys) or free (values).
2. Heads are one head if they share units, as queries that share a key do.
3. The heads of scores are followed, through Softmax and masks, to the product with the values.
4. Every tensor in which these units lie must have them in heads and dimensions; else the units are
   no heads, and leave at one position of the longest axis (see ``group_ids``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from frivkit.graph.components import connected_components
from frivkit.graph.layout import NO_GROUP, SHAPE_ONLY, IntArray, Layout, shape_of
from frivkit.graph.names import node_label
from frivkit.graph.operators.attention import has_head_axis
from frivkit.graph.operators.effects import Coupled, Effect, Kept, Split, Untraceable
from frivkit.graph.operators.operator import Operators
from frivkit.graph.operators.table import effect
from frivkit.graph.sites.head_axes import Coordinates, LocatedLines, groups_by_axes, located_lines
from frivkit.graph.sites.heads import HeadBlock, Heads, numbered
from frivkit.graph.sites.products import Product, factors_of, product_of

GroupsBySite = Mapping[str, IntArray]  # by the name of a site, the group of each unit
Layouts = Mapping[str, tuple[tuple[str, Layout], ...]]


@dataclass(frozen=True, slots=True, eq=False)
class _Operand:
    """The units in one operand of a product.

    Attributes:
        node: The product.
        index: The operand.
        cells: The group of each dimension of each head, shape (heads, dimensions).
        letter: The letter of the axis of heads, None if there is none or are several.
        summed: Whether the dimensions are summed over.
    """

    node: ir.Node
    index: int
    cells: IntArray
    letter: str | None
    summed: bool


@dataclass(slots=True)
class _Links:
    """What connects the heads of operands.

    Attributes:
        pairs: Pairs of rows, numbered over all operands.
        fixed: Why no head of an operand can leave, by the operand's number.
        axes: Tensors with an axis of heads and no dimensions, such as scores: by name the axis, and
            the first row of the operand that the heads are of.
    """

    pairs: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    fixed: dict[int, str] = field(default_factory=dict)
    axes: dict[str, tuple[int, int, int]] = field(default_factory=dict)


def find_heads(
    graph: ir.Graph, layouts: Layouts, labels: GroupsBySite, count: int, operators: Operators
) -> tuple[tuple[Heads, ...], LocatedLines]:
    """Return the heads of all attentions of a graph.

    Args:
        graph: The graph.
        layouts: By the name of a tensor, the sites whose units lie in it, and their layouts.
        labels: The pruning group of each unit.
        count: The number of pruning groups; lines are numbered from there.
        operators: The operators, by name.

    Returns:
        The heads, and by the name of a tensor the groups and lines along its axes, for each tensor
        in which their units lie.
    """
    operands = list(_operands(graph, layouts, labels))
    if not operands:
        return (), {}
    starts = np.cumsum([0, *(len(each.cells) for each in operands)])
    links = _linked(graph, operands, starts, operators)
    heads = _assembled(operands, starts, links, count)
    values = {value.name or "": value for node in graph for value in node.outputs}
    values |= {value.name or "": value for value in graph.inputs}
    heads, located = located_lines(heads, layouts, labels, values, count)
    return heads, located | _score_lines(heads, operands, links, values)


def _operands(graph: ir.Graph, layouts: Layouts, labels: GroupsBySite) -> Iterator[_Operand]:
    for node in graph:
        for index, (product, side) in enumerate(factors_of(node)):
            value = node.inputs[index]
            parts = layouts.get((value.name if value else None) or "", ())
            for axes, cells in groups_by_axes(parts, labels).items():
                letters = tuple(product.operands[side][axis] for axis in axes)
                operand = _operand(node, index, product, letters, cells)
                if operand is not None and (operand.cells != NO_GROUP).all():
                    yield operand


def _operand(
    node: ir.Node, index: int, product: Product, letters: tuple[str, ...], cells: IntArray
) -> _Operand | None:
    """Return the units of an operand as heads and dimensions, None if they are none."""
    inner = [letter for letter in letters if not product.is_batch(letter)]
    if len(inner) != 1 or not (product.is_summed(inner[0]) or inner[0] in product.output):
        return None
    at = letters.index(inner[0])
    summed = product.is_summed(inner[0])
    if not summed and len(letters) == 1:
        return None  # values of one head: their units leave one by one
    # Along an axis of heads that share keys nothing changes.
    rows = np.moveaxis(cells, at, -1)
    others = [letter for letter in letters if letter != inner[0]]
    for axis in reversed(range(len(others))):
        first = np.take(rows, [0], axis=axis)
        if (rows == first).all():
            rows = first.squeeze(axis)
            others.pop(axis)
    rows = rows.reshape(-1, cells.shape[at])
    return _Operand(node, index, rows, others[0] if len(others) == 1 else None, summed)


def _linked(
    graph: ir.Graph, operands: list[_Operand], starts: IntArray, operators: Operators
) -> _Links:
    """Return which rows of operands are one head."""
    links = _Links()
    owner: dict[int, int] = {}
    for operand, start in zip(operands, starts.tolist(), strict=False):
        rows = np.repeat(np.arange(len(operand.cells)), operand.cells.shape[1]) + start
        firsts = [
            owner.setdefault(group, row)
            for group, row in zip(operand.cells.ravel().tolist(), rows.tolist(), strict=True)
        ]
        links.pairs.append((np.array(firsts, np.intp), rows))
    traversal = _Traversal(operands, starts, links, operators)
    links.pairs += _in_one_node(operands, starts)
    for number, operand in enumerate(operands):
        if len(operand.cells) == 1 or not operand.summed or has_head_axis(operand.node):
            continue
        product = product_of(operand.node)
        if operand.letter is None or product is None:
            links.fixed[number] = "its heads lie along several axes"
        else:
            traversal.follow(number, product.output.index(operand.letter))
    return links


def _in_one_node(operands: list[_Operand], starts: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Return pairs of rows of queries and values of attentions in one node."""
    pairs = []
    queries = {id(o.node): i for i, o in enumerate(operands) if o.index == 0}
    for number, operand in enumerate(operands):
        first = queries.get(id(operand.node))
        if operand.index == 2 and first is not None:
            count, own = len(operands[first].cells), len(operand.cells)
            rows = np.arange(max(count, own))
            of_queries, of_values = (rows * each // len(rows) for each in (count, own))
            pairs.append((of_queries + int(starts[first]), of_values + int(starts[number])))
    return pairs


class _Traversal:
    """Follows axes of heads from products to other products.

    Args:
        operands: The operands of all products.
        starts: The number of the first row of each.
        links: What is found is added to it.
        operators: The operators, by name.
    """

    def __init__(
        self, operands: list[_Operand], starts: IntArray, links: _Links, operators: Operators
    ) -> None:
        self._operands, self._starts, self._links = operands, starts, links
        self._operators = operators
        self._at: dict[tuple[int, int], list[int]] = {}
        for number, operand in enumerate(operands):
            self._at.setdefault((id(operand.node), operand.index), []).append(number)

    def follow(self, number: int, axis: int) -> None:
        """Follow the heads of an operand from an axis of the output of its product."""
        links, start = self._links, int(self._starts[number])
        count = len(self._operands[number].cells)
        waiting = [(self._operands[number].node.outputs[0], Layout((axis,), np.arange(count)))]
        seen: set[int] = set()
        while waiting:
            value, layout = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if not layout.whole:
                links.fixed.setdefault(number, f"{value.name!r} holds some of its heads")
                return
            links.axes.setdefault(value.name or "", (layout.axis, start, count))
            if value.is_graph_output():
                links.fixed.setdefault(number, f"its heads are in the output {value.name!r}")
            for use in value.uses():
                reached = self._next(start, use.node, use.idx, layout)
                if isinstance(reached, str):
                    links.fixed.setdefault(number, f"{node_label(use.node)}: {reached}")
                else:
                    waiting += reached

    def _next(
        self, start: int, node: ir.Node, index: int, layout: Layout
    ) -> list[tuple[ir.Value, Layout]] | str:
        """Return where an axis of heads is behind a node, or why it is not known where."""
        product = product_of(node)
        if product is not None:
            letter = product.operands[index][layout.axis]
            others = [
                number
                for number in self._at.get((id(node), 1 - index), [])
                if self._operands[number].letter == letter
                and len(self._operands[number].cells) == layout.size
            ]
            if not product.is_batch(letter) or not others:
                return "its heads meet what has none"
            rows = np.arange(layout.size)
            self._links.pairs += [
                (rows + start, rows + int(self._starts[other])) for other in others
            ]
            return []
        if node.op_type in SHAPE_ONLY:
            return []
        return _kept(node, effect(node, index, layout, self._operators))


def _kept(node: ir.Node, result: Effect) -> list[tuple[ir.Value, Layout]] | str:
    """Return the outputs of a node with an axis of heads, or why they are not known."""
    if isinstance(result, Kept):
        return [(node.outputs[0], result.layout)]
    if isinstance(result, Coupled) and result.kind in ("sum", "product"):
        return [(node.outputs[0], result.layout)]
    if isinstance(result, Split):
        pairs = zip(node.outputs, result.layouts, strict=False)
        return [(output, part) for output, part in pairs if part is not None]
    return result.reason if isinstance(result, Untraceable) else "its heads are mixed"


def _assembled(
    operands: list[_Operand], starts: IntArray, links: _Links, count: int
) -> tuple[Heads, ...]:
    """Return the heads that rows of operands make, numbered with their lines from ``count`` on."""
    total = int(starts[-1])
    head_of = connected_components(total, links.pairs)
    spans = [
        (np.full(len(each.cells), start), np.arange(len(each.cells)) + start)
        for each, start in zip(operands, starts.tolist(), strict=False)
    ]
    attention_of = connected_components(total, [*links.pairs, *spans])
    block_of = _blocks(operands)
    found: list[Heads] = []
    for attention in np.unique(attention_of).tolist():
        mine = [i for i in range(len(operands)) if attention_of[starts[i]] == attention]
        classes = np.unique(head_of[attention_of == attention])
        blocks = []
        for block in dict.fromkeys(int(block_of[i]) for i in mine):
            rows: dict[tuple[int, ...], int] = {}
            for i in mine:
                if block_of[i] == block:
                    for row, cells in enumerate(operands[i].cells.tolist()):
                        head = int(np.searchsorted(classes, head_of[starts[i] + row]))
                        rows.setdefault(tuple(dict.fromkeys(cells)), head)
            blocks.append(_block(rows))
        fixed = [links.fixed[i] for i in mine if i in links.fixed]
        if all(each is not None for each in blocks):
            whole = tuple(each for each in blocks if each is not None)
            if len(classes) == 1:
                fixed = ["it is the only one"]
            found.append(Heads(len(classes), 0, whole, fixed[0] if fixed else None))
    return numbered(found, count)


def _blocks(operands: list[_Operand]) -> IntArray:
    """Return the block of each operand: those that share groups are one."""
    owner: dict[int, int] = {}
    pairs = [
        (np.array([owner.setdefault(group, number)]), np.array([number]))
        for number, operand in enumerate(operands)
        for group in np.unique(operand.cells).tolist()
    ]
    return connected_components(len(operands), pairs)


def _block(rows: Mapping[tuple[int, ...], int]) -> HeadBlock | None:
    """Return a block of rows, None if they are no matrix."""
    groups = [group for row in rows for group in row]
    if len({len(row) for row in rows}) != 1 or len(set(groups)) < len(groups):
        return None
    return HeadBlock(np.array(list(rows), np.intp), np.array(list(rows.values()), np.intp), 0)


def _score_lines(
    heads: tuple[Heads, ...],
    operands: list[_Operand],
    links: _Links,
    values: Mapping[str, ir.Value],
) -> LocatedLines:
    """Return the lines along the axes of heads of scores and of what is computed from them."""
    where = Coordinates.of(heads)
    starts = np.cumsum([0, *(len(each.cells) for each in operands)])
    located: dict[str, dict[int, IntArray]] = {}
    for name, (axis, start, count) in links.axes.items():
        operand = operands[int(np.searchsorted(starts, start))]
        lines = where.head_line(operand.cells[:, 0])
        sizes = shape_of(values.get(name))
        if (lines != NO_GROUP).all() and sizes is not None and sizes[axis] == count:
            located[name] = {axis: lines}
    return located
