"""Propagate the units of every site through a graph: their consumers, merge points and layouts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from frivkit.graph.coupling import MergePoint, SitePart
from frivkit.graph.layout import LARGEST_LAYOUTS, LARGEST_OF_ALL, SHAPE_ONLY, Layout, shape_of
from frivkit.graph.model import consumed_values, is_constant, subgraphs
from frivkit.graph.names import node_label
from frivkit.graph.operators.effects import (
    Consumed,
    Coupled,
    Effect,
    Kept,
    Split,
    Stacked,
    Untraceable,
)
from frivkit.graph.operators.operator import Operators
from frivkit.graph.operators.table import effect


@dataclass(slots=True)
class SiteDraft:
    """A site under construction.

    Attributes:
        value: Its tensor.
        layout: The layout of its units in that tensor.
        producers: The weighted nodes that produce it.
        consumers: Labels of the weighted nodes that consume its units, in order.
        not_followed: Reasons why its units cannot be followed further or removed, in order.
        unknown_operators: The operators among these reasons that frivkit does not know, in order.
        concat: The Concat node whose whole tensor is this site, None for any other site.
    """

    value: ir.Value
    layout: Layout
    producers: list[ir.Node] = field(default_factory=list)
    consumers: dict[str, None] = field(default_factory=dict)
    not_followed: dict[str, None] = field(default_factory=dict)
    unknown_operators: dict[str, None] = field(default_factory=dict)
    concat: ir.Node | None = None

    def stop(self, node: ir.Node, reason: str) -> None:
        """Note that units cannot be followed through a node, or not be removed because of it."""
        self.not_followed[f"{node_label(node)}: {reason}"] = None


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Units of a site in one of the inputs of a node that couples them."""

    site: str
    index: int
    effect: Coupled

    @property
    def position(self) -> tuple[object, ...]:
        """A key that is equal for units that meet position by position of the axis narrowed."""
        if self.effect.kind in ("concat", "inner"):  # sums of products are broadcast, see _alike
            return (self.effect.kind,)
        layout = self.effect.layout
        if self.effect.kind in _ENDING:
            return (self.effect.kind, layout.axes, layout.units.shape)
        at = layout.axes.index(layout.narrowed_axis)
        return (self.effect.kind, layout.narrowed_axis, layout.units.shape[at])


@dataclass(frozen=True, slots=True)
class Propagation:
    """The tensors that units reach.

    Attributes:
        merge_points: The tensors in which sites meet, in the order of the graph.
        layouts: By the name of a tensor, the sites whose units lie in it and their layouts.
    """

    merge_points: tuple[MergePoint, ...]
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]]


def propagate(
    graph: ir.Graph,
    sites: Mapping[str, SiteDraft],
    produced: Mapping[int, Layout],
    operators: Operators,
) -> Propagation:
    """Follow the units of all sites through a graph.

    Args:
        graph: The graph.
        sites: The sites by name; their consumers and ``not_followed`` are filled in.
        produced: By ``id(node)`` the layout of the units that a producer makes in its output,
            numbered as those of its site.
        operators: The operators, by name.
    """
    site_of = {id(node): name for name, site in sites.items() for node in site.producers}
    concats = {id(site.concat): name for name, site in sites.items() if site.concat is not None}
    located: _Located = {}
    layouts: dict[str, tuple[tuple[str, Layout], ...]] = {}
    merge_points: list[MergePoint] = []
    held: dict[int, int] = {}  # by id of each layout that was made, the number of its positions
    held_positions = 0
    for node in (node for node in graph if node.op_type not in SHAPE_ONLY and node.outputs):
        too_many = _too_many(node, located, held_positions)
        outputs, arrivals = _pass_node(node, located, sites, operators, too_many)
        produced_site = site_of.get(id(node))
        if id(node) in concats:
            merge_points.extend(_beside_concat_site(node, arrivals, concats[id(node)], sites))
        else:
            merge_points.extend(
                point
                for point in _merge_points(node, arrivals, produced_site, produced)
                if not _inside_concat_site(point, sites)
            )
        _note_arrivals(node, arrivals, produced_site, sites)
        outputs[0] += [(a.site, a.effect.layout) for a in arrivals if a.effect.kind not in _ENDING]
        if produced_site is not None:
            outputs[0] = _with_site(outputs[0], produced_site, produced[id(node)])
        for value, reached in zip(node.outputs, outputs, strict=True):
            name = value.name or ""
            units = _with_site(reached, name, sites[name].layout) if name in sites else reached
            if units:
                located[id(value)] = list(dict.fromkeys(units))
                layouts[name] = tuple(located[id(value)])
                made = {id(lies): lies.units.size for _, lies in units if id(lies) not in held}
                held |= made
                held_positions += sum(made.values())
    return Propagation(tuple(merge_points), layouts)


