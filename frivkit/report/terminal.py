"""Documents as text for a terminal: tables, and an ablation curve."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from frivkit.report.curves import Curves, verdict
from frivkit.report.format import (
    file_name,
    magnitude,
    number,
    percent,
    readable,
    sizes,
    span,
    told,
)
from frivkit.report.layout import LEAST, WIDTH, cells, columns, fitted, joined, wrapped

Entry = TypeVar("Entry")

CURVE_HEIGHT, CURVE_WIDTH = 11, 61
LAYERS, COUPLINGS, REASONS = 16, 8, 3
"""Lines of layers and of couplings, and reasons, that are shown unless all are requested."""
NODES = 8
"""Nodes that are listed for each reason, and layers for each coupling, unless all are requested."""


def analysis_text(document: Mapping[str, Any]) -> str:
    """Return an analysis as text: the model, the data, and a table and a verdict for each metric.

    Args:
        document: ``frivkit.analysis/1``, see ``docs/reference/json.md``.
    """
    name, document = file_name(document["model"]["path"]), readable(document)
    data = document["data"]
    accuracy = data["accuracy"]
    lines = [
        *_model(name, document),
        *wrapped(
            f"data   {data['examples']} examples of {data['spec']}"
            + ("" if accuracy is None else f", accuracy {percent(accuracy)}")
        ),
        *wrapped(
            f"task   {document['task']} of {', '.join(document['tasks'][0]['outputs'])}: a "
            f"constant output would agree on {percent(data['constant_agreement'])}"
        ),
    ]
    measurements = document["measurements"]
    for metric in dict.fromkeys(row["metric"] for row in measurements):
        rows = [row for row in measurements if row["metric"] == metric]
        units = f", units: {rows[0]['units']}" if rows[0]["units"] else ""
        lines += ["", f"{metric} ({rows[0]['protocol']} protocol{units})", *_table(rows, document)]
        curves = Curves.read(rows[0]["detail"])
        if curves is not None:
            lines += ["", *_curve(rows[0], curves), "", *wrapped(verdict(rows[0], curves), "")]
    return joined(lines)


def inspection_text(document: Mapping[str, Any], *, everything: bool = False) -> str:
    """Return an inspection as text: layers, couplings, nodes that are not analysed, and advice.

    Args:
        document: ``frivkit.inspection/1``, see ``docs/reference/json.md``.
        everything: List all layers, couplings, nodes and reasons; else no more than fit on a screen
            together with the summary, which comes last.
    """
    name, document = file_name(document["model"]["path"]), readable(document)
    model, sites = document["model"], document["sites"]
    batch = model["batch"] or "n"
    inputs = [f"{i['name']} {i['dtype']} {sizes([batch, *i['shape']])}" for i in model["inputs"]]
    lines = [
        *_model(name, document),
        *wrapped(f"input  {', '.join(inputs)}"),
        *wrapped(f"output {', '.join(model['outputs'])}"),
        "",
    ]
    layer_of = {producer: site["layer"] for site in sites for producer in site["writers"]}
    head = ["layer", "op", "units", "places", "weights", "MACs", "read by", "coupling"]
    rows = [
        [
            site["layer"],
            site["op"],
            str(site["units"]),
            sizes(site["spatial"]),
            magnitude(site["parameters"]),
            magnitude(site["macs"]),
            _listed([layer_of.get(each, each) for each in site["readers"]], everything=everything)
            or ("?" if site["not_followed"] else ""),
            (site["coupling"] or "").removeprefix("coupling "),
        ]
        for site in sites
    ]
    if rows:
        table = columns([head, *rows], right={2, 4, 5}, names={0, 6})
        lines += table if everything else _shortened(table, LAYERS)
    else:
        lines.append("no layer with units was found: there is nothing to analyse")
    most = None if everything else NODES
    couplings = _couplings(document, most)
    lines += couplings if everything else _shortened(couplings, COUPLINGS)
    lines += _skipped(document["skipped"], most)
    lines += _summary(document, most)
    return joined(lines)


def _shortened(lines: list[str], most: int) -> list[str]:
    """Return the lines without those in the middle if there are more than fit."""
    if len(lines) <= most + 2:
        return lines
    half = most // 2
    more = len(lines) - 2 * half
    return [*lines[:half], f"  … {more} more lines (see -v or --json)", *lines[-half:]]


def _summary(document: Mapping[str, Any], most: int | None) -> list[str]:
    """Return a few lines on the layers to analyse, the removable units, and the advice."""
    sites, skipped = document["sites"], document["skipped"]
    if not sites:
        return ["", *_advice(document)] if document["advice"] else []
    locked = [site["held"] for site in sites if site["held"]]
    cut = sum(site["cut_only"] for site in sites)
    units = sum(site["units"] for site in sites)
    lines = [
        "",
        *wrapped(
            f"in short: {len(sites)} {'layer' if len(sites) == 1 else 'layers'} with {units:,} "
            f"units will be analysed, {len(skipped)} {'node' if len(skipped) == 1 else 'nodes'} "
            f"with weights will not; units of {len(sites) - len(locked)} can be removed by compress"
            + ("" if not locked else f", those of {len(locked)} cannot")
            + (f" ({cut} of them with --refit none)" if cut else "")
            + (":" if locked else ""),
            "  ",
        ),
    ]
    reasons: dict[str, int] = {}
    for text in locked:
        reason = text.partition(": ")[2] or text
        reasons[reason] = reasons.get(reason, 0) + 1
    ordered = sorted(reasons.items(), key=lambda each: -each[1])
    told, more = _first(ordered, None if most is None else REASONS)
    for reason, count in told:
        lines += wrapped(f"  {count:>3} {reason}", "      ")
    if more:
        lines.append(f"     {more.strip()}")
    return [*lines, *_other_moves(document, most), *_advice(document)]


def _other_moves(document: Mapping[str, Any], most: int | None) -> list[str]:
    """Return a line on the residual branches and the nodes that compress can make smaller."""
    adds = list(dict.fromkeys(branch["node"] for branch in document["branches"]))
    whole = [each["held"] for each in document["factors"]]
    told = []
    if adds:
        first, more = _first(adds, most)
        named = ", ".join(fitted(add, WIDTH // 2) for add in first) + more
        one = len(adds) == 1
        told.append(
            f"drop the residual branch added at {named}"
            if one
            else f"drop {len(adds)} residual branches, added at {named}"
        )
    if None in whole:
        told.append(f"factorize {whole.count(None)} of {len(whole)} nodes")
    also = "also " if None in [site["held"] for site in document["sites"]] else ""
    return wrapped(f"- compress can {also}{', and '.join(told)}", "  ") if told else []


def _advice(document: Mapping[str, Any]) -> list[str]:
    return [line for each in document["advice"] for line in wrapped(f"- {each}", "  ")]


def _model(name: str, document: Mapping[str, Any]) -> list[str]:
    model, layers = document["model"], len(document["sites"])
    return wrapped(
        f"model  {name}, {magnitude(model['parameters'])} parameters, "
        f"{magnitude(model['macs'])} MACs, "
        f"{layers} {'layer' if layers == 1 else 'layers'} with units"
    )


def _table(rows: Sequence[Mapping[str, Any]], document: Mapping[str, Any]) -> list[str]:
    widths = {site["layer"]: site["units"] for site in document["sites"]}
    table = [["", "units", "value", "95 % interval", ""]]
    barred = all(_is_share(row["value"]) for row in rows)
    bar = 20 if max(cells(row["layer"] or "") for row in rows) <= 24 else 8
    for row in rows:
        interval = told(row["interval"])
        table.append(
            [
                row["layer"] or row["scope"],
                str(row["detail"].get("units", widths.get(row["layer"], ""))),
                number(row["value"]),
                span(interval, number) if interval else "",
                _bar(row["value"], bar) if barred else "",
            ]
        )
    return columns(table, right={1, 2}, names={0})


def _is_share(value: float | None) -> bool:
    return value is None or 0 <= value <= 1


def _bar(value: float | None, width: int) -> str:
    if value is None:
        return ""
    full = round(value * width)
    return "█" * full + "·" * (width - full)


def _curve(row: Mapping[str, Any], curves: Curves) -> list[str]:
    """Return a drawing of the chosen curve: labels unchanged against the level."""
    points = curves.points(curves.chosen)
    grid = [[" "] * CURVE_WIDTH for _ in range(CURVE_HEIGHT)]
    limit = round(curves.tolerance * (CURVE_HEIGHT - 1))
    grid[limit] = ["╌" if column % 2 == 0 else " " for column in range(CURVE_WIDTH)]
    for column in range(CURVE_WIDTH):
        y = _interpolated(points, column / (CURVE_WIDTH - 1))
        grid[round((1 - y) * (CURVE_HEIGHT - 1))][column] = "•"
    heights = {
        0: "100 %",
        CURVE_HEIGHT // 2: "50 %",
        CURVE_HEIGHT - 1: "0 %",
        limit: curves.required,
    }
    axis, below = ["─"] * CURVE_WIDTH, list("0 %".ljust(CURVE_WIDTH - 5) + "100 %")
    if curves.crossed and row["value"] is not None and _is_share(row["value"]):
        at, label = round(row["value"] * (CURVE_WIDTH - 1)), percent(row["value"])
        axis[at] = "┴"
        first = min(max(at - len(label) // 2, 5), CURVE_WIDTH - len(label) - 7)
        below[first : first + len(label)] = label
    return [
        "labels unchanged, "
        + (fitted(row["layer"], WIDTH // 2) if row["layer"] else "whole network"),
        *(f"  {heights.get(i, ''):>6} ┤{''.join(cells)}".rstrip() for i, cells in enumerate(grid)),
        f"         └{''.join(axis)}",
        f"          {''.join(below)}",
        f"         {curves.across:^{CURVE_WIDTH}}".rstrip(),
    ]


def _interpolated(points: Sequence[tuple[float, float]], x: float) -> float:
    for (left, low), (right, high) in pairwise(points):
        if x <= right:
            return low + (high - low) * max(0.0, (x - left) / (right - left))
    return points[-1][1]


def _couplings(document: Mapping[str, Any], most: int | None) -> list[str]:
    if not document["couplings"]:
        return []
    lines = ["", "couplings: layers whose units meet, so that they are removed together"]
    layers = {site["name"]: site["layer"] for site in document["sites"]}
    for coupling in document["couplings"]:
        kinds = ", ".join(
            dict.fromkeys(merge_point["kind"] for merge_point in coupling["junctions"])
        )
        first, more = _first(coupling["sites"], most)
        members = ", ".join(fitted(layers[name], WIDTH // 2) for name in first)
        name = coupling["name"].removeprefix("coupling ")
        lines += wrapped(f"  {name}  {kinds}: {members}{more}", "     ")
    return lines


def _skipped(skipped: Sequence[Mapping[str, str]], most: int | None) -> list[str]:
    if not skipped:
        return []
    lines = ["", "not analysed"]
    for reason in dict.fromkeys(skip["reason"] for skip in skipped):
        nodes, more = _first([skip for skip in skipped if skip["reason"] == reason], most)
        lines += wrapped(f"  {reason}", "    ")
        lines += [
            f"    {skip['op']}  {fitted(skip['node'], max(LEAST, WIDTH - 6 - len(skip['op'])))}"
            for skip in nodes
        ]
        if more:
            lines.append(f"   {more}")
    return lines


def _first(entries: Sequence[Entry], most: int | None) -> tuple[Sequence[Entry], str]:
    """Return the first entries, all if ``most`` is None, and how many more there are, in words."""
    left = 0 if most is None else len(entries) - most
    return entries[:most], f" and {left} more (see -v or --json)" if left > 0 else ""


def _listed(names: Sequence[str], *, everything: bool) -> str:
    if everything:
        return ", ".join(names)
    more = f" +{len(names) - 1}" if len(names) > 1 else ""
    return names[0] + more if names else ""
