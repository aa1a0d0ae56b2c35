"""The document of ``frivkit verify``, and the document as text."""

import math
from collections.abc import Mapping
from typing import Any

from frivkit.cache import format_size
from frivkit.documents.parts import SkippedNodePart
from frivkit.documents.verification import (
    ComparedModelPart,
    OutputComparisonPart,
    VerificationDocument,
    WidthsPart,
)
from frivkit.graph.cost import macs
from frivkit.graph.operators.table import operators_of
from frivkit.hooks.registry import installed
from frivkit.provenance import Clock, provenance
from frivkit.report.format import file_name, magnitude, number, percent, readable, span
from frivkit.report.layer_graph import layer_graph_document
from frivkit.report.layout import cells, fitted, joined, padded, wrapped
from frivkit.report.tasks import output_lines
from frivkit.verification.output_comparison import OutputComparison
from frivkit.verification.speed import not_faster
from frivkit.verification.verification import ModelFacts, Verification, is_noise

LOW = 0.5
"""Agreement below which the first line says so."""
NAME = 26
"""Characters of a file's name in the head of its column."""


def verification_document(
    verification: Verification, clock: Clock, seed: int
) -> VerificationDocument:
    """Return the document ``frivkit.verification/1``, see ``docs/reference/json.md``."""
    comparison = verification.comparison
    main, agreement, accuracy = comparison.main, comparison.agreement, comparison.accuracy
    return {
        "schema": "frivkit.verification/1",
        "original": model_facts(verification.original),
        "thin": model_facts(verification.compressed),
        "layers": _layers(verification),
        "skipped": _skipped(verification),
        "layer_graph": layer_graph_document(
            verification.original.model, verification.original.site_map
        ),
        "task": main.task.name,
        "agreement": {
            "labels": agreement.share,
            "compares": main.task.compares,
            "outputs": list(main.task.outputs),
            "interval": list(agreement.interval),
            "examples": agreement.examples,
            "positions": agreement.positions,
            "same": agreement.same,
            "graded": agreement.graded,
            "undefined": main.undefined,
            "labels_in_largest_class": main.largest_class,
            "constant": main.constant,
            "data": verification.data.description,
            "data_sha256": verification.data.digest,
        },
        "accuracy": accuracy and {"before": accuracy[0], "after": accuracy[1]},
        "outputs": {
            "max_abs": _finite(main.max_abs),
            "relative_l2": _finite(main.relative_l2),
            "each": [_output(each) for each in comparison.outputs],
            "not_compared": dict(comparison.unproved),
        },
        "latency": {
            "device": verification.device.name,
            "threads": verification.device.threads,
            "ratio": {
                str(size): ratio and list(ratio) for size, ratio in verification.ratios.items()
            },
            "verdict": {str(size): found for size, found in verification.verdicts.items()},
            "left_fast_path": list(verification.left_fast_path),
            "unmeasured": {str(size): reason for size, reason in verification.unmeasured.items()},
        },
        "warnings": list(verification.warnings),
        "provenance": provenance(clock, seed, installed().versions()),
    }


def _output(each: OutputComparison) -> OutputComparisonPart:
    """Return the part of a document on the outputs of one task."""
    agreement = each.agreement
    return {
        "task": each.task.name,
        "outputs": list(each.task.outputs),
        "compares": each.task.compares,
        "reason": each.task.reason,
        "axis": each.task.axis,
        "tolerance": each.task.tolerance,
        "agreement": agreement.share,
        "interval": list(agreement.interval),
        "same": agreement.same,
        "positions": agreement.positions,
        "graded": agreement.graded,
        "constant": each.constant,
        "undefined": each.undefined,
        "figures": {name: _finite(value) for name, value in each.figures.items()},
        "max_abs": _finite(each.max_abs),
        "relative_l2": _finite(each.relative_l2),
    }


def model_facts(facts: ModelFacts) -> ComparedModelPart:
    """Return the part of a document on one of two models."""
    latency = {str(size): each for size, each in facts.latency.items()}
    return {
        "path": str(facts.model.path),
        "sha256": facts.model.sha256,
        "format": facts.model.format,
        "output": facts.output,
        "parameters": facts.model.parameters,
        "macs": macs(facts.model.graph, operators_of(facts.model)),
        "bytes": facts.bytes,
        "latency_ms": {
            size: None if each is None else each.median for size, each in latency.items()
        },
        "latency_quartiles_ms": {
            size: None if each is None else list(each.quartiles) for size, each in latency.items()
        },
        "latency_rounds": {
            size: None if each is None else len(each.turns) for size, each in latency.items()
        },
    }


def _layers(verification: Verification) -> list[WidthsPart]:
    after = {site.layer: site.width for site in verification.compressed.site_map.sites}
    return [
        {
            "layer": site.layer,
            "units_before": site.width,
            "units_after": after[site.layer],
            "removed": None,
            "predicted_error": None,
        }
        for site in verification.original.site_map.sites
        if site.layer in after
    ]