_ENDING = ("depthwise", "inner")
"""Kinds of merge points whose output has none of the units that meet."""
_Units = list[tuple[str, Layout]]
_Located = dict[int, _Units]  # by id(value), the sites whose units lie in a tensor, and where


def _pass_node(
    node: ir.Node,
    located: _Located,
    sites: Mapping[str, SiteDraft],
    operators: Operators,
    too_many: Untraceable | None,
) -> tuple[list[_Units], list[_Arrival]]:
    """Return the units that a node keeps in each output, and those that it couples."""
    outputs: list[_Units] = [[] for _ in node.outputs]
    arrivals: list[_Arrival] = []
    for index, value in enumerate(node.inputs):
        effects: dict[Layout, Effect] = {}  # hundreds of a long residual stage have one layout
        for name, layout in located.get(id(value), ()):
            if layout not in effects:
                effects[layout] = too_many or effect(node, index, layout, operators)
            known = effects[layout]
            if isinstance(known, Coupled):
                arrivals.append(_Arrival(name, index, known))
            elif isinstance(known, Stacked):
                stack = (Coupled(each, "stacked") for each in known.layouts)
                arrivals.extend(_Arrival(name, index, each) for each in stack)
            elif isinstance(known, Consumed):
                sites[name].consumers[node_label(node)] = None
            elif isinstance(known, Untraceable):
                sites[name].stop(node, known.reason)
                if known.unknown_operator is not None:
                    sites[name].unknown_operators[known.unknown_operator] = None
            else:
                _keep(name, known, outputs)
    for name in {name for value in _captured(node) for name, _ in located.get(id(value), ())}:
        sites[name].stop(node, "read in a graph that is not entered")
    return outputs, arrivals


def _too_many(node: ir.Node, located: _Located, held: int) -> Untraceable | None:
    """Return why units are not followed into the outputs, None if their layouts are not large.

    Args:
        node: The node.
        located: The layouts of the units in its inputs.
        held: The number of positions in all layouts that were made for nodes before it.
    """
    layouts = sum(len({lies for _, lies in located.get(id(v), ())}) for v in node.inputs)
    sizes = (size for value in node.outputs for size in (shape_of(value) or ())[1:])
    positions = layouts * max((size for size in sizes if size is not None), default=0)
    if held + positions > LARGEST_OF_ALL:
        return Untraceable(f"units lie at more than {LARGEST_OF_ALL:,} positions of all tensors")
    if positions <= LARGEST_LAYOUTS:
        return None
    return Untraceable(f"units lie at {positions:,} positions, more than {LARGEST_LAYOUTS:,}")


def _keep(name: str, known: Kept | Split, outputs: list[_Units]) -> None:
    """Add units to the outputs that they lie in."""
    layouts = known.layouts if isinstance(known, Split) else (known.layout,)
    for units, layout in zip(outputs, layouts, strict=False):
        if layout is not None:
            units.append((name, layout))


def _with_site(units: Iterable[tuple[str, Layout]], name: str, layout: Layout) -> _Units:
    """Return units in which those of a site replace all others on its axes."""
    return [
        *((other, lies) for other, lies in units if not {*lies.axes} & {*layout.axes}),
        (name, layout),
    ]


def _captured(node: ir.Node) -> list[ir.Value]:
    """Return the values that subgraphs of a node take from outside."""
    count = sum(value is not None for value in node.inputs)
    return consumed_values(node)[count:] if subgraphs(node) else []


