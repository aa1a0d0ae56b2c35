"""The tables and lists of facts of a report, as text."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frivkit.report.figures import NAME, Section
from frivkit.report.format import number, percent, short, sizes
from frivkit.report.unit_table import UnitTable

FactList = list[tuple[str, str]]
"""Names and values, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        columns: Its head.
        rows: Its cells.
        css: Its class, by which the style aligns columns of numbers.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    css: str

    @property
    def long(self) -> bool:
        """Whether it should be collapsed."""
        return len(self.rows) > 40


def measurement_table(sections: Sequence[Section]) -> Table:
    """Return the table of all measurements, with the details that differ between them."""
    rows = [
        (
            short(section.metric, NAME),
            row["layer"] or row["scope"],
            _units(row),
            section.show(row["value"]),
            section.interval(row),
            grouped(row["examples"]),
            ", ".join(
                short(f"{key}: {plain(v)}", NAME) for key, v in section.particulars(row).items()
            ),
        )
        for section in sections
        for row in section.rows
    ]
    columns = ("metric", "layer", "units", "value", "95 % interval", "examples", "detail")
    if not any(row[-1] for row in rows):
        return Table(columns[:-1], [row[:-1] for row in rows], "measurements")
    return Table(columns, rows, "measurements")


def _units(row: Mapping[str, Any]) -> str:
    units = row["detail"].get("units")
    return grouped(units) if type(units) is int else ""


def site_table(sites: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the layers with units, in the order of the network."""
    rows = [
        (
            str(i),
            short(site["layer"], NAME),
            short(site["op"], NAME),
            grouped(site["units"]),
            sizes(site["spatial"]) or "–",
            (site["coupling"] or "–").removeprefix("coupling "),
            short(site["name"], NAME),
        )
        for i, site in enumerate(sites, start=1)
    ]
    columns = ("#", "layer", "operator", "units", "places", "coupling", "tensor")
    return Table(columns, rows, "sites")


def skipped_table(skipped: Sequence[Mapping[str, Any]]) -> Table:
    """Return the table of the nodes with weights that are not analysed, with the reasons."""
    rows = [
        (short(skip["node"], NAME), short(skip["op"], NAME), skip["reason"]) for skip in skipped
    ]
    return Table(("node", "operator", "why"), rows, "skipped")


def model_facts(document: Mapping[str, Any]) -> FactList:
    """Return the facts on the model."""
    model, sites = document["model"], document["sites"]
    facts = [("format", model["format"]), ("parameters", grouped(model["parameters"]))]
    if "trainable_parameters" in model:
        # More than the file holds if a batch norm was merged into its convolution.
        facts.append(("parameters in training", grouped(model["trainable_parameters"])))
    selected = document["provenance"].get("layers", sites)
    layers = grouped(len(sites))
    if len(selected) < len(sites):
        layers = f"{layers}, {grouped(len(selected))} of them analysed"
    return [
        *facts,
        ("multiply-accumulates for one example", grouped(model["macs"])),
        ("layers with units", layers),
        ("nodes not analysed", grouped(len(document["skipped"]))),
        ("task", f"{document['task']} of {', '.join(document['tasks'][0]['outputs'])}"),
    ]


def data_facts(data: Mapping[str, Any]) -> FactList:
    """Return the facts on the examples."""
    accuracy = data["accuracy"]
    return [
        ("source", data["spec"]),
        ("examples", grouped(data["examples"])),
        ("accuracy of the network", "unknown" if accuracy is None else percent(accuracy)),
        ("labels in the largest class", percent(data["labels_in_largest_class"])),
        ("agreement of a constant output", percent(data["constant_agreement"])),
    ]


def provenance_facts(document: Mapping[str, Any]) -> FactList:
    """Return the facts on the origin of the results."""
    model = document["model"]
    return [
        *origin_facts(document["provenance"]),
        ("model", model["path"]),
        ("model's sha256", model["sha256"]),
        ("data's sha256", document["data"]["sha256"]),
    ]


def origin_facts(origin: Mapping[str, Any]) -> FactList:
    """Return the facts on the program, from the key ``provenance`` of a document."""
    reused = ", ".join(f"{count} {what}" for what, count in origin.get("reused", {}).items())
    return [
        ("command", shlex.join(origin["command"]) if origin["command"] else "called from Python"),
        ("started", origin["started"]),
        ("seconds", plain(origin["seconds"]) + (f" (from the cache: {reused})" if reused else "")),
        ("seed", plain(origin["seed"])),
        ("frivkit", origin["frivkit"]),
        ("Python", origin["python"]),
        ("packages", ", ".join(f"{name} {v}" for name, v in origin["packages"].items())),
        ("plugins", ", ".join(f"{name} {v}" for name, v in origin["plugins"].items())),
    ]


@dataclass(frozen=True, slots=True)
class Units:
    """The table of a layer's units.

    Attributes:
        layer: The layer.
        selector: The unit selector.
        count: The number of its units.
        metrics: The names of the metrics, each with the names of its columns.
        rows: The cells of the first units.
    """

    layer: str
    selector: str
    count: int
    metrics: Sequence[tuple[str, tuple[str, ...]]]
    rows: Sequence[tuple[str, ...]]


def units_of(table: UnitTable, most: int) -> Units:
    """Return the table of the first ``most`` units of a layer."""
    columns = list(table.columns)
    metrics = {
        metric: tuple(
            short(name.replace("_", " "), NAME) for other, name in columns if other == metric
        )
        for metric, _ in columns
    }
    return Units(
        layer=short(table.layer, NAME),
        selector=short(table.selector or "", NAME),
        count=table.units,
        metrics=[(short(metric, NAME), names) for metric, names in metrics.items()],
        rows=[
            (str(unit), *map(_cell, table.row(unit, columns)))
            for unit in range(min(most, table.units))
        ],
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return number(value) if isinstance(value, float) else short(plain(value), NAME)


def grouped(integer: int | None) -> str:
    """Return an integer with its digits in groups of three, as in SI.

    Example:
        >>> grouped(421642).split(), grouped(950), grouped(None)
        (['421', '642'], '950', 'unknown')
    """
    return (
        "unknown" if integer is None else f"{integer:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    )


def plain(value: Any) -> str:
    """Return a plain JSON value as text.

    Example:
        >>> plain(True), plain(None), plain(0.2), plain(3), plain("a")
        ('yes', 'none', '0.2', '3', 'a')
    """
    if value is None or isinstance(value, bool):
        return "none" if value is None else "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
