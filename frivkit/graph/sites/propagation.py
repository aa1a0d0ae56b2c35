"""Follow the units of every site through the graph: who reads them, where they meet, where lost."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from frivkit.graph.coupling import MergePoint, SitePart
from frivkit.graph.layout import SHAPE_ONLY, Layout, shape_of
from frivkit.graph.model import consumed_values, is_constant, subgraphs
from frivkit.graph.names import node_label
from frivkit.graph.operators.effects import Consumed, Coupled, Effect, Kept, Split, Untraceable
from frivkit.graph.operators.operator import Operators
from frivkit.graph.operators.table import effect


@dataclass(slots=True)
class SiteDraft:
    """A site under construction.

    Attributes:
        value: Its tensor.
        layout: Where its units lie there.
        producers: The weighted nodes that write it.
        consumers: Labels of the weighted nodes that read its units, in order.
        ends: Why its units could not be followed further, or cannot leave, in order.
        joint: The Concat whose parts are this one site, None for any other site.
    """

    value: ir.Value
    layout: Layout
    producers: list[ir.Node] = field(default_factory=list)
    consumers: dict[str, None] = field(default_factory=dict)
    ends: dict[str, None] = field(default_factory=dict)
    joint: ir.Node | None = None


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Units that come to a joining node by one of its inputs."""

    site: str
    index: int
    joins: Coupled

    @property
    def place(self) -> tuple[object, ...]:
        """What is equal for units that lie position by position on each other."""
        there = self.joins.layout
        if self.joins.kind == "concat":
            return (self.joins.kind,)
        return (self.joins.kind, there.axes, there.units.shape)


@dataclass(frozen=True, slots=True)
class Propagation:
    """Where units go.

    Attributes:
        merge_points: Where sites meet, in the order of the graph.
        layouts: The sites whose units lie in a tensor, by the tensor's name, and where.
    """

    merge_points: tuple[MergePoint, ...]
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]]


def propagate(
    graph: ir.Graph,
    found: Mapping[str, SiteDraft],
    fresh: Mapping[int, Layout],
    operators: Operators,
) -> Propagation:
    """Note readers and ends in every site, and give where their units lie and where sites meet.

    Args:
        graph: The graph.
        found: The sites by name; their readers and ends are filled in.
        fresh: Where each writer's units lie in its output, by ``id(node)``, numbered as those of
            its site.
        operators: What each operator does to units.
    """
    written = {id(node): name for name, site in found.items() for node in site.producers}
    joints = {id(site.joint): name for name, site in found.items() if site.joint is not None}
    located: _Located = {}
    layouts: dict[str, tuple[tuple[str, Layout], ...]] = {}
    merge_points: list[MergePoint] = []
    for node in (node for node in graph if node.op_type not in SHAPE_ONLY and node.outputs):
        outs, met = _arriving(node, located, found, operators)
        writer = written.get(id(node))
        if id(node) in joints:
            merge_points.extend(_joined(node, met, joints[id(node)], found))
        else:
            merge_points.extend(
                each for each in _merge_points(node, met, writer, fresh) if not _within(each, found)
            )
        _note(node, met, writer, found)
        outs[0] += [(e.site, e.joins.layout) for e in met if e.joins.kind not in _ENDING]
        if writer is not None:
            outs[0] = _instead(outs[0], writer, fresh[id(node)])
        for value, out in zip(node.outputs, outs, strict=True):
            name, here = value.name or "", out
            if name in found:
                here = _instead(out, name, found[name].layout)
            if here:
                located[id(value)] = list(dict.fromkeys(here))
                layouts[name] = tuple(located[id(value)])
    return Propagation(tuple(merge_points), layouts)


_ENDING = ("depthwise", "inner")
"""Kinds of junctions behind which the units are gone."""
_Located = dict[int, list[tuple[str, Layout]]]  # the sites in a tensor, by id(value), and where


def _arriving(
    node: ir.Node, located: _Located, found: Mapping[str, SiteDraft], operators: Operators
) -> tuple[list[list[tuple[str, Layout]]], list[_Arrival]]:
    """Return the units that go on in each output, and those that meet; note readers and ends."""
    outs: list[list[tuple[str, Layout]]] = [[] for _ in node.outputs]
    met: list[_Arrival] = []
    for index, value in enumerate(node.inputs):
        known: dict[Layout, Effect] = {}  # in a long residual stage hundreds lie alike
        for name, layout in located.get(id(value), ()):
            if layout not in known:
                known[layout] = effect(node, index, layout, operators)
            what = known[layout]
            if isinstance(what, Coupled):
                met.append(_Arrival(name, index, what))
            elif isinstance(what, Consumed):
                found[name].consumers[node_label(node)] = None
            elif isinstance(what, Untraceable):
                found[name].ends[f"{node_label(node)}: {what.reason}"] = None
            else:
                _go_on(name, what, outs)
    for name in {name for value in _inside(node) for name, _ in located.get(id(value), ())}:
        found[name].ends[f"{node_label(node)}: read in a graph that is not entered"] = None
    return outs, met