def _merge_points(
    node: ir.Node,
    arrivals: Iterable[_Arrival],
    produced_site: str | None,
    produced: Mapping[int, Layout],
) -> Iterator[MergePoint]:
    """Return the merge points in the output of a node."""
    meeting: dict[tuple[object, ...], list[SitePart]] = {}
    for arrival in arrivals:
        part = SitePart(arrival.site, arrival.effect.layout)
        meeting.setdefault(arrival.position, []).append(part)
    for (kind, *_), parts in meeting.items():
        if kind == "depthwise" and produced_site is not None:  # unit i is consumed by unit i alone
            parts.append(SitePart(produced_site, produced[id(node)]))
        merged = _alike(parts) if kind == "inner" else parts
        if len(set(merged)) > 1:
            yield MergePoint(node.outputs[0].name or "", str(kind), tuple(dict.fromkeys(merged)))


def _alike(parts: Sequence[SitePart]) -> list[SitePart]:
    """Return parts of a sum of products with the axes of all of them, as they are broadcast."""
    lengths: dict[int, int] = {}
    for part in parts:
        for axis, length in zip(part.layout.axes, part.layout.units.shape, strict=True):
            lengths[axis] = max(length, lengths.get(axis, 1))
    axes, shape = tuple(sorted(lengths)), [lengths[axis] for axis in sorted(lengths)]
    alike = []
    for part in parts:
        own = [
            part.layout.units.shape[part.layout.axes.index(axis)] if axis in part.layout.axes else 1
            for axis in axes
        ]
        units = np.broadcast_to(part.layout.units.reshape(own), shape)
        alike.append(SitePart(part.site, Layout(axes, np.ascontiguousarray(units))))
    return alike


def _inside_concat_site(merge_point: MergePoint, sites: Mapping[str, SiteDraft]) -> bool:
    """Whether units of one concat site lie side by side, as they do in its own tensor."""
    names = {part.site for part in merge_point.parts}
    return (
        merge_point.kind == "concat" and len(names) == 1 and sites[names.pop()].concat is not None
    )


def _beside_concat_site(
    node: ir.Node, arrivals: Iterable[_Arrival], name: str, sites: Mapping[str, SiteDraft]
) -> Iterator[MergePoint]:
    """Return the merge point of a concat site and other sites that lie in its Concat, if any."""
    others = dict.fromkeys(SitePart(a.site, a.effect.layout) for a in arrivals if a.site != name)
    if others:
        whole = SitePart(name, sites[name].layout)
        yield MergePoint(node.outputs[0].name or "", "joined", (whole, *others))


def _note_arrivals(
    node: ir.Node,
    arrivals: list[_Arrival],
    produced_site: str | None,
    sites: Mapping[str, SiteDraft],
) -> None:
    """Note consumers of coupled units, and units that meet entries of no site."""
    located = {(arrival.index, arrival.position) for arrival in arrivals}
    positions = {arrival.position: arrival.effect.layout for arrival in arrivals}
    without_units = {
        (index, position): value
        for position, layout in positions.items()
        for index, value in enumerate(node.inputs)
        if value is not None
        and (index, position) not in located
        and (position[0] != "inner" or index < 2)  # behind them are values and masks
        and _has_entry_for_each_unit(value, node, layout)
    }
    for arrival in arrivals:
        site = sites[arrival.site]
        if arrival.effect.kind in _ENDING:
            site.consumers[node_label(node)] = None
        if arrival.effect.kind == "depthwise":
            if produced_site is None:
                site.stop(node, "carried into units that are not analysed")
        elif arrival.effect.kind == "inner":
            for (_, position), other in without_units.items():
                if position == arrival.position:
                    site.stop(node, f"met by {other.name!r}, where no units lie along their axis")


def _has_entry_for_each_unit(operand: ir.Value, node: ir.Node, layout: Layout) -> bool:
    """Whether a computed operand has a separate entry for each unit."""
    sizes, shape = shape_of(operand), shape_of(node.outputs[0])
    if is_constant(operand) or sizes is None or shape is None:
        return False
    if layout.axes[-1] >= len(shape):  # the units are summed over
        return True
    axes = [axis - (len(shape) - len(sizes)) for axis in layout.axes]
    return any(axis >= 0 and sizes[axis] != 1 for axis in axes)
