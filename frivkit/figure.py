"""Figures: what draws the curves that a sweep wrote, and how these are read.

A sweep writes ``results.jsonl``, one JSON object a line.  A row that has a ``"panel"`` holds one
trial of a curve; rows without are something else and are passed over.  Its ``run.json`` may say how
much less was done than in the paper.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.errors import DataError
from frivkit.gain import UNITS, Curve

RESULTS, JOURNAL = "results.jsonl", "run.json"
FORMATS = ("png", "svg", "pdf")

Drawing = Callable[[str], bytes]
"""Gives the content of a file in one of ``FORMATS``, the same bytes each time."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A way to draw curves; what an offer of ``figures`` names.

    Attributes:
        draw: Called with at least one curve and the protocol of the gains that it prints,
            ``"paper"`` or ``"reference"``; gives a drawing.
        labels: The figures whose curves it draws, lower-case, such as ``("4a",)``; empty for all.
        panels: The panels whose curves it draws; empty for all.
    """

    draw: Callable[[Sequence[Curve], str], Drawing]
    labels: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()

    def choose(self, curves: Iterable[Curve]) -> list[Curve]:
        """Give the curves that it draws, in their order.

        Where it asks for units that are not prunable, or not redundant, and nobody wrote a curve of
        them, the complement of what is prunable or redundant is taken.

        Example:
            >>> others = Figure(draw=print, panels=("not prunable",))
            >>> [curve] = others.choose([Curve("prunable", "MLP", (1,), ((0.25,),))])
            >>> curve.panel, curve.values
            ('not prunable', ((0.75,),))
        """
        here = [c for c in curves if not self.labels or c.figure.lower() in self.labels]
        written = {(curve.figure, curve.panel, curve.series) for curve in here}
        found = []
        for curve in here:
            if not self.panels or curve.panel in self.panels:
                found.append(curve)
            elif curve.panel in UNITS:
                rest = curve.complement()
                is_new = (rest.figure, rest.panel, rest.series) not in written
                if rest.panel in self.panels and is_new:
                    found.append(rest)
        return found


def read_curves(folder: Path) -> list[Curve]:
    """Read the curves in the ``results.jsonl`` of a folder.

    1. A trial that comes twice counts once, as it was the last time.
    2. The curves of a panel of a figure share their widths; where one has no trials it has none.
    3. A trial whose value is null or NaN is left out; its width stays.
    4. A last line that breaks off, as an interrupted sweep leaves it, is passed over.
    5. What the journal ``run.json`` says of reductions of the last run of a figure becomes the note
       of its curves; where there is no journal, there are none.

    Args:
        folder: What a sweep wrote.

    Returns:
        The curves in the order in which their first rows come.

    Raises:
        DataError: there is no such file, a line is no JSON object, or a row lacks a field or holds
            what cannot be there.

    Example:
        >>> row = {"figure": "4d", "panel": "prunable", "series": "MLP", "width": 1, "trial": 0}
        >>> _ = Path("results.jsonl").write_text(json.dumps({**row, "value": 0.5}))
        >>> [curve] = read_curves(Path())
        >>> curve.panel, curve.series, curve.widths, curve.values
        ('prunable', 'MLP', (1.0,), ((0.5,),))
    """
    path = folder / RESULTS
    if not path.is_file():
        raise DataError(f"{folder} holds no {RESULTS}; give the folder that a sweep wrote")
    trials: dict[tuple[str, str, str], dict[tuple[float, str], float | None]] = {}
    fixed: dict[tuple[str, str, str], bool] = {}
    for number, row in _rows(path):
        where = f"line {number} of {path}"
        key = (
            _text(row, "figure", where),
            _text(row, "panel", where),
            _text(row, "series", where),
        )
        width = _number(row, "width", where)
        if width is None or width < 0:
            raise DataError(f"{where} has the width {row['width']!r}; a width is a number above 0")
        trial = str(_field(row, "trial", where))
        trials.setdefault(key, {})[width, trial] = _number(row, "value", where)
        fixed[key] = row.get("fixed") is True
    notes = _notes(folder / JOURNAL)
    widths: dict[tuple[str, str], set[float]] = {}
    for (figure, panel, _), found in trials.items():
        widths.setdefault((figure, panel), set()).update(width for width, _ in found)
    curves = []
    for (figure, panel, series), found in trials.items():
        at = tuple(sorted(widths[figure, panel]))
        values = tuple(
            tuple(v for (width, _), v in found.items() if width == each and v is not None)
            for each in at
        )
        other = fixed[figure, panel, series], notes.get(figure, "")
        curves.append(Curve(panel, series, at, values, figure, *other))
    return curves


def _notes(path: Path) -> dict[str, str]:
    """Give what was reduced, by figure."""
    if not path.is_file():
        return {}
    try:
        runs = json.loads(path.read_bytes())["runs"]
        return {
            figure: str(run.get("scale", {}).get("reductions", ""))
            for run in runs
            for figure in run["figures"]
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path} is no journal of a sweep; remove it, or mend it") from None


def _rows(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    """Give the rows that have a panel, with their line's number."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError:
                if not line.endswith(b"\n"):
                    return  # the sweep was stopped while it wrote this
                raise DataError(
                    f"line {number} of {path} is not JSON; remove it, or run the sweep again"
                ) from None
            if not isinstance(row, dict):
                raise DataError(
                    f"line {number} of {path} is {row!r:.40}; each line is a JSON object"
                )
            if "panel" in row:
                yield number, row


def _field(row: dict[str, Any], name: str, where: str) -> Any:
    if name not in row:
        raise DataError(f"{where} has a panel but no {name!r}; give it, or take out the panel")
    return row[name]


def _text(row: dict[str, Any], name: str, where: str) -> str:
    value = _field(row, name, where)
    if not isinstance(value, str):
        raise DataError(f"{where} has {name} {value!r}; it must be a text")
    return value


def _number(row: dict[str, Any], name: str, where: str) -> float | None:
    """Give a number; None for null and NaN."""
    value = _field(row, name, where)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where} has {name} {value!r}; it must be a number")
    return None if math.isnan(value) else float(value)
