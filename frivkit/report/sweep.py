"""The document of a sweep that its page shows: curves against the width, and their gains."""

import math
from collections.abc import Sequence

from frivkit.documents.sweep import SweepCurvePart, SweepDocument, SweepGainPart
from frivkit.experiments.gain import UNITS, Gain, WidthCurve, shown_gain
from frivkit.hooks.registry import installed
from frivkit.provenance import Clock, provenance


def sweep_document(
    curves: Sequence[WidthCurve], title: str, protocol: str | None, clock: Clock
) -> SweepDocument:
    """Return the document ``frivkit.sweep/1``, see ``docs/reference/json.md``.

    Args:
        curves: The curves in the folder of the sweep.
        title: What was swept.
        protocol: How gains are averaged; None takes ``"paper"``.
        clock: The start of the sweep.
    """
    chosen = protocol or "paper"
    return {
        "schema": "frivkit.sweep/1",
        "title": title,
        "protocol": "reference" if chosen == "reference" else "paper",
        "curves": [_curve(curve, chosen) for curve in curves],
        "warnings": list(dict.fromkeys(curve.note for curve in curves if curve.note)),
        "provenance": provenance(clock, 0, installed().versions()),
    }


def _curve(curve: WidthCurve, protocol: str) -> SweepCurvePart:
    found = shown_gain(curve, protocol) if curve.panel in UNITS else None
    return {
        "figure": curve.figure,
        "panel": curve.panel,
        "series": curve.series,
        "widths": list(curve.widths),
        "values": [list(trials) for trials in curve.values],
        "fixed": curve.fixed,
        "gain": _gain(found),
    }


def _gain(found: Gain | None) -> SweepGainPart | None:
    if found is None:
        return None
    interval = None if found.interval is None else [_finite(end) for end in found.interval]
    return {"value": _finite(found.value), "interval": interval}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
