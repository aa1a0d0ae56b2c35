"""The document of ``frivkit compare``, and the document as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frivkit.digests import split_checksum, warn_unchecked
from frivkit.documents.comparison import (
    ComparedAnalysisPart,
    ComparedLayerPart,
    ComparedMetricPart,
    ComparisonDocument,
)
from frivkit.errors import DataError, UsageError
from frivkit.files import open_regular
from frivkit.hooks.registry import installed
from frivkit.provenance import Clock, provenance
from frivkit.report.analysis_shape import fault_of
from frivkit.report.differences import comparison_rows, match_layers
from frivkit.report.figures import SHARES_OF_UNITS
from frivkit.report.format import number, percent, readable, short, span
from frivkit.report.layout import columns, joined, wrapped

SCHEMA = "frivkit.analysis/1"
LARGEST = 256 << 20
"""Bytes of a document beyond which it is none of ours."""
SHOWN = 5
"""Analyses whose values have a column each in the terminal; of more, the first and the last."""
LABEL = 14
"""Characters of the name of an analysis above a column."""


def read_analysis(path: Path) -> Mapping[str, Any]:
    """Return the document of an analysis that ``frivkit analyze --json`` wrote.

    A document without a checksum is warned of.

    Raises:
        DataError: the file is missing, too large, no JSON, damaged, of another kind, or lacks what
            is compared.
    """
    try:
        with open_regular(path) as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) > LARGEST:
        raise DataError(f"{path} has more than {LARGEST >> 20} MiB and is no analysis")
    try:
        document, checksum = split_checksum(content)
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error}); give files of analyze --json") from error
    check_analysis(document, str(path))
    if checksum == "wrong":
        raise DataError(
            f"{path} was changed after it was written: its checksum is wrong; write it again by "
            "analyze --json, or take out crc32 from its provenance if you changed it"
        )
    if checksum == "missing":
        warn_unchecked(path, "it has no checksum")
    found: Mapping[str, Any] = document
    return found


def check_analysis(document: object, name: str) -> None:
    """Raise an error unless a document holds what is compared of an analysis.

    Raises:
        DataError: it is of another kind, or incomplete.
    """
    kind = document.get("schema") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or kind != SCHEMA:
        found = f"a {kind}" if isinstance(kind, str) else "a document of no known kind"
        raise DataError(
            f"compare takes analyses, and {name} is {found}; give files of analyze --json"
        )
    fault = fault_of(document)
    if fault is not None:
        raise DataError(f"{name} is a damaged analysis: {fault}; write it again by analyze --json")


def comparison_document(
    documents: Sequence[Mapping[str, Any]], labels: Sequence[str], clock: Clock
) -> ComparisonDocument:
    """Return the document ``frivkit.comparison/1``, see ``docs/reference/json.md``.

    Args:
        documents: At least two documents of ``frivkit.analysis/1``, the first the one to compare
            with.
        labels: A name for each.
        clock: The start of the comparison.

    Raises:
        UsageError: there are fewer than two, or they have no metric in common.
    """
    if len(documents) < 2:
        raise UsageError("compare needs at least two analyses; give files of analyze --json")
    each = [dict.fromkeys(row["metric"] for row in d["measurements"]) for d in documents]
    metrics = [name for name in each[0] if all(name in other for other in each[1:])]
    if not metrics:
        measured = "; ".join(
            f"{label} measures {', '.join(names) or 'nothing'}"
            for label, names in zip(labels, each, strict=True)
        )
        raise UsageError(f"the analyses have no metric in common: {measured}")
    layers = match_layers(documents)
    return {
        "schema": "frivkit.comparison/1",
        "analyses": [_analysis(d, label) for d, label in zip(documents, labels, strict=True)],
        "layers": [_layer(documents, names) for names in layers],
        "metrics": [_metric(documents, metric, layers) for metric in metrics],
        "warnings": _warnings(documents, labels, metrics, each),
        "provenance": provenance(clock, 0, installed().versions()),
    }


def _analysis(document: Mapping[str, Any], label: str) -> ComparedAnalysisPart:
    model, data = document["model"], document["data"]
    return {
        "label": label,
        "path": model["path"],
        "sha256": model["sha256"],
        "parameters": model["parameters"],
        "macs": model["macs"],
        "units": sum(site["units"] for site in document["sites"]),
        "data": data["spec"],
        "data_sha256": data["sha256"],
        "examples": data["examples"],
        "accuracy": data["accuracy"],
    }


def _layer(
    documents: Sequence[Mapping[str, Any]], names: Sequence[str | None]
) -> ComparedLayerPart:
    widths = [{site["layer"]: site["units"] for site in d["sites"]} for d in documents]
    return {
        "names": list(names),
        "units": [
            None if name is None else width[name] for width, name in zip(widths, names, strict=True)
        ],
    }


def _metric(
    documents: Sequence[Mapping[str, Any]], metric: str, layers: Sequence[tuple[str | None, ...]]
) -> ComparedMetricPart:
    first = next(row for row in documents[0]["measurements"] if row["metric"] == metric)
    return {
        "metric": metric,
        "protocol": first["protocol"],
        "units": first["units"],
        "rows": comparison_rows(documents, metric, layers),
    }


def _warnings(
    documents: Sequence[Mapping[str, Any]],
    labels: Sequence[str],
    metrics: Sequence[str],
    each: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Return what makes the analyses hard to compare, a sentence each."""
    warnings = []
    for label, document in zip(labels[1:], documents[1:], strict=True):
        if document["data"]["sha256"] != documents[0]["data"]["sha256"]:
            warnings.append(
                f"{label} was measured on other examples than {labels[0]}: differences may be "
                "those of the data"
            )
    for metric in metrics:
        ways = [_way(document, metric) for document in documents]
        for label, way in zip(labels[1:], ways[1:], strict=True):
            differing = [key for key, value in way.items() if value != ways[0][key]]
            if differing:
                warnings.append(
                    f"{metric} of {label} was measured with another {' and '.join(differing)} than "
                    f"that of {labels[0]}"
                )
    left = dict.fromkeys(name for names in each for name in names if name not in metrics)
    if left:
        warnings.append(f"not compared, since not all analyses have it: {', '.join(left)}")
    return warnings


