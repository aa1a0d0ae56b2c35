"""The document of ``frivkit compress --frontier``, and the document as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from frivkit.compression.frontier import CostKind, Frontier, FrontierPoint, LatencyPair
from frivkit.documents.frontier import ChoicePart, FrontierDocument, PlanLatencyPart, PlanPart
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request
from frivkit.provenance import Clock, provenance
from frivkit.report.compression import overshoot_document
from frivkit.report.compression_text import overshoot_text
from frivkit.report.format import file_name, readable
from frivkit.report.layout import columns, joined, wrapped
from frivkit.report.recovery import recovery_document
from frivkit.report.tasks import task_document
from frivkit.report.verification import model_facts
from frivkit.verification.agreement import Agreement
from frivkit.verification.verification import ModelFacts, stored_bytes

AGREEMENTS = (0.99, 0.95, 0.9)
"""Agreements for which a plan is named unless others are asked for."""
WORSE = (
    "Worse: another plan agrees as often or more and costs no more, by multiply-accumulates (M) "
    "or by time (T)."
)


def frontier_document(
    frontier: Frontier, request: Request, clock: Clock, agreements: Sequence[float] = AGREEMENTS
) -> FrontierDocument:
    """Return the document ``frivkit.frontier/1``, see ``docs/reference/json.md``.

    Args:
        frontier: The plans.
        request: What was asked for.
        clock: The start of the work.
        agreements: The agreements for which a plan is named.
    """
    calibration, held_out = frontier.calibration, frontier.held_out
    data, execution = calibration.run.data, request.execution
    threads = next((each.threads for each in frontier.timings), None)
    return {
        "schema": "frivkit.frontier/1",
        "original": model_facts(_original(frontier, request)),
        "task": frontier.tasks[0].name,
        "tasks": [task_document(task) for task in frontier.tasks],
        "method": {
            "basis": frontier.method.basis,
            "ranking": frontier.method.ranking,
            "refit": frontier.method.refit,
            "allocation": frontier.method.allocation,
        },
        "plans": [_plan(frontier, point) for point in frontier.points],
        "left_out": [
            {"share": share, "reason": reason} for share, reason in frontier.left_out.items()
        ],
        "choices": [choice for agreement in agreements for choice in _choices(frontier, agreement)],
        "calibration": {
            "data": data.description,
            "sha256": data.digest,
            "examples": data.examples,
        },
        "held_out": {
            "data": held_out.description,
            "sha256": held_out.digest,
            "examples": held_out.examples,
            "positions": frontier.points[0].agreement.positions,
        },
        "timing": {
            "device": execution.device,
            "threads": execution.threads if threads is None else threads,
            "batches": list(frontier.batches),
            "unmeasured": {str(size): reason for size, reason in frontier.unmeasured.items()},
        },
        "warnings": list(dict.fromkeys(frontier.warnings)),
        "provenance": provenance(clock, execution.seed, installed().versions(), execution.ran),
    }


def _original(frontier: Frontier, request: Request) -> ModelFacts:
    """Return the facts of the original, its latency over the pairs with all plans."""
    calibration = frontier.calibration
    model = calibration.model
    latency = {batch: frontier.original_latency(batch) for batch in frontier.batches}
    output = model.output(request.output)
    return ModelFacts(model, calibration.site_map, output, stored_bytes(model), latency)


def _plan(frontier: Frontier, point: FrontierPoint) -> PlanPart:
    agreement = point.agreement
    by_batch = {batch: point.latency.get(batch) for batch in frontier.batches}
    return {
        "share": point.share,
        "path": None if point.path is None else str(point.path),
        "left": {
            "macs": point.left["macs"],
            "params": point.left["params"],
            "units": point.left["units"],
        },
        "agreement": {
            "labels": agreement.share,
            "interval": list(agreement.interval),
            "same": agreement.same,
        },
        "latency": {
            str(batch): None if pair is None else _latency(pair) for batch, pair in by_batch.items()
        },
        "dominated": {
            "macs": frontier.dominated(point, "macs"),
            "latency": {
                str(batch): None if pair is None else frontier.dominated(point, "latency", batch)
                for batch, pair in by_batch.items()
            },
        },
        "predicted_error": point.plan.error,
        "recovery": recovery_document(point.recovery),
        "overshoot": overshoot_document(point.overshoot),
    }


def _latency(pair: LatencyPair) -> PlanLatencyPart:
    return {
        "ratio": list(pair.ratio),
        "ms": pair.compressed.median,
        "quartiles_ms": list(pair.compressed.quartiles),
        "rounds": len(pair.compressed.turns),
        "verdict": pair.verdict,
    }


def _choices(frontier: Frontier, agreement: float) -> list[ChoicePart]:
    """Return the plan of least cost at an agreement, for each cost, surely and as found."""
    costs: list[tuple[CostKind, int | None]] = [
        ("latency", batch) for batch in frontier.batches if batch not in frontier.unmeasured
    ]
    return [
        {
            "agreement": agreement,
            "cost": cost,
            "batch": batch,
            "surely": surely,
            "plan": None
            if (found := frontier.smallest(agreement, cost, batch=batch, surely=surely)) is None
            else found.share,
        }
        for cost, batch in [*costs, ("macs", None)]
        for surely in (True, False)
    ]


def frontier_text(document: Mapping[str, Any]) -> str:
    """Return a frontier as text: a table of the plans, and which of them to take.

    Args:
        document: ``frivkit.frontier/1``, see ``docs/reference/json.md``.
    """
    name, shown = file_name(document["original"]["path"]), readable(document)
    batches = measured_batches(shown)
    head = ["budget", "MACs", "params", "agree", "interval"]
    head += [f"time, batch {batch}" for batch in batches]
    rows = [
        [
            f"{plan['share']:g}",
            f"{plan['left']['macs']:.3f}",
            f"{plan['left']['params']:.3f}",
            f"{plan['agreement']['labels']:.3f}",
            "{:.3f}-{:.3f}".format(*plan["agreement"]["interval"]),
            *(time_cell(plan["latency"][batch]) for batch in batches),
            "M" * plan["dominated"]["macs"] + "T" * dominated_in_time(plan),
        ]
        for plan in shown["plans"]
    ]
    lines = [
        f"Plans for {name}: shares of the original",
        "",
        *columns([[*head, "worse"], *rows], right={*range(len(head))}, names={0}),
    ]
    if any(row[-1] for row in rows):
        lines += ["", *wrapped(WORSE, "")]
    if shown["left_out"]:
        lines += ["", *(line for each in shown["left_out"] for line in wrapped(_missing(each), ""))]
    if coarse := overshoot_sentences(shown):
        lines += ["", *(line for each in coarse for line in wrapped(each, ""))]
    lines += ["", *wrapped(data_sentence(shown), "")]
    if (recoveries := recoveries_sentence(shown)) is not None:
        lines += wrapped(recoveries, "")
    lines += ["", *columns([*choice_table(shown)], right=set(), names={0})]
    if (reach := reach_sentence(shown)) is not None:
        lines += ["", *wrapped(reach, "")]
    return joined(lines)


def overshoot_sentences(shown: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each plan that goes far below its budget.

    Args:
        shown: ``frivkit.frontier/1``, its texts readable.
    """
    return [
        overshoot_text(plan["share"], "MACs", plan["overshoot"])
        for plan in shown["plans"]
        if plan["overshoot"] is not None
    ]


