"""The document of ``frivkit compress``, and the document as text."""

from collections.abc import Mapping
from typing import Any

from frivkit.compression.compress import Budget, Compression
from frivkit.compression.plan import amount, apply_plan
from frivkit.graph.cost import macs
from frivkit.graph.model import parameters
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request
from frivkit.provenance import Clock, provenance
from frivkit.report.format import number, percent, readable, short
from frivkit.report.terminal import columns, joined, wrapped
from frivkit.report.verification import side_facts, verification_document, verification_text
from frivkit.verification.verification import BATCHES, ModelFacts, is_noise, stored_bytes

NAMED = 4
"""Layers named for each reason why some cannot be narrowed."""
NAME = 40
"""Characters of a name in the middle of a sentence."""
RESOURCES = {"macs": "MACs", "params": "parameters", "units": "units"}
"""What is counted, by its key in the document."""


def compression_document(
    found: Compression, request: Request, budget: Budget, clock: Clock
) -> dict[str, Any]:
    """Return the document ``frivkit.compression/1``, see ``docs/json.md``."""
    data = found.calibration.run.data
    loaded = ((plugin.name, plugin.version) for plugin in installed().plugins if not plugin.error)
    shared = (
        {
            "original": side_facts(_original(found, request)),
            **dict.fromkeys(("thin", "agreement", "accuracy", "outputs", "latency")),
        }
        if found.verification is None
        else verification_document(found.verification, clock, request.execution.seed)
    )
    return {
        "schema": "frivkit.compression/1",
        "original": shared["original"],
        "thin": shared["thin"],
        "budget": {"kind": budget.kind, "share": budget.share, "left": _left(found)},
        "method": {
            "basis": found.method.basis,
            "ranking": found.method.ranking,
            "refit": found.method.refit,
            "allocation": found.method.allocation,
        },
        "kinds": _kinds(found),
        "layers": _layers(found),
        "skipped": _skipped(found),
        "refits": [
            {"node": fit.linear_consumer.consumer.node, "ridge": fit.ridge, "error": fit.error}
            for fit in found.plan.fits
        ],
        "factors": _factors(found),
        "calibration": {
            "data": data.description,
            "sha256": data.digest,
            "examples": data.examples,
        },
        **{key: shared[key] for key in ("agreement", "accuracy", "outputs", "latency")},
        "warnings": _warnings(found, request),
        "provenance": provenance(clock, request.execution.seed, loaded),
    }


def _original(found: Compression, request: Request) -> ModelFacts:
    """Return the facts of a model that was compared with no other."""
    model = found.calibration.model
    output = model.output(request.output)
    untimed = dict.fromkeys(BATCHES)
    return ModelFacts(model, found.calibration.site_map, output, stored_bytes(model), untimed)


def _left(found: Compression) -> dict[str, float | None]:
    """Return the shares of what the original costs that are left, None where it is not known."""
    calibration, keep = found.calibration, found.plan.keep
    before, after = calibration.model.ir, apply_plan(calibration, found.plan)
    pairs = {
        "macs": (macs(before.graph), macs(after.graph)),
        "params": (parameters(before.graph), parameters(after.graph)),
        "units": (
            amount(before, calibration, "units", None),
            amount(after, calibration, "units", keep),
        ),
    }
    return {
        what: now / once if once and now is not None else None
        for what, (once, now) in pairs.items()
    }


def _kinds(found: Compression) -> dict[str, int]:
    """Count units that leave by kind, over all layers."""
    kinds, of = found.kinds, found.calibration.pruning_graph.groups.of
    both = kinds.prunable & kinds.redundant
    counted = {
        "leaving": kinds.leaving,
        "prunable": kinds.prunable,
        "redundant": kinds.redundant,
        "both": both,
    }
    return {
        name: sum(int(flags[groups].sum()) for groups in of.values())
        for name, flags in counted.items()
    }


def _factors(found: Compression) -> list[dict[str, Any]]:
    """Tell every node that becomes two, and why that saves anything."""
    return [
        {
            "node": each.linear_consumer.consumer.node,
            "columns": each.first.shape[0],
            "outputs": each.second.shape[1],
            "rank": each.rank,
            "error": each.error,
        }
        for each in found.plan.factors
    ]


def _layers(found: Compression) -> list[dict[str, Any]]:
    errors: dict[str, float] = {}
    for fit in found.plan.fits:
        for site in fit.linear_consumer.consumer.sites if fit.error is not None else ():
            errors[site] = max(errors.get(site, 0.0), fit.error or 0.0)
    return [
        {
            "layer": site.layer,
            "units_before": site.width,
            "units_after": int(found.plan.keep[site.name].sum()),
            "predicted_error": errors.get(site.name),
        }
        for site in found.calibration.site_map.sites
    ]