def _go_on(name: str, what: Kept | Split, outs: list[list[tuple[str, Layout]]]) -> None:
    """Put units into the outputs that they go on in."""
    layouts = what.layouts if isinstance(what, Split) else (what.layout,)
    for out, layout in zip(outs, layouts, strict=False):
        if layout is not None:
            out.append((name, layout))


def _instead(
    out: Iterable[tuple[str, Layout]], name: str, layout: Layout
) -> list[tuple[str, Layout]]:
    """Let a site's units stand for all that lie on its axis; those on other axes stay."""
    return [
        *((other, lies) for other, lies in out if not {*lies.axes} & {*layout.axes}),
        (name, layout),
    ]


def _inside(node: ir.Node) -> list[ir.Value]:
    """Return what a node's bodies take from outside."""
    return (
        consumed_values(node)[sum(value is not None for value in node.inputs) :]
        if subgraphs(node)
        else []
    )


def _merge_points(
    node: ir.Node, met: Iterable[_Arrival], writer: str | None, fresh: Mapping[int, Layout]
) -> Iterator[MergePoint]:
    groups: dict[tuple[object, ...], list[SitePart]] = {}
    for each in met:
        groups.setdefault(each.place, []).append(SitePart(each.site, each.joins.layout))
    for (kind, *_), parts in groups.items():
        if kind == "depthwise" and writer is not None:  # each unit is read into one of its own
            parts.append(SitePart(writer, fresh[id(node)]))
        if len(set(parts)) > 1:
            yield MergePoint(node.outputs[0].name or "", str(kind), tuple(dict.fromkeys(parts)))


def _within(merge_point: MergePoint, found: Mapping[str, SiteDraft]) -> bool:
    """Whether units only lie side by side as they do in the joined layer that they are of."""
    sites = {part.site for part in merge_point.parts}
    return merge_point.kind == "concat" and len(sites) == 1 and found[sites.pop()].joint is not None


def _joined(
    node: ir.Node, met: Iterable[_Arrival], name: str, found: Mapping[str, SiteDraft]
) -> Iterator[MergePoint]:
    """Tie a joined layer to the layers that stay beside it and lie in its Concat."""
    others = dict.fromkeys(SitePart(e.site, e.joins.layout) for e in met if e.site != name)
    if others:
        whole = SitePart(name, found[name].layout)
        yield MergePoint(node.outputs[0].name or "", "joined", (whole, *others))


def _note(
    node: ir.Node, met: list[_Arrival], writer: str | None, found: Mapping[str, SiteDraft]
) -> None:
    """Note who reads units, and which cannot leave for they meet something that no site writes."""
    located = {(each.index, each.place) for each in met}
    alone = {
        (index, place): value
        for place, layout in {each.place: each.joins.layout for each in met}.items()
        for index, value in enumerate(node.inputs)
        if value is not None and (index, place) not in located and _spans(value, node, layout)
    }
    for each in met:
        site = found[each.site]
        if each.joins.kind in _ENDING:
            site.consumers[node_label(node)] = None
        if each.joins.kind == "depthwise":
            if writer is None:
                site.ends[f"{node_label(node)}: carried into units that are not analysed"] = None
        elif each.joins.kind != "concat":
            for (_, place), other in alone.items():
                if place == each.place:
                    reason = f"met by {other.name!r}, where no units lie along their axis"
                    site.ends[f"{node_label(node)}: {reason}"] = None


def _spans(other: ir.Value, node: ir.Node, layout: Layout) -> bool:
    """Whether a computed operand has entries of its own for each unit."""
    mine, whole = shape_of(other), shape_of(node.outputs[0])
    if is_constant(other) or mine is None or whole is None:
        return False
    if layout.axes[-1] >= len(whole):  # summed over: the other has an entry for each
        return True
    axes = [axis - (len(whole) - len(mine)) for axis in layout.axes]
    return any(axis >= 0 and mine[axis] != 1 for axis in axes)
