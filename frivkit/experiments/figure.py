"""Figures: types of drawings, and the curves that they draw, read from the file of a sweep.

A sweep writes ``results.jsonl``, one JSON object a line.  A row with a ``"panel"`` holds one trial
of a curve; other rows are ignored.  Its ``run.json`` lists the reductions against the paper.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.errors import DataError
from frivkit.experiments.gain import UNITS, WidthCurve
from frivkit.experiments.results import read_journal, read_rows

RESULTS, JOURNAL = "results.jsonl", "run.json"
FORMATS = ("png", "svg", "pdf")

Drawing = Callable[[str], bytes]
"""Returns the content of a file in one of ``FORMATS``, the same bytes at each call."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A way to draw curves; the target of an offer of ``figures``.

    Attributes:
        draw: Called with at least one curve and the protocol of the gains that it prints,
            ``"paper"`` or ``"reference"``; returns a drawing.
        labels: The figures whose curves it draws, lower-case, such as ``("4a",)``; empty for all.
        panels: The panels whose curves it draws; empty for all.
    """

    draw: Callable[[Sequence[WidthCurve], str], Drawing]
    labels: tuple[str, ...] = ()
    panels: tuple[str, ...] = ()

    def choose(self, curves: Iterable[WidthCurve]) -> list[WidthCurve]:
        """Return the curves that it draws, in their order.

        If it draws units that are not prunable, or not redundant, and no curve of them was written,
        the complement of the prunable or redundant units is taken.

        Example:
            >>> others = Figure(draw=print, panels=("not prunable",))
            >>> [curve] = others.choose([WidthCurve("prunable", "MLP", (1,), ((0.25,),))])
            >>> curve.panel, curve.values
            ('not prunable', ((0.75,),))
        """
        candidates = [c for c in curves if not self.labels or c.figure.lower() in self.labels]
        written = {(curve.figure, curve.panel, curve.series) for curve in candidates}
        chosen = []
        for curve in candidates:
            if not self.panels or curve.panel in self.panels:
                chosen.append(curve)
            elif curve.panel in UNITS:
                rest = curve.complement()
                is_new = (rest.figure, rest.panel, rest.series) not in written
                if rest.panel in self.panels and is_new:
                    chosen.append(rest)
        return chosen


@dataclass(frozen=True, slots=True)
class FolderFigure:
    """A way to draw what a folder holds that no sweep wrote; a target of an offer of ``figures``.

    Attributes:
        draw: Called with the folder; returns a drawing.  Raises
            :class:`frivkit.errors.DataError` if the folder does not hold what it draws.
    """

    draw: Callable[[Path], Drawing]


def read_curves(folder: Path) -> list[WidthCurve]:
    """Read the curves in the ``results.jsonl`` of a folder.

    1. Of a trial that is written twice, the last row counts.
    2. The curves of a panel of a figure share their widths; one may have no trials at some of them.
    3. A trial whose value is null or NaN is left out; its width is kept.
    4. An incomplete last line, as an interrupted sweep leaves it, is ignored.
    5. The reductions that the journal ``run.json`` has for the last run of a figure become the note
       of its curves; without a journal, notes are empty.

    Args:
        folder: The folder of a sweep.

    Returns:
        The curves in the order of their first rows.

    Raises:
        DataError: there is no such file, a line is no JSON object, or a row lacks a field or has
            a value of the wrong type.

    Example:
        >>> from frivkit.experiments.results import encoded_row
        >>> row = {"figure": "4d", "panel": "prunable", "series": "MLP", "width": 1, "trial": 0}
        >>> _ = Path("results.jsonl").write_bytes(encoded_row({**row, "value": 0.5}))
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
    for (figure, panel, _), values_of in trials.items():
        widths.setdefault((figure, panel), set()).update(width for width, _ in values_of)
    curves = []
    for (figure, panel, series), values_of in trials.items():
        at = tuple(sorted(widths[figure, panel]))
        values = tuple(
            tuple(v for (width, _), v in values_of.items() if width == one and v is not None)
            for one in at
        )
        is_fixed, note = fixed[figure, panel, series], notes.get(figure, "")
        curves.append(WidthCurve(panel, series, at, values, figure, is_fixed, note))
    return curves


def _notes(path: Path) -> dict[str, str]:
    """Return the reductions against the paper, by figure."""
    if not path.is_file():
        return {}
    try:
        runs = read_journal(path)["runs"]
        return {
            figure: str(run.get("scale", {}).get("reductions", ""))
            for run in runs
            for figure in run["figures"]
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no journal of a sweep ({error}); remove it, or run the sweep again"
        ) from None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows that have a panel, each with the number of its line."""
    try:
        rows = read_rows(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); remove that line, or run the sweep again"
        ) from None
    for number, row in rows:
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
    """Return a number; None for null and NaN."""
    value = _field(row, name, where)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where} has {name} {value!r}; it must be a number")
    return None if math.isnan(value) else float(value)
