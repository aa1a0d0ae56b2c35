"""Find the branches of residual blocks: what is computed from a tensor and then added to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import SHAPE_ONLY, rank_of, shape_of
from frivkit.graph.model import Model, is_constant, subgraphs
from frivkit.graph.names import node_label
from frivkit.graph.operators.operator import Operators, operator_name
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.norms_behind import norm_behind
from frivkit.graph.sites.site_map import SiteMap


@dataclass(frozen=True, slots=True)
class ResidualBranch:
    """The branch of a residual block: ``sum = skip + branch(skip)``.

    Attributes:
        add: The label of the Add or Sum.
        total: The name of the sum.
        output: The name of the tensor that the branch ends in.
        skip: The name of the tensor that it starts from and is added to, of the same shape.
        nodes: The labels of the nodes that nothing but the branch needs, in the order of the graph.
        norm: The output of a norm that reads the sum; None if none does.
        axis: The axis of the tensor along which its channels lie.
        channels: Their number.
    """

    add: str
    total: str
    output: str
    skip: str
    nodes: tuple[str, ...]
    axis: int
    channels: int
    norm: str | None = None


def find_branches(model: Model, site_map: SiteMap) -> tuple[ResidualBranch, ...]:
    """Return the branches that can be left out, in the order of their sums; they may be nested.

    A branch has weights, starts from the skip and is needed by nothing else.  Beside the skip it
    may read what no weights went into, such as an attention mask or a shape.

    Args:
        model: The model, with known shapes.
        site_map: Its sites, which say along which axis channels lie.
    """
    operators = operators_of(model)
    order = {node: number for number, node in enumerate(model.graph)}
    branches = []
    for add in model.graph:
        for skip, output in _summands(add):
            nodes = sorted(_exclusive_nodes(add, skip, output), key=order.__getitem__)
            axis = _channel_axis(output, site_map)
            channels = (shape_of(output) or ())[axis]
            if channels is not None and _starts_from(skip, nodes, operators):
                labels = tuple(node_label(node) for node in nodes if not _is_constant_node(node))
                total, end, start = (v.name or "" for v in (add.outputs[0], output, skip))
                branch = ResidualBranch(
                    node_label(add),
                    total,
                    end,
                    start,
                    labels,
                    axis,
                    channels,
                    norm_behind(add.outputs[0]),
                )
                branches.append(branch)
    return tuple(branches)


def _summands(node: ir.Node) -> Iterator[tuple[ir.Value, ir.Value]]:
    """Yield two computed summands of equal shape in both orders, nothing for other nodes."""
    if node.op_type not in ("Add", "Sum") or len(node.inputs) != 2:
        return
    first, second = node.inputs
    if first is None or second is None or first is second or is_constant(first):
        return
    if first.shape is None or first.shape != second.shape or len(first.shape) < 2:
        return
    if not is_constant(second):
        yield first, second
        yield second, first


def _exclusive_nodes(add: ir.Node, skip: ir.Value, output: ir.Value) -> set[ir.Node]:
    """Return the nodes that nothing but one summand of a sum needs."""
    inside: set[ir.Node] = set()
    pending: list[ir.Value | None] = [output]
    while pending:
        value = pending.pop()
        node = None if value is None else value.producer()
        if node is None or node in inside or subgraphs(node) or skip in node.outputs:
            continue
        users = {use.node for made in node.outputs for use in made.uses()}
        if users <= inside | {add} and not any(made.is_graph_output() for made in node.outputs):
            inside.add(node)
            pending.extend(node.inputs)  # a node that others need, too, is seen again from them
    return inside


def _starts_from(skip: ir.Value, nodes: Sequence[ir.Node], operators: Operators) -> bool:
    """Whether nodes have weights and read, of all that weights went into, the skip alone."""
    made = {value for node in nodes for value in node.outputs}
    read = {value for node in nodes for value in node.inputs if value is not None} - made
    return (
        skip in read
        and any(_has_weights(node, operators) for node in nodes)
        and all(value is skip or _is_weightless(value, operators) for value in read)
    )


def _has_weights(node: ir.Node, operators: Operators) -> bool:
    """Whether a node produces units by constant weights."""
    operator = operators.get(operator_name(node))
    weighted = operator is not None and operator.weights is not None
    return weighted and any(value is not None and is_constant(value) for value in node.inputs[1:])


def _is_weightless(value: ir.Value, operators: Operators) -> bool:
    """Whether a value is computed from inputs of the model, constants and shapes alone."""
    pending, seen = [value], set()
    while pending:
        current = pending.pop()
        node = current.producer()
        if current in seen or node is None or node.op_type in SHAPE_ONLY:
            continue
        seen.add(current)
        if subgraphs(node) or _has_weights(node, operators):
            return False
        pending.extend(each for each in node.inputs if each is not None)
    return True


def _channel_axis(value: ir.Value, site_map: SiteMap) -> int:
    """Return the axis along which channels lie: of units, else 1 for images and the last else."""
    axes = {layout.axes for _, layout in site_map.layouts.get(value.name or "", ())}
    if len(axes) == 1 and len(only := axes.pop()) == 1:
        return only[0]
    rank = rank_of(value) or 0
    return 1 if rank in (4, 5) else rank - 1


def _is_constant_node(node: ir.Node) -> bool:
    return all(value is None or is_constant(value) for value in node.inputs)