def _way(document: Mapping[str, Any], metric: str) -> dict[str, Any]:
    row = next(row for row in document["measurements"] if row["metric"] == metric)
    tolerance = row["detail"].get("tolerance")
    return {"protocol": row["protocol"], "unit selector": row["units"], "tolerance": tolerance}


def shows_shares(metric: Mapping[str, Any]) -> bool:
    """Return whether the values of a metric are shares of units, shown in per cent.

    Args:
        metric: One of ``metrics`` in the document.
    """
    known = [curve for row in metric["rows"] for curve in row["curves"]]
    return metric["metric"] in SHARES_OF_UNITS or (bool(known) and all(known))


def show_difference(value: float | None, *, shares: bool) -> str:
    r"""Return a difference as text, shares in percentage points.

    Example:
        >>> show_difference(0.0312, shares=True), show_difference(-1.5, shares=False)
        ('+3.1\xa0pp', '-1.500')
    """
    if value is None:
        return "undefined"
    if shares:
        return f"{100 * value:+.1f}\N{NO-BREAK SPACE}pp"
    return f"+{number(value)}" if value > 0 else number(value)


def answers(document: Mapping[str, Any]) -> list[str]:
    """Return how the network's value of each metric differs, a sentence each.

    Args:
        document: ``frivkit.comparison/1``, its texts readable.
    """
    labels = [analysis["label"] for analysis in document["analyses"]]
    sentences = []
    for metric in document["metrics"]:
        row = next((row for row in metric["rows"] if row["scope"] == "network"), None)
        if row is None:
            continue
        shares = shows_shares(metric)
        show = percent if shares else number
        last, found = row["differences"][-1], row["values"]
        if last["value"] is None:
            sentences.append(f"How {metric['metric']} of the network differs is undefined.")
            continue
        within = ""
        if last["interval"] is not None:
            low, high = (show_difference(end, shares=shares) for end in last["interval"])
            within = f", 95 % interval {low} to {high}"
        sentence = (
            f"{metric['metric'].capitalize()} of the network is {show(found[0])} in "
            f"{short(labels[0], 40)} and {show(found[-1])} in {short(labels[-1], 40)} "
            f"({show_difference(last['value'], shares=shares)}{within})"
        )
        over = row["over_networks"]
        if over is not None:
            mean = span(tuple(over["interval"]), show)
            sentence += f"; over all {len(labels)} networks {show(over['mean'])} ({mean})"
        sentences.append(f"{sentence}.")
    return sentences


def resolution_note(metric: Mapping[str, Any]) -> str:
    """Return which differences are too small to be told from none, empty if that has no limit.

    Args:
        metric: One of ``metrics`` in the document.
    """
    found = [each["resolution"] for row in metric["rows"] for each in row["differences"]]
    if not any(found):
        return ""
    return "Units are counted whole: a difference of one unit of a layer or less is undecided."


def comparison_text(document: Mapping[str, Any]) -> str:
    """Return a comparison as text: a sentence and a table for each metric.

    Args:
        document: ``frivkit.comparison/1``, see ``docs/reference/json.md``.
    """
    shown = readable(document)
    lines = [line for sentence in answers(shown) for line in wrapped(sentence, "")]
    for metric in shown["metrics"]:
        table = comparison_cells(shown, metric)
        right = set(range(1, len(table[0]) - 1))
        head = f"{metric['metric']} ({metric['protocol']} protocol)"
        lines += ["", head, *columns(table, right=right, names={0})]
        lines += wrapped(note, "") if (note := resolution_note(metric)) else []
    return joined(lines)


def comparison_cells(shown: Mapping[str, Any], metric: Mapping[str, Any]) -> list[list[str]]:
    """Return the table of a metric, the head first: values, and the difference of the last.

    Args:
        shown: ``frivkit.comparison/1``, its texts readable.
        metric: One of its metrics.
    """
    count = len(shown["analyses"])
    kept = list(range(count)) if count <= SHOWN else [0, count - 1]
    labels = [short(shown["analyses"][i]["label"], LABEL) for i in kept]
    shares = shows_shares(metric)
    show = percent if shares else number
    rows = [["", *labels, "difference", "95 % interval", ""]]
    for row in metric["rows"]:
        values = ["" if row["values"][i] is None else show(row["values"][i]) for i in kept]
        last = row["differences"][-1]
        gap = "" if last["value"] is None else show_difference(last["value"], shares=shares)
        interval = ""
        if last["interval"] is not None:
            low, high = (show_difference(end, shares=shares) for end in last["interval"])
            interval = f"{low} to {high}"
        name = row["layer"] or row["scope"]
        rows.append([name, *values, gap, interval, last["verdict"] or ""])
    return rows
