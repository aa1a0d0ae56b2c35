"""Tables that can be sorted and filtered, and those of the layers of a network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frivkit.report.figures import NAME, Section
from frivkit.report.format import number, percent, short, sizes
from frivkit.report.tables import grouped

UNKNOWN = "–"
KINDS = ("prunable", "redundant", "both", "neither", "dropped")
"""The kinds of removed units, each with a column of its own."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell.

    Attributes:
        text: What it shows.
        key: The number that it is sorted by; None sorts by the text.
        known: Whether there is a value; cells without one come last.
        link: The ``id`` of an element that it leads to, empty for none.
        more: A second, smaller line, such as an interval.
    """

    text: str
    key: float | None = None
    known: bool = True
    link: str = ""
    more: str = ""

    @classmethod
    def of(cls, value: float | None, text: str | None = None, more: str = "") -> "TableCell":
        """Return the cell of a number, with its text if it is not the number in plain."""
        if value is None:
            return cls(UNKNOWN, known=False)
        return cls(str(value) if text is None else text, float(value), more=more)


@dataclass(frozen=True, slots=True)
class SortableTable:
    """A table with keys to sort its rows by.

    Attributes:
        name: What the rows are, in the plural.
        columns: Its head.
        rows: Its cells.
        numbers: The columns of numbers, which stand to the right.
        row: The ``id`` of a row without its number; tables of one page differ in it.
        title: The column of names, which head their rows.
    """

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[TableCell, ...]]
    numbers: frozenset[int]
    row: str = "layer"
    title: int = 1


def analysed_layers(
    shown: Mapping[str, Any], sections: Sequence[Section], boxes: Mapping[str, str]
) -> SortableTable:
    """Return the table of the layers with units: what they are, and their values.

    Args:
        shown: ``frivkit.analysis/1``, its texts readable.
        sections: Its metrics.
        boxes: By layer the ``id`` of its box on the map.
    """
    measured = [section for section in sections if section.layers]
    values = [{row["layer"]: row for row, _ in section.layers} for section in measured]
    rows = []
    for i, site in enumerate(shown["sites"], start=1):
        layer = short(site["layer"], NAME)
        cells = [
            TableCell.of(i),
            TableCell(layer, link=boxes.get(site["layer"], "")),
            TableCell(short(site["op"], NAME)),
            TableCell.of(site["units"], grouped(site["units"])),
            _places(site["spatial"]),
            _coupling(site["coupling"]),
        ]
        for section, by_layer in zip(measured, values, strict=True):
            row = by_layer.get(layer)
            cells.append(
                TableCell.of(row["value"], section.show(row["value"]), section.interval(row))
                if row
                else TableCell.of(None)
            )
        rows.append(tuple(cells))
    columns = ["#", "layer", "operator", "units", "places", "coupling"]
    columns += [section.metric for section in measured]
    return _without_empty(SortableTable("layers", tuple(columns), rows, _numbers(columns)))


def compressed_layers(shown: Mapping[str, Any], boxes: Mapping[str, str]) -> SortableTable:
    """Return the table of the layers of a compression: their widths, and what was removed.

    Args:
        shown: ``frivkit.compression/1`` or ``frivkit.verification/1``, its texts readable.
        boxes: By layer the ``id`` of its box on the map.
    """
    columns = ["#", "layer", "before", "after", "kept", *KINDS, "predicted error"]
    rows = []
    for i, each in enumerate(shown["layers"], start=1):
        before, after = each["units_before"], each["units_after"]
        removed = each.get("removed") or {}
        error = each["predicted_error"]
        rows.append(
            (
                TableCell.of(i),
                TableCell(short(each["layer"], NAME), link=boxes.get(each["layer"], "")),
                TableCell.of(before, grouped(before)),
                TableCell.of(after, grouped(after)),
                TableCell.of(after / before, percent(after / before)),
                *(TableCell.of(removed.get(kind), grouped(removed.get(kind))) for kind in KINDS),
                TableCell.of(error, None if error is None else number(error)),
            )
        )
    return _without_empty(SortableTable("layers", tuple(columns), rows, _numbers(columns)))


def _places(spatial: Sequence[int]) -> TableCell:
    if not spatial:
        return TableCell(UNKNOWN, known=False)
    product = 1
    for size in spatial:
        product *= size if isinstance(size, int) else 1
    return TableCell(sizes(spatial), float(product))


def _coupling(name: str | None) -> TableCell:
    text = (name or "").removeprefix("coupling ")
    if not text:
        return TableCell(UNKNOWN, known=False)
    return TableCell(text, float(text)) if text.isdecimal() else TableCell(text)


def _numbers(columns: Sequence[str]) -> frozenset[int]:
    words = {"layer", "operator"}
    return frozenset(i for i, column in enumerate(columns) if column not in words)


def _without_empty(table: SortableTable) -> SortableTable:
    """Return the table without columns in which nothing is known, or of kinds that none has."""
    kept = [
        i
        for i, column in enumerate(table.columns)
        if i < 2 or any(row[i].known and (row[i].key or column not in KINDS) for row in table.rows)
    ]
    return SortableTable(
        table.name,
        tuple(table.columns[i] for i in kept),
        [tuple(row[i] for i in kept) for row in table.rows],
        frozenset(new for new, old in enumerate(kept) if old in table.numbers),
    )
