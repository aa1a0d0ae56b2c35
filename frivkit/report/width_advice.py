"""The document of ``frivkit advise``, and the document as text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from frivkit.advice import Advice, Count, FamilyNetwork, Growth
from frivkit.documents.advice import (
    AdviceDocument,
    AdvisedModelPart,
    GrowthPart,
    UnitCountPart,
    UsedGainPart,
)
from frivkit.experiments.gain import Gain
from frivkit.graph.cost import macs
from frivkit.graph.operators.table import operators_of
from frivkit.hooks.registry import installed
from frivkit.provenance import Clock, provenance
from frivkit.report.format import ends, file_name, percent, readable, short, span
from frivkit.report.layout import columns, joined, wrapped

KINDS = ("prunable", "redundant")
NAME = 40
"""Characters of a file's name in a sentence."""
COVERED = {
    "networks": "Intervals of g cover how networks of one width differ.",
    "measurement": "Intervals of g cover the choice of examples, masks and rows, and not how a "
    "network differs that is trained anew, so what is said against the width is said of these "
    "files: give several networks of each width for more.",
}


def advice_document(advice: Advice, clock: Clock) -> AdviceDocument:
    """Return the document ``frivkit.advice/1``, see ``docs/reference/json.md``."""
    data = advice.networks[0].measured.data
    document: AdviceDocument = {
        "schema": "frivkit.advice/1",
        "models": [_model(network) for network in advice.networks],
        "data": {
            "spec": data.description,
            "sha256": data.digest,
            "examples": data.examples,
        },
        "protocol": "reference" if advice.protocol == "reference" else "paper",
        "layers": [
            {"layer": layer.name, "units": list(layer.units), "fixed": layer.fixed}
            for layer in advice.family.layers
        ],
        "growth": [_growth(row) for row in advice.rows],
        "warnings": list(advice.warnings),
        "provenance": provenance(clock, advice.seed, installed().versions()),
        "advice": [],
    }
    document["advice"] = advice_sentences(document)
    return document


def _model(network: FamilyNetwork) -> AdvisedModelPart:
    model, analysis = network.measured.model, network.measured.analysis
    return {
        "path": str(model.path),
        "sha256": model.sha256,
        "format": model.format,
        "parameters": model.parameters,
        "macs": macs(model.graph, operators_of(model)),
        "width": network.width,
        "units": network.units,
        "accuracy": analysis.accuracy,
        "labels_in_largest_class": analysis.largest_class,
        "shares": {
            "prunable": network.measured.shares["prunable", None].value,
            "redundant": network.measured.shares["redundant", None].value,
        },
    }


def _growth(row: Growth) -> GrowthPart:
    coming = row.used_by_next()
    return {
        "kind": row.kind,
        "scope": "network" if row.layer is None else "layer",
        "layer": row.layer,
        "fixed": row.fixed,
        "counts": [_count(count) for count in row.counts],
        "gain": {**_gain(row.gain), "covers": row.covers, "verdict": row.verdict},
        "used_gain": _gain(row.used_gain),
        "holds": row.holds,
        "next": {
            "width": 2 * row.counts[-1].width,
            "units": row.doubled,
            "used_added": None if coming is None else coming[0],
            "used_added_interval": None if coming is None else _pair(coming[1]),
        },
    }


def _gain(gain: Gain) -> UsedGainPart:
    return {
        "value": _finite(gain.value),
        "interval": None if gain.interval is None else [_finite(end) for end in gain.interval],
        "factors": [_finite(factor) for factor in gain.factors],
    }


def _count(count: Count) -> UnitCountPart:
    return {
        "width": count.width,
        "units": count.units,
        "share": count.share.value,
        "interval": _pair(count.share.interval),
        "number": count.number,
        "used": count.used,
        "used_interval": _pair(count.used_interval),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pair(interval: Sequence[float] | None) -> list[float] | None:
    return None if interval is None else list(interval)


def network_row(document: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """Return the growth of the whole network in units of a kind.

    Args:
        document: ``frivkit.advice/1``, see ``docs/reference/json.md``.
        kind: ``"prunable"`` or ``"redundant"``.
    """
    row: Mapping[str, Any] = next(
        row for row in document["growth"] if (row["kind"], row["layer"]) == (kind, None)
    )
    return row


def advice_sentences(document: Mapping[str, Any]) -> list[str]:
    """Return two sentences: which width holds the used units, and what the next doubling buys.

    With one width, the second says that growth needs several.

    Args:
        document: ``frivkit.advice/1``, see ``docs/reference/json.md``.
    """
    rows = {kind: network_row(document, kind) for kind in KINDS}
    widest = document["models"][-1]
    units = rows["redundant"]["counts"][-1]["units"]
    models = len(document["models"])
    if len(rows["redundant"]["counts"]) == 1:
        shares = " and ".join(
            f"{_number(rows[kind]['counts'][-1])} are {kind}" for kind in reversed(KINDS)
        )
        return [
            f"Of the {units:,} units of {_name(widest)}, {shares}."
            if models == 1
            else f"Of the {units:,} units of each of {models} networks, {shares} on average.",
            "Whether these grow faster than the network cannot be said from one width: give "
            "networks of the same family at other widths.",
        ]
    return [_holding(document, rows, widest), _doubling(rows)]


def _number(count: Mapping[str, Any]) -> str:
    """Return a number of units with its share and interval."""
    interval = ends(count["interval"])
    within = "" if interval is None else f", 95 % interval {span(interval, percent)}"
    return f"{count['number']:,.0f} ({percent(count['share'])}{within})"


def _holding(
    document: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]], widest: Mapping[str, Any]
) -> str:
    parts = []
    for kind in reversed(KINDS):
        count = rows[kind]["counts"][-1]
        holds = rows[kind]["holds"]
        interval = ends(count["used_interval"])
        within = "" if interval is None else f" ({span(interval, _rounded)})"
        if holds == widest["width"]:  # the end of the interval decides, and may exceed the number
            end = "" if interval is None else f"and {_rounded(interval[1])} is "
            where = f"{end}more than any narrower network here has"
        else:
            narrower = next(each for each in document["models"] if each["width"] == holds)
            where = f"and {_name(narrower)} at width {holds:.3g} has {narrower['units']:,} in all"
            if narrower["accuracy"] is not None and widest["accuracy"] is not None:
                both = (percent(narrower["accuracy"]), percent(widest["accuracy"]))
                where += f" (accuracy {both[0]} against {both[1]})"
        parts.append(f"{count['used']:,.0f}{within} are not {kind}, {where}")
    return (
        f"Of the {rows['redundant']['counts'][-1]['units']:,} units of {_name(widest)} at width "
        f"{widest['width']:.3g}, {'; '.join(parts)}."
    )


