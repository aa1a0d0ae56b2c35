"""Ablation curves in the detail of a measurement, of any metric."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeGuard

from frivkit.report.format import percent, short, span, told

SWITCHED_OFF = "units switched off"
"""The quantity that grows along a curve if its detail names none."""


@dataclass(frozen=True, slots=True)
class Curves:
    """The share of labels that are unchanged as units are ablated, a curve for each repeat.

    Attributes:
        levels: Shares of units ablated, increasing, in [0, 1], at least two.
        repeats: For each repeat the share of labels unchanged at each level, in [0, 1]; None if
            the repeat was not measured at that level.
        chosen: The index of the repeat that gave the value.
        tolerance: The share of labels that may change, in (0, 1).
        crossed: Whether the chosen curve falls below 1 - tolerance.
        across: The quantity that a level is a share of, such as ``"units switched off"``.
    """

    levels: tuple[float, ...]
    repeats: tuple[tuple[float | None, ...], ...]
    chosen: int
    tolerance: float
    crossed: bool
    across: str = SWITCHED_OFF

    @classmethod
    def read(cls, detail: Mapping[str, Any]) -> Self | None:
        """Return the curves in a detail, None if it has none that can be drawn.

        Any metric may add them; the keys are described in ``docs/reference/json.md``.

        Example:
            >>> Curves.read({"levels": [0, 1], "unchanged": [[1, 0]], "chosen_repeat": 0,
            ...              "tolerance": 0.2}).repeats
            ((1, 0),)
            >>> Curves.read({"levels": [0, 1], "unchanged": "no"}) is None
            True
        """
        levels, repeats = _shares(detail.get("levels")), detail.get("unchanged")
        chosen, tolerance = detail.get("chosen_repeat"), _shares([detail.get("tolerance")])
        if not (levels and tolerance and isinstance(repeats, list | tuple) and _is_int(chosen)):
            return None
        heights = [_shares(repeat, gaps=True) for repeat in repeats]
        if not all(repeat and len(repeat) == len(levels) for repeat in heights):
            return None
        curves = cls(
            levels=tuple(level for level in levels if level is not None),
            repeats=tuple(tuple(repeat) for repeat in heights if repeat),
            chosen=chosen,
            tolerance=tolerance[0] or 0.0,
            crossed=detail.get("crossed", True) is True,
            across=across if isinstance(across := detail.get("across"), str) else SWITCHED_OFF,
        )
        return curves if curves._is_valid else None

    @property
    def _is_valid(self) -> bool:
        return (
            0 <= self.chosen < len(self.repeats)
            and 0 < self.tolerance < 1
            and list(self.levels) == sorted(set(self.levels))
            and len(self.points(self.chosen)) > 1
        )

    @property
    def required(self) -> str:
        """The share of labels that must stay unchanged, as text."""
        return f"{100 * (1 - self.tolerance):.3g}\N{NO-BREAK SPACE}%"

    def points(self, repeat: int) -> list[tuple[float, float]]:
        """Return the measured (level, share unchanged) pairs of one repeat."""
        pairs = zip(self.levels, self.repeats[repeat], strict=True)
        return [(x, y) for x, y in pairs if y is not None]


def _shares(values: Any, *, gaps: bool = False) -> list[float | None] | None:
    """Return the values if all are shares in [0, 1], or None with ``gaps``; else None."""
    if not isinstance(values, list | tuple):
        return None
    for value in values:
        if value is None and gaps:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            return None
    return list(values)


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def verdict(measurement: Mapping[str, Any], curves: Curves) -> str:
    """Return a sentence on the result of an ablation."""
    layer, value = measurement["layer"], measurement["value"]
    whose = f"the units of {short(layer, 60)}" if layer else "the network's units"
    limit = f"{100 * curves.tolerance:.3g}\N{NO-BREAK SPACE}%"
    if curves.across != SWITCHED_OFF:
        return _perturbation_verdict(measurement, curves, limit)
    if value is None:
        return f"How many of {whose} can be switched off at random could not be determined."
    if not curves.crossed:
        return f"All of {whose} can be switched off, and {limit} of the labels change at most."
    interval = told(measurement["interval"])
    in_brackets = f" (95 % interval {span(interval, percent)})" if interval else ""
    return (
        f"{percent(value)} of {whose} can be switched off at random before more than {limit} of "
        f"the labels change{in_brackets}."
    )


def _perturbation_verdict(measurement: Mapping[str, Any], curves: Curves, limit: str) -> str:
    """Return a sentence on the result of a perturbation that grows with another quantity."""
    layer, value = measurement["layer"], measurement["value"]
    where = f"in {short(layer, 60)}" if layer else "in all layers at once"
    if value is None:
        return f"How much of {curves.across} the labels tolerate {where} could not be determined."
    if not curves.crossed:
        most = percent(curves.levels[-1])
        return f"At {most} of {curves.across}, {where}, {limit} of the labels have changed at most."
    interval = told(measurement["interval"])
    in_brackets = f" (95 % interval {span(interval, percent)})" if interval else ""
    return (
        f"{limit} of the labels have changed at {percent(value)} of {curves.across}, "
        f"{where}{in_brackets}."
    )
