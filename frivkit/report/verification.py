"""The document of ``frivkit verify``, and the document as text."""

import math
from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from frivkit.cache import format_size
from frivkit.graph.cost import macs
from frivkit.hooks.registry import installed
from frivkit.provenance import Clock, provenance
from frivkit.report.format import file_name, magnitude, number, percent, readable, short, span
from frivkit.verification.verification import ModelFacts, Verification, is_noise

WIDTH = 80
NAME = 26
"""Characters of a file's name at the head of its column."""


def verification_document(found: Verification, clock: Clock, seed: int) -> dict[str, Any]:
    """Return the document ``frivkit.verification/1``, see ``docs/json.md``."""
    comparison = found.comparison
    agreement, accuracy = comparison.agreement, comparison.accuracy
    loaded = ((plugin.name, plugin.version) for plugin in installed().plugins if not plugin.error)
    return {
        "schema": "frivkit.verification/1",
        "original": side_facts(found.original),
        "thin": side_facts(found.compressed),
        "layers": _layers(found),
        "skipped": _skipped(found),
        "agreement": {
            "labels": agreement.share,
            "interval": list(agreement.interval),
            "examples": agreement.examples,
            "positions": agreement.positions,
            "same": agreement.same,
            "undefined": comparison.undefined,
            "labels_in_largest_class": comparison.largest_class,
            "data": found.data.description,
            "data_sha256": found.data.digest,
        },
        "accuracy": accuracy and {"before": accuracy[0], "after": accuracy[1]},
        "outputs": {
            "max_abs": _finite(comparison.max_abs),
            "relative_l2": _finite(comparison.relative_l2),
        },
        "latency": {
            "device": found.device.name,
            "threads": found.device.threads,
            "ratio": _ratios(found),
            "unmeasured": {str(size): reason for size, reason in found.unmeasured.items()},
        },
        "warnings": list(found.warnings),
        "provenance": provenance(clock, seed, loaded),
    }


def side_facts(facts: ModelFacts) -> dict[str, Any]:
    """Return what a document says of one of two models."""
    latency = {str(size): each for size, each in facts.latency.items()}
    return {
        "path": str(facts.model.path),
        "sha256": facts.model.sha256,
        "format": facts.model.format,
        "output": facts.output,
        "parameters": facts.model.parameters,
        "macs": macs(facts.model.graph),
        "bytes": facts.bytes,
        "latency_ms": {size: each and each.median for size, each in latency.items()},
        "latency_quartiles_ms": {
            size: each and list(each.quartiles) for size, each in latency.items()
        },
        "latency_rounds": {size: each and len(each.turns) for size, each in latency.items()},
    }


def _ratios(found: Verification) -> dict[str, list[float] | None]:
    """Return the quartiles of thin over original by batch size, the median in the middle."""
    pairs = (
        (size, one, found.compressed.latency[size]) for size, one in found.original.latency.items()
    )
    return {str(size): list(b.against(a)) if a and b else None for size, a, b in pairs}


def _layers(found: Verification) -> list[dict[str, Any]]:
    after = {site.layer: site.width for site in found.compressed.site_map.sites}
    return [
        {
            "layer": site.layer,
            "units_before": site.width,
            "units_after": after[site.layer],
            "predicted_error": None,
        }
        for site in found.original.site_map.sites
        if site.layer in after
    ]


def _skipped(found: Verification) -> list[dict[str, str]]:
    there = {site.layer for site in found.compressed.site_map.sites}
    return [
        {"node": site.layer, "op": site.op, "reason": "the thin model has no layer of that name"}
        for site in found.original.site_map.sites
        if site.layer not in there
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def verification_text(document: Mapping[str, Any]) -> str:
    """Return a verification as text: what is saved as a table, what is kept in words.

    Args:
        document: ``frivkit.verification/1``, see ``docs/json.md``.
    """
    names = [short(file_name(document[side]["path"]), NAME) for side in ("original", "thin")]
    document = readable(document)
    rows = [("", "original", "thin", "thin / original"), ("", *names, ""), *savings(document)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        f"{head:<{widths[0]}}  {one:>{widths[1]}}  {other:>{widths[2]}}  {ratio}".rstrip()
        for head, one, other, ratio in rows
    ]
    said = wrap(sentences(document), WIDTH, break_on_hyphens=False)
    return "\n".join([*table, "", *said]).replace("\N{NO-BREAK SPACE}", " ")


def savings(document: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return what the models cost: rows of a name, the original, the thin one and their ratio.

    Args:
        document: A verification or a compression with a proof, its texts readable.
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
            ms = (number(side["latency_ms"][size]) for side in (before, after))
            low, middle, high = (f"{each:.3f}" for each in ratio)
            rows.append((f"ms, batch {size}", *ms, f"{middle} ({low} to {high})"))
    accuracy = document["accuracy"]
    if accuracy is not None:
        rows.append(("accuracy", percent(accuracy["before"]), percent(accuracy["after"]), ""))
    return rows


def _ratio(before: float | None, after: float | None) -> str:
    return "" if not before or after is None else f"{after / before:.3f}"


def sentences(document: Mapping[str, Any]) -> str:
    """Return how often both models agree, and how far their outputs lie apart.

    Args:
        document: As for ``savings``.
    """
    agreement, outputs = document["agreement"], document["outputs"]
    examples, positions = agreement["examples"], agreement["positions"]
    noise = " (noise, no real inputs)" if is_noise(agreement["data"]) else ""
    labels = "labels" if positions == 1 else f"labels ({positions:,} an example)"
    said = [
        f"{agreement['same']:,} of {examples * positions:,} {labels} are the same, "
        f"{percent(agreement['labels'])} (95 % interval {span(agreement['interval'], percent)}), "
        f"on {examples:,} examples of {agreement['data']}{noise}."
    ]
    if outputs["max_abs"] == 0:
        said.append("Outputs are equal.")
    elif outputs["max_abs"] is not None:
        said.append(
            f"Outputs differ by {number(outputs['max_abs'])} at most, all together by "
            f"{number(outputs['relative_l2'])} of their size."
        )
    for size, reason in document["latency"]["unmeasured"].items():
        said.append(f"Latency was not measured at batch {size}: {reason}.")
    return " ".join(said)