def _skipped(found: Compression) -> list[dict[str, str]]:
    site_map, declined = found.calibration.site_map, found.declined
    layers = [
        {"layer": site.layer, "op": site.op, "reason": declined[site.layer]}
        for site in site_map.sites
        if site.layer in declined
    ]
    nodes = [{"node": each.node, "op": each.op, "reason": each.reason} for each in site_map.skipped]
    ops = {
        linear_consumer.consumer.node: linear_consumer.consumer.op
        for linear_consumer in found.calibration.linear_consumers
    }
    whole = [
        {"node": node, "op": ops[node], "reason": reason}
        for node, reason in found.plan.whole.items()
    ]
    return layers + nodes + whole


def _warnings(found: Compression, request: Request) -> list[str]:
    """Return the warnings, each once, and say so where noise stood in for data by name."""
    data = found.calibration.run.data
    own = "frivkit.data" in found.calibration.model.metadata
    named = request.data is not None or own
    noise = [
        f"the calibration examples are noise ({data.description}): what can leave "
        "without harm to noise may be what real inputs need; give real ones by --data"
    ]
    return list(dict.fromkeys([*(noise if named and is_noise(data.spec) else ()), *found.warnings]))


def compression_text(document: Mapping[str, Any]) -> str:
    """Return a compression as text: layers, what could not be narrowed and why, and the proof.

    Args:
        document: ``frivkit.compression/1``, see ``docs/json.md``.
    """
    shown = readable(document)
    rows = [
        [
            layer["layer"],
            str(layer["units_before"]),
            str(layer["units_after"]),
            "" if layer["predicted_error"] is None else number(layer["predicted_error"]),
        ]
        for layer in shown["layers"]
    ]
    head = ["layer", "units", "left", "predicted error"]
    lines = columns([head, *rows], right={1, 2, 3}, names={0})
    lines += _split(shown["factors"])
    lines += _reasons(shown["skipped"])
    lines += ["", *wrapped(calibrated(shown), "")]
    if shown["kinds"]["leaving"]:
        lines += wrapped(describe_kinds(shown["kinds"]), "")
    if document["thin"] is None:
        return joined([*lines, "", "This is a plan (--dry-run): no model was written."])
    return joined([*lines, "", verification_text(document)])


def describe_kinds(kinds: Mapping[str, int]) -> str:
    """Return of which kind the units are that left.

    Example:
        >>> kinds_told({"leaving": 20, "prunable": 5, "redundant": 12, "both": 2})
        'Of the 20 units that leave 5 are prunable, 12 redundant, 2 of them both, and 5 neither.'
    """
    leaving, both = kinds["leaving"], kinds["both"]
    neither = leaving - kinds["prunable"] - kinds["redundant"] + both
    return (
        f"Of the {leaving:,} units that leave {kinds['prunable']:,} are prunable, "
        f"{kinds['redundant']:,} redundant, {both:,} of them both, and {neither:,} neither."
    )


def cost_left(factors: Mapping[str, Any]) -> float:
    """Return the share of its cost that a node keeps when it is split in two.

    Example:
        >>> cost_left({"columns": 40, "outputs": 10, "rank": 4})
        0.5
    """
    columns, outputs = factors["columns"], factors["outputs"]
    return float(factors["rank"] * (columns + outputs) / (columns * outputs))


def _split(factors: list[dict[str, Any]]) -> list[str]:
    """Return the table of the nodes that become two, nothing where there is none."""
    rows = [
        [
            each["node"],
            f"{each['columns']} x {each['outputs']}",
            str(each["rank"]),
            percent(cost_left(each)),
            "" if each["error"] is None else number(each["error"]),
        ]
        for each in factors
    ]
    if not rows:
        return []
    head = ["split in two", "weight", "rank", "of its cost", "predicted error"]
    return ["", *columns([head, *rows], right={1, 2, 3, 4}, names={0})]


def calibrated(document: Mapping[str, Any]) -> str:
    """Return what a model was calibrated on, and what is left of it.

    Args:
        document: ``frivkit.compression/1``.
    """
    calibration, left = document["calibration"], document["budget"]["left"]
    shares = ", ".join(
        f"{percent(left[what])} of the {said}"
        for what, said in RESOURCES.items()
        if left[what] is not None
    )
    return (
        f"Calibrated on {calibration['examples']:,} examples of {calibration['data']}. "
        f"Left are {shares}."
    )


def _reasons(skipped: list[dict[str, str]]) -> list[str]:
    lines = ["", "left as it is"] if skipped else []
    for reason in dict.fromkeys(skip["reason"] for skip in skipped):
        of = [skip.get("layer") or skip["node"] for skip in skipped if skip["reason"] == reason]
        more = f" and {len(of) - NAMED} more (see --json)" if len(of) > NAMED else ""
        names = ", ".join(short(name, NAME) for name in of[:NAMED])
        lines += wrapped(f"  {names}{more}: {reason}", "    ")
    return lines