def _skipped(verification: Verification) -> list[SkippedNodePart]:
    layers = {site.layer for site in verification.compressed.site_map.sites}
    return [
        {"node": site.layer, "op": site.op, "reason": "the thin model has no layer of that name"}
        for site in verification.original.site_map.sites
        if site.layer not in layers
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def verification_text(document: Mapping[str, Any]) -> str:
    """Return a verification as text: a table of costs, and the label agreement in words.

    Where the compressed model is not faster by measurement, the first line says so.

    Args:
        document: ``frivkit.verification/1``, see ``docs/reference/json.md``.
    """
    lines = [*doubt_lines(document), *speed_lines(document)]
    return "\n".join([*lines, comparison_text(document)])


def doubt_lines(document: Mapping[str, Any]) -> list[str]:
    """Return lines that say that less than half agrees, none if it is more.

    Args:
        document: A verification, or a compression with one.
    """
    agreement = readable(document["agreement"] or {"labels": 1.0})
    if agreement["labels"] >= LOW:
        return []
    text = (
        f"Only {percent(agreement['labels'])} of the {agreement['compares']} agree: the compressed "
        "model does not do what the original does."
    )
    return [*wrapped(text, ""), ""]


def speed_lines(document: Mapping[str, Any]) -> list[str]:
    """Return lines that say that the compressed model is not faster and why, none if it is.

    Args:
        document: A verification, or a compression with one.
    """
    latency = readable(document["latency"] or {})
    ratios, found = latency.get("ratio", {}), latency.get("verdict", {})
    text = not_faster(ratios, found, latency.get("left_fast_path", ()))
    return [] if text is None else [*wrapped(text, ""), ""]


def comparison_text(document: Mapping[str, Any]) -> str:
    """Return the table of costs, and the label agreement in words.

    Args:
        document: As for ``speed_lines``.
    """
    names = [fitted(file_name(document[key]["path"]), NAME) for key in ("original", "thin")]
    document = readable(document)
    rows = [("", "original", "compressed", "ratio"), ("", *names, ""), *savings(document)]
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(
            [
                padded(head, widths[0]),
                padded(before, widths[1], right=True),
                padded(after, widths[2], right=True),
                ratio,
            ]
        ).rstrip()
        for head, before, after, ratio in rows
    ]
    return joined([*table, "", *wrapped(sentences(document), "")])


def savings(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the costs of both models: rows of a name, the original, the compressed one, the ratio.

    Args:
        document: A verification, or a compression with one, its texts readable.
    """
    before, after = document["original"], document["thin"]
    rows: list[tuple[str, ...]] = []
    for title, key, show in (
        ("parameters", "parameters", magnitude),
        ("MACs", "macs", magnitude),
        ("file", "bytes", format_size),
    ):
        rows.append((title, show(before[key]), show(after[key]), _ratio(before[key], after[key])))
    for size, ratio in document["latency"]["ratio"].items():
        if ratio is not None:
            ms = (number(model["latency_ms"][size]) for model in (before, after))
            low, middle, high = (f"{each:.3f}" for each in ratio)
            rows.append((f"ms, batch {size}", *ms, f"{middle} ({low} to {high})"))
    accuracy = document["accuracy"]
    if accuracy is not None:
        rows.append(("accuracy", percent(accuracy["before"]), percent(accuracy["after"]), ""))
    return rows


def _ratio(before: float | None, after: float | None) -> str:
    return "" if not before or after is None else f"{after / before:.3f}"


def sentences(document: Mapping[str, Any]) -> str:
    """Return the label agreement and the difference of outputs, in words.

    Args:
        document: As for ``savings``.
    """
    agreement, outputs = document["agreement"], document["outputs"]
    examples, positions = agreement["examples"], agreement["positions"]
    noise = " (noise, no real inputs)" if is_noise(agreement["data"]) else ""
    kind = agreement["compares"]
    compared = kind if positions == 1 else f"{kind} ({positions:,} an example)"
    share = percent(agreement["labels"])
    interval = f"95 % interval {span(agreement['interval'], percent)}"
    on = f"on {examples:,} examples of {agreement['data']}{noise}"
    if agreement["graded"]:
        text = [f"{share} of the {kind} agree ({interval}), {on}."]
    else:
        text = [
            f"{agreement['same']:,} of {examples * positions:,} {compared} are the same, {share} "
            f"({interval}), {on}."
        ]
    text += output_lines(outputs["each"])
    if outputs["max_abs"] == 0:
        text.append("Outputs are equal.")
    elif outputs["max_abs"] is not None:
        text.append(
            f"Outputs differ by {number(outputs['max_abs'])} at most, all together by "
            f"{number(outputs['relative_l2'])} of their size."
        )
    verdicts = document["latency"]["verdict"].items()
    measured = [f"{found} at batch {size}" for size, found in verdicts if found is not None]
    if measured:
        text.append(f"Latency: {', '.join(measured)}.")
    for size, reason in document["latency"]["unmeasured"].items():
        text.append(f"Latency was not measured at batch {size}: {reason}.")
    return " ".join(text)
