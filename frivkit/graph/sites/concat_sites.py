"""Layers that a Concat joins: its whole tensor as one site, in place of the branches' own."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.layout import NO_UNIT, SHAPE_ONLY, Layout, IntArray, attribute, shape_of
from frivkit.graph.model import Model
from frivkit.graph.operators.effects import Coupled, Kept
from frivkit.graph.operators.operator import STANDARD
from frivkit.graph.operators.table import effect, operators_of
from frivkit.graph.sites.hook_point import find_hook_point
from frivkit.graph.sites.propagation import SiteDraft

Located = Mapping[str, Sequence[tuple[str, Layout]]]
"""The sites whose units lie in a tensor, by the tensor's name, and where."""


def concats(graph: ir.Graph, located: Located) -> list[ir.Node]:
    """Return the Concat nodes that read units, in the order of the graph."""
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
    """Return the nodes whose layer's name one of the patterns matches.

    Args:
        nodes: The Concat nodes that read units.
        names: The name that each one's layer would have, by ``id(node)``.
        patterns: What to match, as ``--join`` takes it.
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
class _Joint:
    """A Concat that becomes a layer: where it is tapped, and how its units lie there."""

    node: ir.Node
    name: str
    value: ir.Value
    layout: Layout


class Joiner:
    """Makes one site of all units that a Concat joins.

    Args:
        model: The model.
        located: Where the units of its sites lie, before any are joined.
        to_output: The ids of the values that lead to the output; no other reader counts.
        unfit: Says why a tensor cannot be a site, None where it can.
    """

    def __init__(
        self,
        model: Model,
        located: Located,
        to_output: Set[int],
        unfit: Callable[[ir.Value, Layout], str | None],
    ) -> None:
        self._model, self._located, self._to_output, self._unfit = model, located, to_output, unfit
        self._order = {id(node): i for i, node in enumerate(model.graph)}
        self._operators = operators_of(model)

    def join(
        self,
        chosen: Mapping[str, ir.Node],
        found: Mapping[str, SiteDraft],
        fresh: Mapping[int, Layout],
    ) -> tuple[dict[str, SiteDraft], dict[int, Layout]]:
        """Put sites that are joined in the place of what they take in.

        1. The site is the Concat's tensor, or the one behind it where the paper would tap it, and
           position *i* of its axis is unit *i*.
        2. A site that feeds nothing but the Concat, through operators that keep its units, is
           taken in: its writers are the layer's, and its units have the layer's numbers from there
           on.  One that something else reads as well stays a site.
        3. A chosen Concat that itself feeds nothing but another one is part of that one.

        Args:
            chosen: The Concat nodes by the names of their layers, in the order of the graph.
            found: The sites without them.
            fresh: Where each writer's units lie in its output, by ``id(node)``.

        Returns:
            All sites, to be followed, and where writers' units lie.

        Raises:
            ModelError: the units that a Concat joins cannot be one layer.
        """
        every = [self._joint(name, node) for name, node in chosen.items()]
        nodes = {id(each.node) for each in every}
        outer = [e for e in every if self._only_reader(e.value, e.layout, nodes) is None]
        joints = {id(each.node): each for each in outer}
        joined: dict[str, SiteDraft] = {}
        for each in outer:
            tensor = each.value.name or ""
            if tensor in joined:
                raise self._refusal(each.name, "it meets another one before it is tapped")
            joined[tensor] = SiteDraft(each.value, each.layout, joint=each.node)
        left: dict[str, SiteDraft] = {}
        numbers = dict(fresh)
        for name, site in found.items():
            if name in joined:  # another layer is summed with it before both are tapped
                joined[name].producers += site.producers
                continue
            reader = self._only_reader(site.value, site.layout, joints)
            places = None if reader is None else self._places(name, site, joints[reader].node)
            if reader is None or places is None:
                left[name] = SiteDraft(site.value, site.layout, site.producers)
                continue
            joined[joints[reader].value.name or ""].producers += site.producers
            for node in site.producers:
                numbers[id(node)] = _renumbered(fresh[id(node)], places)
        return left | joined, numbers

    def _joint(self, name: str, node: ir.Node) -> _Joint:
        shape = shape_of(node.outputs[0]) or ()
        axis = attribute(node, "axis", 1) % max(1, len(shape))
        size = shape[axis] if shape else None
        if size is None:
            raise self._refusal(name, "its size is not known: give --input-shape")
        for value in node.inputs:
            reason = self._crooked(value.name or "", axis) if value is not None else None
            if reason:
                raise self._refusal(name, reason)
        whole = Layout.of(axis=axis, width=size)
        value, layout = find_hook_point(node.outputs[0], whole, self._order, self._operators)
        reason = self._unfit(value, layout)
        if reason:
            raise self._refusal(name, reason)
        return _Joint(node, name, value, layout)

    def _crooked(self, part: str, axis: int) -> str | None:
        """Return why the positions of a part are no units of layers, None where they are."""
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

    def _refusal(self, name: str, reason: str) -> ModelError:
        return ModelError(
            f"what {name} of {self._model.path.name} joins cannot be one layer: {reason}; leave it "
            "out of --join"
        )

    def _only_reader(self, value: ir.Value, layout: Layout, nodes: Collection[int]) -> int | None:
        """Return the one of ``nodes`` that reads a tensor, None where anything else reads it, too.

        On the way operators keep the units or put others beside them: pooling, a norm, a Concat.
        """
        reached: set[int] = set()
        pending = [(value, layout)]
        while pending:
            here, lies = pending.pop()
            for use in here.uses():
                if id(use.node) in nodes:
                    reached.add(id(use.node))
                    continue
                if id(use.node) not in self._order:  # read inside an If or a Loop
                    return None
                leads = any(id(value) in self._to_output for value in use.node.outputs)
                if not leads or use.node.op_type in SHAPE_ONLY:
                    continue
                what = effect(use.node, use.idx, lies, self._operators)
                if isinstance(what, Kept) or (isinstance(what, Coupled) and what.kind == "concat"):
                    pending.append((use.node.outputs[0], what.layout))
                else:
                    return None
        return reached.pop() if len(reached) == 1 else None

    def _places(self, name: str, site: SiteDraft, node: ir.Node) -> IntArray | None:
        """Return position of each unit of a site in a Concat, None where one has not just one."""
        there = [lies for other, lies in self._located[node.outputs[0].name or ""] if other == name]
        if len(there) != 1:
            return None
        units = there[0].units
        (positions,) = np.nonzero(units != NO_UNIT)
        if not np.array_equal(np.sort(units[positions]), np.arange(site.layout.size)):
            return None
        return positions[np.argsort(units[positions])]


def _renumbered(layout: Layout, places: IntArray) -> Layout:
    """Return each unit the number of its place."""
    return Layout(layout.axes, np.where(layout.units == NO_UNIT, NO_UNIT, places[layout.units]))
