"""Follow the units of every site through the graph: who reads them, where they meet, where lost."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from frivkit.graph.coupling import Junction, Part
from frivkit.graph.layout import SHAPE_ONLY, Effect, Ends, Joins, Keeps, Layout, Reads, shape_of
from frivkit.graph.model import bodies, is_constant, reads
from frivkit.graph.names import node_label
from frivkit.graph.rules import effect


@dataclass(slots=True)
class Found:
    """A site under construction.

    Attributes:
        value: Its tensor.
        layout: Where its units lie there.
        writers: The weighted nodes that write it.
        readers: Labels of the weighted nodes that read its units, in order.
        ends: Why its units could not be followed further, or cannot leave, in order.
    """

    value: ir.Value
    layout: Layout
    writers: list[ir.Node] = field(default_factory=list)
    readers: dict[str, None] = field(default_factory=dict)
    ends: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Met:
    """Units that come to a joining node by one of its inputs."""

    site: str
    index: int
    joins: Joins

    @property
    def place(self) -> tuple[object, ...]:
        """What is equal for units that lie position by position on each other."""
        there = self.joins.layout
        if self.joins.kind == "concat":
            return (self.joins.kind,)
        return (self.joins.kind, there.axis, there.inner, there.outer, there.span)


@dataclass(frozen=True, slots=True)
class Followed:
    """Where units go.

    Attributes:
        junctions: Where sites meet, in the order of the graph.
        layouts: The sites whose units lie in a tensor, by the tensor's name, and where.
    """

    junctions: tuple[Junction, ...]
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]]


def follow(graph: ir.Graph, found: Mapping[str, Found], fresh: Mapping[int, Layout]) -> Followed:
    """Note readers and ends in every site, and give where their units lie and where sites meet.

    Args:
        graph: The graph.
        found: The sites by name; their readers and ends are filled in.
        fresh: Where each writer's units lie in its output, by ``id(node)``.
    """
    written = {id(node): name for name, site in found.items() for node in site.writers}
    lying: _Lying = {}
    layouts: dict[str, tuple[tuple[str, Layout], ...]] = {}
    junctions: list[Junction] = []
    for node in (node for node in graph if node.op_type not in SHAPE_ONLY and node.outputs):
        out, met = _arriving(node, lying, found)
        writer = written.get(id(node))
        junctions.extend(_junctions(node, met, writer))
        _note(node, met, writer, found)
        out += [(each.site, each.joins.layout) for each in met if each.joins.kind != "depthwise"]
        if writer is not None:
            out = _instead(out, writer, fresh[id(node)])
        name = node.outputs[0].name or ""
        if name in found:
            out = _instead(out, name, found[name].layout)
        lying[id(node.outputs[0])] = list(dict.fromkeys(out))
        if out:
            layouts[name] = tuple(lying[id(node.outputs[0])])
    return Followed(tuple(junctions), layouts)


_Lying = dict[int, list[tuple[str, Layout]]]  # the sites in a tensor, by id(value), and where


def _arriving(
    node: ir.Node, lying: _Lying, found: Mapping[str, Found]
) -> tuple[list[tuple[str, Layout]], list[_Met]]:
    """Give the units that go on alone and those that meet others; note who reads and what ends."""
    out: list[tuple[str, Layout]] = []
    met: list[_Met] = []
    for index, value in enumerate(node.inputs):
        known: dict[Layout, Effect] = {}  # in a long residual stage hundreds lie alike
        for name, layout in lying.get(id(value), ()):
            if layout not in known:
                known[layout] = effect(node, index, layout)
            what = known[layout]
            if isinstance(what, Keeps):
                out.append((name, what.layout))
            elif isinstance(what, Joins):
                met.append(_Met(name, index, what))
            elif isinstance(what, Reads):
                found[name].readers[node_label(node)] = None
            elif isinstance(what, Ends):
                found[name].ends[f"{node_label(node)}: {what.reason}"] = None
    for name in {name for value in _inside(node) for name, _ in lying.get(id(value), ())}:
        found[name].ends[f"{node_label(node)}: read in a graph that is not entered"] = None
    return out, met


def _instead(
    out: Iterable[tuple[str, Layout]], name: str, layout: Layout
) -> list[tuple[str, Layout]]:
    """Let a site's units stand for all that lie on its axis; those on other axes stay."""
    return [*((other, lies) for other, lies in out if lies.axis != layout.axis), (name, layout)]


def _inside(node: ir.Node) -> list[ir.Value]:
    """Give what a node's bodies take from outside."""
    return reads(node)[sum(value is not None for value in node.inputs) :] if bodies(node) else []


def _junctions(node: ir.Node, met: Iterable[_Met], writer: str | None) -> Iterator[Junction]:
    groups: dict[tuple[object, ...], list[Part]] = {}
    for each in met:
        groups.setdefault(each.place, []).append(Part(each.site, each.joins.layout.offset))
    for (kind, *_), parts in groups.items():
        if kind == "depthwise" and writer is not None:  # each unit is read into one of its own
            parts.append(Part(writer, 0))
        if len(set(parts)) > 1:
            yield Junction(node.outputs[0].name or "", str(kind), tuple(dict.fromkeys(parts)))


def _note(node: ir.Node, met: list[_Met], writer: str | None, found: Mapping[str, Found]) -> None:
    """Note who reads units, and which cannot leave for they meet something that no site writes."""
    lying = {(each.index, each.place) for each in met}
    alone = {
        (index, place): value
        for place, layout in {each.place: each.joins.layout for each in met}.items()
        for index, value in enumerate(node.inputs)
        if value is not None and (index, place) not in lying and _spans(value, node, layout)
    }
    for each in met:
        site = found[each.site]
        if each.joins.kind == "depthwise":
            site.readers[node_label(node)] = None
            if writer is None:
                site.ends[f"{node_label(node)}: carried into units that are not analysed"] = None
        elif each.joins.kind != "concat":
            for (_, place), other in alone.items():
                if place == each.place:
                    reason = f"met by {other.name!r}, where no units lie along their axis"
                    site.ends[f"{node_label(node)}: {reason}"] = None


def _spans(other: ir.Value, node: ir.Node, layout: Layout) -> bool:
    """Tell whether a computed operand has entries of its own for each unit."""
    mine, whole = shape_of(other), shape_of(node.outputs[0])
    if is_constant(other) or mine is None or whole is None:
        return False
    axis = layout.axis - (len(whole) - len(mine))
    return axis >= 0 and mine[axis] != 1
