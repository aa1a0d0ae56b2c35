"""Documents as text for a terminal: tables, and the ablation curve of the whole network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CURVE_HEIGHT, CURVE_WIDTH = 9, 49
LONGEST_NAME = 40


def analysis_text(document: Mapping[str, Any]) -> str:
    """Give an analysis as text: the model, the data, a table of each metric, and a curve."""
    model, data = document["model"], document["data"]
    lines = [
        f"{Path(model['path']).name}  {_count(model['parameters'])} parameters"
        f"  {_count(model['macs'])} MACs  {len(document['sites'])} layers with units",
        f"{data['examples']} examples of {data['spec']}" + _accuracy(data["accuracy"]),
    ]
    measurements = document["measurements"]
    for metric in dict.fromkeys(m["metric"] for m in measurements):
        rows = [m for m in measurements if m["metric"] == metric]
        first = rows[0]
        units = f", units: {first['units']}" if first["units"] else ""
        lines += ["", f"{metric} ({first['protocol']} protocol{units})", *_table(rows, document)]
        lines += _curve(rows)
    return "\n".join(lines)


def inspection_text(document: Mapping[str, Any]) -> str:
    """Give an inspection as text: sites, couplings, what is skipped and why."""
    model = document["model"]
    inputs = ", ".join(
        f"{i['name']} {i['dtype']} {_shape(['n', *i['shape']])}" for i in model["inputs"]
    )
    lines = [
        f"{Path(model['path']).name}  {_count(model['parameters'])} parameters"
        f"  {_count(model['macs'])} MACs",
        f"input {inputs}   output {', '.join(model['outputs'])}",
        "",
    ]
    layer_of = {w: site["layer"] for site in document["sites"] for w in site["writers"]}
    if document["sites"]:
        rows = [["layer", "op", "units", "places", "parameters", "MACs", "read by", "coupling"]]
        for site in document["sites"]:
            row = [
                _short(site["layer"]),
                site["op"],
                str(site["units"]),
                _shape(site["spatial"]) or "-",
                _count(site["parameters"]),
                _count(site["macs"]),
                _listed([layer_of.get(reader, reader) for reader in site["readers"]]),
                (site["coupling"] or "-").removeprefix("coupling "),
            ]
            rows.append(row)
        lines += _columns(rows, right={2, 4, 5})
    else:
        lines.append("no layer with units was found: there is nothing to analyse")
    if document["couplings"]:
        lines += ["", "couplings (units that meet in a sum or product leave together)"]
    layers = {site["name"]: site["layer"] for site in document["sites"]}
    for coupling in document["couplings"]:
        kinds = ", ".join(dict.fromkeys(j["kind"] for j in coupling["junctions"]))
        members = _listed([_short(layers[name]) for name in coupling["sites"]], most=4)
        lines.append(f"  {coupling['name'].removeprefix('coupling ')}  {kinds}: {members}")
    if document["skipped"]:
        lines += ["", "not analysed"]
        rows = [[_short(s["node"]), s["op"], s["reason"]] for s in document["skipped"]]
        lines += [f"  {line}" for line in _columns(rows)]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> list[str]:
    widths = {site["layer"]: site for site in document["sites"]}
    table = [["", "units", "value", "95 % interval", ""]]
    for row in rows:
        site = widths.get(row["layer"])
        units = row["detail"].get("units", site["units"] if site else "")
        value, interval = row["value"], row["interval"]
        table.append(
            [
                _short(row["layer"]) if row["layer"] else row["scope"],
                str(units),
                "undefined" if value is None else f"{value:.3f}",
                f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "",
                _bar(value),
            ]
        )
    return _columns(table, right={1, 2})


def _bar(value: float | None, width: int = 20) -> str:
    if value is None or not 0 <= value <= 1:
        return ""
    full = round(value * width)
    return "█" * full + "·" * (width - full)


def _curve(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draw the chosen curve of the network, or of the first layer: labels against units left out."""
    row = rows[0]
    if "unchanged" not in row["detail"]:
        return []
    detail = row["detail"]
    points = [
        (x, y)
        for x, y in zip(detail["levels"], detail["unchanged"][detail["chosen_repeat"]], strict=True)
        if y is not None
    ]
    grid = [[" "] * CURVE_WIDTH for _ in range(CURVE_HEIGHT)]
    limit = round((1 - (1 - detail["tolerance"])) * (CURVE_HEIGHT - 1))
    for column in range(0, CURVE_WIDTH, 2):
        grid[limit][column] = "╌"
    for column in range(CURVE_WIDTH):
        y = _interpolated(points, column / (CURVE_WIDTH - 1))
        grid[round((1 - y) * (CURVE_HEIGHT - 1))][column] = "•"
    name = row["layer"] or "whole network"
    lines = ["", f"share of labels unchanged, {_short(name)}"]
    for i, cells in enumerate(grid):
        height = f"{1 - i / (CURVE_HEIGHT - 1):4.0%}" if i % 2 == 0 else "    "
        lines.append(f"{height:>5} ┤{''.join(cells).rstrip()}")
    lines.append("      └" + "─" * CURVE_WIDTH)
    lines.append("       0 %" + "units ablated".center(CURVE_WIDTH - 8) + "100 %")
    return lines


def _interpolated(points: Sequence[tuple[float, float]], x: float) -> float:
    for (left, low), (right, high) in zip(points, points[1:], strict=False):
        if x <= right:
            return low + (high - low) * ((x - left) / (right - left) if right > left else 0)
    return points[-1][1]


def _columns(
    rows: Sequence[Sequence[str]], right: frozenset[int] | set[int] = frozenset()
) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _count(number: int | None) -> str:
    """Give a number with a magnitude a person can read.

    Example:
        >>> _count(421642), _count(950), _count(None)
        ('422 k', '950', '?')
    """
    if number is None:
        return "?"
    for limit, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return str(number)


def _short(name: str) -> str:
    """Cut a long name in the middle of nowhere: its end says most."""
    return name if len(name) <= LONGEST_NAME else "…" + name[-(LONGEST_NAME - 1) :]


def _listed(names: Sequence[str], most: int = 2) -> str:
    shown = ", ".join(_short(name) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown or "-"


def _shape(sizes: Sequence[int | str | None]) -> str:
    return "x".join("?" if size is None else str(size) for size in sizes)


def _accuracy(accuracy: float | None) -> str:
    return "" if accuracy is None else f"  accuracy {accuracy:.1%}"