def measured_batches(shown: Mapping[str, Any]) -> list[str]:
    """Return the batch sizes at which latency was measured."""
    timing = shown["timing"]
    return [str(size) for size in timing["batches"] if str(size) not in timing["unmeasured"]]


def time_cell(latency: Mapping[str, Any]) -> str:
    """Return a share of the latency with its quartiles.

    Example:
        >>> time_cell({"ratio": [0.581, 0.6, 0.62], "verdict": "faster"})
        '0.60 0.58-0.62'
    """
    low, middle, high = latency["ratio"]
    return f"{middle:.2f} {low:.2f}-{high:.2f}"


def dominated_in_time(plan: Mapping[str, Any]) -> bool:
    """Whether a plan is dominated at every batch size at which latency was measured.

    Args:
        plan: One of the plans of ``frivkit.frontier/1``.
    """
    flags = [flag for flag in plan["dominated"]["latency"].values() if flag is not None]
    return bool(flags) and all(flags)


def data_sentence(shown: Mapping[str, Any]) -> str:
    """Return where the plans come from, on what they were compared and how they were timed.

    Args:
        shown: ``frivkit.frontier/1``, its texts readable.
    """
    calibration, held_out, timing = shown["calibration"], shown["held_out"], shown["timing"]
    kinds = dict.fromkeys(task["compares"] for task in shown["tasks"])
    compared = " and ".join(kinds)
    compared = compared[0].upper() + compared[1:]
    text = (
        f"Calibrated on {calibration['examples']:,} examples of {calibration['data']}. "
        f"{compared} were compared on {held_out['examples']:,} examples of {held_out['data']}; "
        "intervals are 95 % intervals."
    )
    if measured_batches(shown):
        text += (
            " Time is the median over pairs of runs, the plan's and the original's, with its "
            "quartiles."
        )
    for size, reason in timing["unmeasured"].items():
        text += f" Latency was not measured at batch {size}: {reason}."
    return text


