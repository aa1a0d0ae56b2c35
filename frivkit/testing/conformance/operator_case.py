"""One input of a node and one axis of it: the rules of an operator held to what it computes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import Layout
from frivkit.graph.operators.effects import (
    Consumed,
    Coupled,
    Effect,
    Kept,
    Split,
    Stacked,
    Untraceable,
)
from frivkit.graph.operators.operator import Operator, operator_name
from frivkit.graph.sites.groups import PruningGraph, analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.testing.conformance.operator_example import Evaluator, RunnableNode
from frivkit.testing.conformance.operator_model import SurroundedNode, surround
from frivkit.testing.conformance.rules import Rules

AFFINE = 1e-4
"""The deviation from an affine function, relative to the largest output, that rounding makes."""
CLOSE = 1e-5
"""The difference between outputs of narrowed and zeroed models, relative to the largest or to 1."""
FINAL = ("inner", "depthwise")
"""Kinds of coupling behind which the units are gone."""


@dataclass(frozen=True, slots=True)
class OperatorCase:
    """Units along one axis of one input, and the effect of the node on them."""

    rules: Rules
    operator: Operator
    runnable: RunnableNode
    tensor: str
    axis: int
    effect: Effect

    @property
    def width(self) -> int:
        """The number of units."""
        return self.runnable.example.computed[self.tensor][self.axis - 1]

    def require(self, condition: object, rule: str, reason: str) -> None:
        """Raise LawError with the input and the axis unless a condition holds."""
        self.rules.require(condition, rule, f"{self.tensor}, axis {self.axis}: {reason}")

    def check(self) -> str:
        """Check all rules and return the effect, and the number of groups that were removed."""
        if isinstance(self.effect, Consumed):
            self.require(self.operator.mixes, "mixes", "units are consumed without mixes=True")
        self._check_changes()
        entry = self._changed_elsewhere()
        if self.operator.elementwise and entry is not None:
            self.require(not entry, "elementwise", f"entry {entry} changes others")
        if isinstance(self.effect, Kept):
            self._check_linearity(self.effect, elementwise=entry == ())
        return (
            f"{self.tensor}, axis {self.axis}: {type(self.effect).__name__}, "
            f"{self._check_narrowing()} groups removed"
        )

    def layouts(self) -> list[tuple[Layout, ...]]:
        """Return where units lie in each output: several layouts if they are stacked."""
        outputs = len(self.runnable.outputs)
        if isinstance(self.effect, Split):
            known = [() if each is None else (each,) for each in self.effect.layouts]
            return [*known, *[()] * (outputs - len(known))]
        final = isinstance(self.effect, Coupled) and self.effect.kind == "inner"
        if isinstance(self.effect, Consumed | Untraceable) or final:
            return []
        effect = self.effect
        first = effect.layouts if isinstance(effect, Stacked) else (effect.layout,)
        return [first, *[()] * (outputs - 1)]

    def _check_changes(self) -> None:
        """Draw other entries for one unit at a time, and look where the outputs change."""
        example = self.runnable.example
        base, drawn = example.drawn(0), example.drawn(1)[self.tensor]
        before = self.runnable.run(base)
        whole = isinstance(self.effect, Kept | Coupled | Stacked)
        for unit in range(self.width):
            x = base[self.tensor].copy()
            at = (slice(None),) * self.axis + (unit,)
            x[at] = drawn[at]
            after = self.runnable.run({**base, self.tensor: x})
            changed = [_differ(a, b) for a, b in zip(before, after, strict=True)]
            layouts = self.layouts()
            if not layouts:
                anywhere = any(each.any() for each in changed)
                self.require(anywhere, "propagate", f"unit {unit} changes no output")
            for number, (lie, where) in enumerate(zip(layouts, changed, strict=False)):
                if lie or not whole:
                    self._check_positions(unit, number, lie, where)

    def _check_positions(
        self, unit: int, number: int, layouts: tuple[Layout, ...], changed: NDArray[np.bool_]
    ) -> None:
        output = self.runnable.outputs[number]
        if not layouts:
            self.require(
                not changed.any(), "propagate", f"unit {unit} changes {output}, where it says none"
            )
            return
        layout = layouts[0]
        alike = {(each.axes, each.units.shape) for each in layouts}
        self.require(len(alike) == 1, "layout", f"stacked layouts differ in their axes: {alike}")
        inside = all(0 <= axis < changed.ndim for axis in layout.axes)
        sizes = tuple(changed.shape[axis] for axis in layout.axes) if inside else ()
        self.require(
            sizes == layout.units.shape,
            "layout",
            f"units of shape {layout.units.shape} on axes {layout.axes} of {output}, which has "
            f"shape {changed.shape}",
        )
        others = tuple(axis for axis in range(changed.ndim) if axis not in layout.axes)
        changes = changed.any(axis=others)
        expected = np.any([each.units == unit for each in layouts], axis=0)
        if self._rescaled:
            changes = changes & expected
        self.require(
            (changes == expected).all(),
            "propagate",
            f"unit {unit} changes positions {np.argwhere(changes).tolist()} of axes {layout.axes} "
            f"of {output}, where the layout has it at {np.argwhere(expected).tolist()}",
        )

    def _check_linearity(self, effect: Kept, *, elementwise: bool) -> None:
        example = self.runnable.example
        base, first, second = (example.drawn(seed) for seed in range(3))
        x, a, b = (each[self.tensor] for each in (base, first, second))

        def outputs(value: NDArray[np.float32]) -> NDArray[np.float64]:
            return self.runnable.run({**base, self.tensor: value})[0].astype(np.float64)

        corners = [outputs(each) for each in (x, a, b, (a + b - x).astype(np.float32))]
        largest = max(1.0, *(float(np.abs(each).max()) for each in corners))
        apart = float(np.abs(corners[3] - corners[1] - corners[2] + corners[0]).max())
        affine = apart <= AFFINE * largest
        if self.operator.nonlinear:
            self.require(effect.nonlinear, "nonlinear", "the operator is so, the effect is not")
        if effect.nonlinear:
            self.require(not affine, "nonlinear", "the flag is set, and the node is affine")
        elif elementwise:
            reason = "the flag is not set, and the node bends each entry by itself"
            self.require(affine, "nonlinear", reason)

    def _changed_elsewhere(self) -> tuple[int, ...] | None:
        """Return an entry of an example that changes others, () if none of three does.

        None if the output has not the shape of the input.
        """
        base, drawn = self.runnable.example.drawn(0), self.runnable.example.drawn(1)[self.tensor]
        before = self.runnable.run(base)[0]
        if before.shape != drawn.shape:
            return None
        for entry in (0, drawn[0].size // 2, drawn[0].size - 1):
            place = tuple(int(at) for at in np.unravel_index(entry, drawn.shape[1:]))
            at: tuple[slice | int, ...] = (slice(None), *place)
            x = base[self.tensor].copy()
            x[at] = drawn[at]
            changed = _differ(before, self.runnable.run({**base, self.tensor: x})[0])
            changed[at] = False
            if changed.any():
                return place
        return ()

    @property
    def _rescaled(self) -> bool:
        return self.axis in self.runnable.example.rescales

    def _check_narrowing(self) -> int:
        """Remove groups of units that can be removed, and return how many were."""
        axes = _producer_axes(self.runnable.example.computed, self.tensor, self.axis)
        if not axes or (isinstance(self.effect, Coupled) and self.effect.kind in FINAL):
            return 0
        whole = surround(self.runnable, axes, self.operator, operator_name(self.runnable.node))
        site_map = find_sites(whole.model)
        graph = analyze_groups(whole.model, site_map)
        free = np.flatnonzero(graph.groups.free)
        if self._rescaled:
            reason = f"units are rescaled together, and {len(free)} groups of them can be removed"
            self.require(not free.size, "narrow", reason)
        removed = 0
        for group in dict.fromkeys(free[[0, len(free) // 2, -1]].tolist() if free.size else ()):
            stays = np.arange(graph.groups.count) != group
            try:
                narrowed = narrow(whole.model, site_map, graph.groups.flags(stays))
            except ModelError:  # the only one of a part
                continue
            self._compare(whole, ir.to_proto(narrowed), self._zeroed(whole, graph, group), group)
            removed += 1
        return removed

    def _zeroed(self, whole: SurroundedNode, graph: PruningGraph, group: int) -> onnx.ModelProto:
        """Return the original with 0 where consumers read a group of units."""
        ids = graph.assignment.group_ids
        behind = {weight: ids.get(tensor, {}).get(1) for weight, tensor in whole.read.items()}
        rows = {weight: at == group for weight, at in behind.items() if at is not None}
        if not isinstance(self.effect, Consumed):
            return whole.zeroed(rows)
        before = {tensor: ids.get(tensor, {}).get(axis) for tensor, axis in whole.axes.items()}
        return whole.zeroed(rows, {t: at == group for t, at in before.items() if at is not None})

    def _compare(
        self,
        whole: SurroundedNode,
        narrowed: onnx.ModelProto,
        zeroed: onnx.ModelProto,
        group: int,
    ) -> None:
        example = self.runnable.example
        names = [spec.name for spec in whole.model.inputs]
        feeds = dict(zip(names, example.drawn(3).values(), strict=True))
        try:
            outputs, expected = (
                Evaluator(proto, example).run(feeds, ["scores"])[0] for proto in (narrowed, zeroed)
            )
        except ModelError as error:
            reason = f"without group {group} the model cannot be run: {error}"
            raise self.rules.broken("narrow", reason) from error
        apart = float(np.abs(outputs - expected).max() / max(1.0, np.abs(expected).max()))
        self.require(
            apart <= CLOSE,
            "narrow",
            f"without group {group} outputs are {apart:.2g} away from those of the original with "
            "these units at 0",
        )


def _differ(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.bool_]:
    if before.dtype.kind == "f":
        return np.asarray((before != after) & ~(np.isnan(before) & np.isnan(after)))
    return np.asarray(before != after)


def _producer_axes(
    computed: Mapping[str, tuple[int, ...]], tensor: str, axis: int
) -> dict[str, int]:
    """Return the axis of each input on which a layer can make units, aligned at the back."""
    axes = {}
    rank = len(computed[tensor])
    for name, shape in computed.items():
        mine = axis - (rank - len(shape))
        if mine == len(shape) or (mine == 1 and len(shape) in (2, 3, 4)):
            axes[name] = mine
    return axes if tensor in axes else {}
