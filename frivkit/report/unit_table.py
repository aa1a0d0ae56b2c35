"""Values of single units, joined over metrics: a table for each layer, and a CSV of all tables."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

VALUE = "value"
"""The column that is named after its metric alone."""

Column = tuple[str, str]
"""A metric and one of its columns."""


@dataclass(frozen=True, slots=True)
class UnitTable:
    """The values of each unit of a layer.

    Attributes:
        layer: The layer.
        selector: The unit selector, None if the metric names none.
        columns: A value for each unit, None if it is undefined, by metric and column.
    """

    layer: str
    selector: str | None
    columns: Mapping[Column, Sequence[Any]]

    @property
    def units(self) -> int:
        """The number of units."""
        return max(len(values) for values in self.columns.values())

    def row(self, unit: int, columns: Sequence[Column]) -> list[Any]:
        """Return the values of a unit in some columns, None if a column has none."""
        by_column = (self.columns.get(column, ()) for column in columns)
        return [values[unit] if unit < len(values) else None for values in by_column]


def unit_tables(document: Mapping[str, Any]) -> list[UnitTable]:
    """Return the values of single units that the metrics of an analysis give, joined by layer.

    Args:
        document: ``frivkit.analysis/1``, see ``docs/reference/json.md``.

    Returns:
        A table for each layer in the order of the network and each unit selector; none for a layer
        of which no metric gives values of single units.

    Example:
        >>> row = {"metric": "m", "layer": "a", "units": "map"}
        >>> rows = [row | {"detail": {"per_unit": {"value": [0.5, None]}}}, row | {"detail": {}}]
        >>> unit_tables({"sites": [{"layer": "a"}], "measurements": rows})[0].columns
        {('m', 'value'): [0.5, None]}
    """
    order = {site["layer"]: i for i, site in enumerate(document["sites"])}
    joined: dict[tuple[str, str | None], dict[Column, Sequence[Any]]] = {}
    for row in document["measurements"]:
        columns = _columns(row["detail"])
        if row["layer"] is not None and columns:
            table = joined.setdefault((row["layer"], row["units"]), {})
            table |= {(row["metric"], name): values for name, values in columns.items()}
    tables = [UnitTable(*key, columns) for key, columns in joined.items()]
    return sorted(tables, key=lambda table: order.get(table.layer, len(order)))


def unit_csv(tables: Sequence[UnitTable]) -> str:
    r"""Return tables as one CSV file: a row for each unit of each layer and selector.

    Numbers have all digits, undefined values are empty.  Names are those of the model file,
    unchanged.

    Example:
        >>> unit_csv([UnitTable("a", "map", {("m", "value"): [0.5, None], ("m", "n"): [3, 4]})])
        'layer,unit,units,m,m.n\na,0,map,0.5,3\na,1,map,,4\n'
    """
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    metrics = list(dict.fromkeys(metric for metric, _ in columns))
    columns.sort(key=lambda column: metrics.index(column[0]))  # a metric's columns stay together
    names = (metric if name == VALUE else f"{metric}.{name}" for metric, name in columns)
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["layer", "unit", "units", *names])
    for table in tables:
        writer.writerows(
            [table.layer, unit, table.selector, *table.row(unit, columns)]
            for unit in range(table.units)
        )
    return stream.getvalue()


def _columns(detail: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Return the columns of single units in a detail that are lists of scalars."""
    columns = detail.get("per_unit")
    if not isinstance(columns, Mapping):
        return {}
    return {
        name: values
        for name, values in columns.items()
        if isinstance(values, list)
        and values
        and all(value is None or isinstance(value, str | int | float) for value in values)
    }