def choice_table(shown: Mapping[str, Any]) -> list[list[str]]:
    """Return which plans to take: a row for each agreement, the head first.

    Args:
        shown: ``frivkit.frontier/1``, its texts readable.
    """
    choices = shown["choices"]
    columns = list(dict.fromkeys((each["cost"], each["batch"]) for each in choices))
    plans = {
        (each["agreement"], each["surely"], each["cost"], each["batch"]): each["plan"]
        for each in choices
    }
    head = ["take, where labels agree"]
    head += ["for MACs" if batch is None else f"for time, batch {batch}" for _, batch in columns]
    rows = [head]
    for agreement in dict.fromkeys(each["agreement"] for each in choices):
        for surely in (True, False):
            found = [plans[agreement, surely, *column] for column in columns]
            cells = ["the original" if plan is None else f"{plan:g}" for plan in found]
            how = "surely" if surely else "as found"
            rows.append([f"{agreement:g} or more, {how}", *cells])
    return rows


def reach_sentence(shown: Mapping[str, Any]) -> str | None:
    """Return what the held-out examples cannot show even if all labels agree, None if they can.

    Args:
        shown: ``frivkit.frontier/1``, its texts readable.
    """
    examples, positions = shown["held_out"]["examples"], shown["held_out"]["positions"]
    best = Agreement(examples * positions, examples, positions).interval[0]
    if all(each["agreement"] <= best for each in shown["choices"]):
        return None
    return (
        f"{examples:,} examples cannot surely show an agreement above {best:.4f}, even if all "
        "labels agree: more of them would."
    )


def recoveries_sentence(shown: Mapping[str, Any]) -> str | None:
    """Return which plans have other weights by gradients, None if none were taken.

    Args:
        shown: ``frivkit.frontier/1``, its texts readable.
    """
    kept = {p["share"]: p["recovery"]["kept"] for p in shown["plans"] if p.get("recovery")}
    if not kept:
        return None
    changed, same = (
        ", ".join(f"{share:g}" for share, flag in kept.items() if flag is wanted) or "none"
        for wanted in (True, False)
    )
    return f"Plans that gradients after the refit changed: {changed}; that they did not: {same}."


def _missing(left_out: Mapping[str, Any]) -> str:
    """Return a sentence on a share without a plan."""
    return f"No plan for {left_out['share']:g}: {left_out['reason']}."
