"""Concat sites: the whole tensor of a Concat as one site, in place of its branches' own sites."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.layout import NO_UNIT, SHAPE_ONLY, IntArray, Layout, attribute, shape_of
from frivkit.graph.model import Model
from frivkit.graph.operators.effects import Coupled, Kept
from frivkit.graph.operators.operator import STANDARD
from frivkit.graph.operators.table import effect, operators_of
from frivkit.graph.sites.hook_point import find_hook_point
from frivkit.graph.sites.producers import SkipReason
from frivkit.graph.sites.propagation import SiteDraft

Located = Mapping[str, Sequence[tuple[str, Layout]]]
"""By the name of a tensor, the sites whose units lie in it and their layouts."""


def find_concats(graph: ir.Graph, located: Located) -> list[ir.Node]:
    """Return the Concat nodes that consume units, in the order of the graph."""
    return [
        node
        for node in graph
        if node.op_type == "Concat"
        and node.domain in STANDARD
        and any(value is not None and located.get(value.name or "") for value in node.inputs)
    ]


def matching(
    nodes: Sequence[ir.Node], names: Mapping[int, str], patterns: Iterable[str], file: str
) -> list[ir.Node]:
    """Return the Concat nodes whose layer's name matches one of the patterns.

    Args:
        nodes: The Concat nodes that consume units.
        names: The name that the layer of each one would have, by ``id(node)``.
        patterns: Patterns as in ``--join``.
        file: The model's name, for messages.

    Raises:
        ModelError: a pattern matches nothing.
    """
    chosen: dict[int, ir.Node] = {}
    for pattern in patterns:
        matched = {id(n): n for n in nodes if fnmatchcase(names[id(n)], pattern)}
        if not matched:
            known = ", ".join(names[id(node)] for node in nodes)
            raise ModelError(
                f"no concat of units in {file} matches {pattern!r}; "
                + (f"there are {known}" if known else "there is none, so leave --join out")
            )
        chosen |= matched
    return [node for node in nodes if id(node) in chosen]


@dataclass(frozen=True, slots=True)
class _ConcatSite:
    """A Concat that becomes a site: its hook point, and the layout of the units there."""

    node: ir.Node
    name: str
    value: ir.Value
    layout: Layout


class ConcatSites:
    """Replaces the sites of the branches of Concat nodes by one site each.

    Args:
        model: The model.
        located: The layouts of its sites in all tensors, before any are replaced.
        to_output: The ids of the values that lead to the output; other consumers are ignored.
        unfit: A function that returns why a tensor cannot be a site, None if it can.
    """

    def __init__(
        self,
        model: Model,
        located: Located,
        to_output: Set[int],
        unfit: Callable[[ir.Value, Layout], SkipReason | None],
    ) -> None:
        self._model, self._located, self._to_output, self._unfit = model, located, to_output, unfit
        self._order = {id(node): i for i, node in enumerate(model.graph)}
        self._operators = operators_of(model)

    def replace(
        self,
        chosen: Mapping[str, ir.Node],
        sites: Mapping[str, SiteDraft],
        produced: Mapping[int, Layout],
    ) -> tuple[dict[str, SiteDraft], dict[int, Layout]]:
        """Return sites in which chosen Concat nodes are sites of their own.

        1. The site is the Concat's tensor, or its hook point behind it, and position *i* of its
           axis is unit *i*.
        2. A site that only the Concat consumes, through operators that keep its units, is absorbed:
           its producers become those of the concat site, whose numbers its units then have.  A site
           with other consumers remains.
        3. A chosen Concat that only another chosen one consumes is a part of that one.

        Args:
            chosen: The Concat nodes by the names of their layers, in the order of the graph.
            sites: The sites without them.
            produced: By ``id(node)`` the layout of each producer's units in its output.

        Returns:
            All sites, before propagation, and the layouts of producers' units.

        Raises:
            ModelError: the parts of a Concat cannot be one layer.
        """
        every = [self._concat_site(name, node) for name, node in chosen.items()]
        nodes = {id(each.node) for each in every}
        outer = [e for e in every if self._only_consumer(e.value, e.layout, nodes) is None]
        by_node = {id(each.node): each for each in outer}
        concat_sites: dict[str, SiteDraft] = {}
        for each in outer:
            tensor = each.value.name or ""
            if tensor in concat_sites:
                raise self._error(each.name, "it meets another one before its hook point")
            concat_sites[tensor] = SiteDraft(each.value, each.layout, concat=each.node)
        remaining: dict[str, SiteDraft] = {}
        layouts = dict(produced)
        for name, site in sites.items():
            if name in concat_sites:  # another layer is summed with it before their hook point
                concat_sites[name].producers += site.producers
                continue
            consumer = self._only_consumer(site.value, site.layout, by_node)
            positions = (
                None if consumer is None else self._positions(name, site, by_node[consumer].node)
            )
            if consumer is None or positions is None:
                remaining[name] = SiteDraft(site.value, site.layout, site.producers)
                continue
            concat_sites[by_node[consumer].value.name or ""].producers += site.producers
            for node in site.producers:
                layouts[id(node)] = _renumbered(produced[id(node)], positions)
        return remaining | concat_sites, layouts

    def _concat_site(self, name: str, node: ir.Node) -> _ConcatSite:
        shape = shape_of(node.outputs[0]) or ()
        axis = attribute(node, "axis", 1) % max(1, len(shape))
        size = shape[axis] if shape else None
        if size is None:
            raise self._error(name, "its size is not known: give --input-shape")
        for value in node.inputs:
            fault = self._why_no_units(value.name or "", axis) if value is not None else None
            if fault:
                raise self._error(name, fault)
        whole = Layout.of(axis=axis, width=size)
        value, layout = find_hook_point(node.outputs[0], whole, self._order, self._operators)
        reason = self._unfit(value, layout)
        if reason is not None:
            raise self._error(name, reason.text)
        return _ConcatSite(node, name, value, layout)

    def _why_no_units(self, part: str, axis: int) -> str | None:
        """Return why the positions of a part are not units of layers, None if they are."""
        layouts = [layout for _, layout in self._located.get(part, ())]
        along = [layout.units for layout in layouts if layout.axes == (axis,)]
        if layouts and not along:
            return f"it joins along axis {axis}, and units of {part!r} lie along another"
        if not along or not np.any([units != NO_UNIT for units in along], axis=0).all():
            return f"not all of its part {part!r} is units of layers"
        if any(
            len(np.unique(units[units != NO_UNIT])) < (units != NO_UNIT).sum() for units in along
        ):
            return f"units of {part!r} were flattened, or lie there more than once"
        return None

    def _error(self, name: str, reason: str) -> ModelError:
        return ModelError(
            f"what {name} of {self._model.path.name} joins cannot be one layer: {reason}; leave it "
            "out of --join"
        )

    def _only_consumer(self, value: ir.Value, layout: Layout, nodes: Collection[int]) -> int | None:
        """Return the only consumer of a tensor if it is one of some nodes, else None.

        Operators on the way keep the units or concatenate others to them: pooling, a norm, a
        Concat.
        """
        reached: set[int] = set()
        pending = [(value, layout)]
        while pending:
            current, located = pending.pop()
            for use in current.uses():
                if id(use.node) in nodes:
                    reached.add(id(use.node))
                    continue
                if id(use.node) not in self._order:  # consumed inside an If or a Loop
                    return None
                counts = any(id(output) in self._to_output for output in use.node.outputs)
                if not counts or use.node.op_type in SHAPE_ONLY:
                    continue
                result = effect(use.node, use.idx, located, self._operators)
                if isinstance(result, Kept) or (
                    isinstance(result, Coupled) and result.kind == "concat"
                ):
                    pending.append((use.node.outputs[0], result.layout))
                else:
                    return None
        return reached.pop() if len(reached) == 1 else None

    def _positions(self, name: str, site: SiteDraft, node: ir.Node) -> IntArray | None:
        """Return the position of each unit of a site in a Concat, None if one has not just one."""
        layouts = [
            layout for other, layout in self._located[node.outputs[0].name or ""] if other == name
        ]
        if len(layouts) != 1:
            return None
        units = layouts[0].units
        (positions,) = np.nonzero(units != NO_UNIT)
        if not np.array_equal(np.sort(units[positions]), np.arange(site.layout.size)):
            return None
        return positions[np.argsort(units[positions])]


def _renumbered(layout: Layout, positions: IntArray) -> Layout:
    """Return a layout in which each unit has the number of its position in a Concat."""
    units = np.where(layout.units == NO_UNIT, NO_UNIT, positions[layout.units])
    return Layout(layout.axes, units)