def _doubling(rows: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for kind in reversed(KINDS):
        row = rows[kind]
        coming = row["next"]
        text = "an unknown number"
        if coming["used_added"] is not None:
            interval = ends(coming["used_added_interval"])
            within = "" if interval is None else f" ({span(interval, _rounded)})"
            text = f"about {_rounded(coming['used_added'])}{within}"
        parts.append(f"{text} that are not {kind} (g of {kind} units {gain_text(row)})")
    added = rows["redundant"]["next"]["units"] - rows["redundant"]["counts"][-1]["units"]
    return (
        f"If this goes on, the next doubling of the width buys {added:,} more units: "
        f"{' and '.join(parts)}."
    )


def _rounded(number: float) -> str:
    return f"{round(number) + 0:,}"  # no -0


def gain_text(row: Mapping[str, Any]) -> str:
    """Return the gain of a row with its interval, as text."""
    gain = row["gain"]
    if gain["value"] is None:
        return "undefined"
    within = gain_interval(gain)
    return f"{gain['value']:.2f}" + (f", {within}" if within else "")


def gain_interval(gain: Mapping[str, Any]) -> str:
    """Return the interval of a gain as text, empty if there is none; null stands for infinity."""
    if gain["interval"] is None:
        return ""
    low, high = ("∞" if end is None else f"{end:.2f}" for end in gain["interval"])
    return f"{low} to {high}"


def _name(model: Mapping[str, Any]) -> str:
    return short(file_name(model["path"]), NAME)


def advice_text(document: Mapping[str, Any]) -> str:
    """Return an advice as text: the two sentences, a table of networks and one of gains.

    Args:
        document: ``frivkit.advice/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    lines = [line for text in shown["advice"] for line in wrapped(text, "")]
    lines += ["", *columns(network_cells(shown), right={1, 2, 3, 4, 5, 6}, names={0}), ""]
    for kind in KINDS:
        lines += [
            f"{kind} units",
            *columns(layer_cells(shown, kind), right={1, 2, 3}, names={0}),
            "",
        ]
    notes = covered(shown)
    lines += wrapped(
        f"{shown['protocol']} protocol, {shown['data']['examples']:,} examples of "
        f"{shown['data']['spec']}. {notes}".strip(),
        "",
    )
    return joined(lines)


def covered(document: Mapping[str, Any]) -> str:
    """Return what the intervals of the gains cover, in a sentence; empty if there are none."""
    found = {row["gain"]["covers"] for row in document["growth"]} - {None}
    return " ".join(COVERED[each] for each in sorted(found))


def network_cells(document: Mapping[str, Any]) -> list[list[str]]:
    """Return a table of the networks, the head first.

    Args:
        document: ``frivkit.advice/1``, its texts readable.
    """
    table = [["", "width", "units", "accuracy", "prunable", "redundant"]]
    for model in document["models"]:
        accuracy = "" if model["accuracy"] is None else percent(model["accuracy"])
        table.append(
            [
                file_name(model["path"]),
                f"{model['width']:.3g}",
                f"{model['units']:,}",
                accuracy,
                *(percent(model["shares"][kind]) for kind in KINDS),
            ]
        )
    return table


def layer_cells(document: Mapping[str, Any], kind: str) -> list[list[str]]:
    """Return a table of the units of a kind in the network and in its layers, the head first.

    Args:
        document: ``frivkit.advice/1``, its texts readable.
        kind: ``"prunable"`` or ``"redundant"``.
    """
    rows = [row for row in document["growth"] if row["kind"] == kind]
    these = " (these files)" if any(r["gain"]["covers"] == "measurement" for r in rows) else ""
    table = [["", "units", kind, "g", "95 % interval", f"against the width{these}"]]
    for row in rows:
        count = row["counts"][-1]
        gain = row["gain"]
        table.append(
            [
                row["layer"] or row["scope"],
                f"{count['units']:,}",
                f"{count['number']:,.0f}",
                "" if gain["value"] is None else f"{gain['value']:.2f}",
                gain_interval(gain),
                "fixed" if row["fixed"] and len(row["counts"]) > 1 else gain["verdict"] or "",
            ]
        )
    return table
