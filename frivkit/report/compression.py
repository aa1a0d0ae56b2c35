"""The document of ``frivkit compress``."""

from typing import Any

from frivkit.compression.compress import Compression
from frivkit.compression.low_rank import Positions, WeightShape, cost
from frivkit.compression.moves import kernel_of
from frivkit.compression.overshoot import Overshoot
from frivkit.compression.plan import affected_consumers, amount, apply_plan, outline, units_left
from frivkit.documents.compression import (
    BudgetPathPart,
    BudgetTimingPart,
    FactorizedNodePart,
    OvershootPart,
)
from frivkit.graph.cost import macs
from frivkit.graph.operators.table import operators_of
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request
from frivkit.provenance import Clock, provenance
from frivkit.report.layer_graph import layer_graph_document
from frivkit.report.quantization import int8_document
from frivkit.report.recovery import recovery_document
from frivkit.report.verification import (
    model_facts,
    verification_document,
)
from frivkit.verification.verification import BATCHES, ModelFacts, is_noise, stored_bytes


def compression_document(
    compression: Compression, request: Request, clock: Clock
) -> dict[str, Any]:
    """Return the document ``frivkit.compression/1``, see ``docs/reference/json.md``."""
    data, budget = compression.calibration.run.data, compression.budget
    shared = (
        {
            "original": model_facts(_original(compression, request)),
            **dict.fromkeys(("thin", "task", "agreement", "accuracy", "outputs", "latency")),
        }
        if compression.verification is None
        else verification_document(compression.verification, clock, request.execution.seed)
    )
    return {
        "schema": "frivkit.compression/1",
        "original": shared["original"],
        "thin": shared["thin"],
        "budget": {
            "kind": budget.kind,
            "share": budget.share,
            "left": _left(compression),
            "overshoot": overshoot_document(compression.overshoot),
        },
        "method": {
            "basis": compression.method.basis,
            "ranking": compression.method.ranking,
            "refit": compression.method.refit,
            "allocation": compression.method.allocation,
        },
        "kinds": _kinds(compression),
        "budget_path": _budget_path(compression),
        "layers": _layers(compression),
        "skipped": _skipped(compression),
        "layer_graph": layer_graph_document(
            compression.calibration.model, compression.calibration.site_map
        ),
        "refits": [
            {"node": fit.linear_consumer.consumer.node, "ridge": fit.ridge, "error": fit.error}
            for fit in compression.plan.fits
        ],
        "factors": _factors(compression),
        "dropped_branches": [
            {"node": move.branch.add, "error": move.error} for move in compression.plan.dropped
        ],
        "recovery": recovery_document(compression.recovery),
        "calibration": {
            "data": data.description,
            "sha256": data.digest,
            "examples": data.examples,
        },
        **{key: shared[key] for key in ("task", "agreement", "accuracy", "outputs", "latency")},
        "timing": _timing(compression),
        "int8": None
        if compression.int8 is None
        else int8_document(compression.int8, clock, request.execution.seed),
        "warnings": _warnings(compression, request),
        "provenance": provenance(
            clock, request.execution.seed, installed().versions(), request.execution.ran
        ),
    }


def _original(compression: Compression, request: Request) -> ModelFacts:
    """Return the facts of the original if there was no verification."""
    model = compression.calibration.model
    output = model.output(request.output)
    untimed = dict.fromkeys(BATCHES)
    site_map = compression.calibration.site_map
    return ModelFacts(model, site_map, output, stored_bytes(model), untimed)


def overshoot_document(found: Overshoot | None) -> OvershootPart | None:
    """Return why far less is left than was asked for, None if it is not."""
    return None if found is None else {"reached": found.reached, "reason": found.reason}


def _left(compression: Compression) -> dict[str, float | None]:
    """Return the shares of the original's resources that are left, None if they are not known."""
    calibration, plan = compression.calibration, compression.plan
    before = calibration.model.ir
    after = apply_plan(calibration, plan) if plan.fits else outline(calibration, plan)
    unfitted = None if plan.fits else plan
    operators = operators_of(calibration.model)
    pairs = {
        "macs": (macs(before.graph, operators), macs(after.graph, operators)),
        "params": (
            amount(before, calibration, "params", None),
            amount(after, calibration, "params", unfitted),
        ),
        "units": (
            amount(before, calibration, "units", None),
            float(sum(units_left(plan, site) for site in calibration.site_map.sites)),
        ),
    }
    return {
        resource: new / old if old and new is not None else None
        for resource, (old, new) in pairs.items()
    }


def _budget_path(compression: Compression) -> BudgetPathPart | None:
    """Return what was predicted for other budgets, None if nothing was."""
    path = compression.budget_path
    if path is None:
        return None
    return {
        "resource": path.resource,
        "left": list(path.left),
        "predicted_error": list(path.errors),
        "plan_error": compression.plan.error,
    }


def _timing(compression: Compression) -> BudgetTimingPart | None:
    """Return how a budget in time was met, None for other budgets."""
    timed = compression.timing
    if timed is None:
        return None
    return {
        "batch": timed.timing.batch,
        "threads": timed.timing.threads,
        "predicted": timed.predicted,
        "measured": list(timed.measured),
        "tries": timed.tries,
    }


def _kinds(compression: Compression) -> dict[str, int]:
    """Return the numbers of removed units by kind, over all layers."""
    kinds, of = compression.kinds, compression.calibration.pruning_graph.groups.of
    flags_by_kind = {
        "leaving": kinds.removed,
        "prunable": kinds.prunable,
        "redundant": kinds.redundant,
        "both": kinds.prunable & kinds.redundant,
    }
    return {
        name: sum(int(flags[groups].sum()) for groups in of.values())
        for name, flags in flags_by_kind.items()
    }


def _removed(compression: Compression) -> dict[str, dict[str, int]]:
    """Return by the name of a site its removed units by kind, each counted once."""
    kinds, of = compression.kinds, compression.calibration.pruning_graph.groups.of
    both = kinds.prunable & kinds.redundant
    flags_by_kind = {
        "prunable": kinds.prunable & ~both,
        "redundant": kinds.redundant & ~both,
        "both": both,
        "neither": kinds.removed & ~kinds.prunable & ~kinds.redundant,
    }
    removed = {}
    for site in compression.calibration.site_map.sites:
        groups, left = of[site.name], units_left(compression.plan, site)
        counts = {name: int(flags[groups].sum()) for name, flags in flags_by_kind.items()}
        counts["dropped"] = site.width - left - sum(counts.values())
        removed[site.name] = counts
    return removed


def _factors(compression: Compression) -> list[FactorizedNodePart]:
    """Return every node that is factorized, with its shape, its rank and its share of weights."""
    plan = compression.plan
    errors = {fit.linear_consumer.consumer.node: fit.error for fit in plan.fits}
    factors: list[FactorizedNodePart] = []
    for linear_consumer, kept in affected_consumers(compression.calibration, plan):
        node = linear_consumer.consumer.node
        how = plan.factorized.get(node)
        if how is None:
            continue
        kernel, outputs = kernel_of(linear_consumer), linear_consumer.weights.shape[1]
        channels = int(kept.sum()) // linear_consumer.source.kernel_size
        shape = WeightShape(channels, outputs, kernel)
        weights = cost(how.kind, shape, how.rank, Positions(1, 1)).parameters
        factors.append(
            {
                "node": node,
                "kind": how.kind,
                "columns": int(kept.sum()),
                "outputs": outputs,
                "rank": how.rank,
                "weights_left": weights / (int(kept.sum()) * outputs),
                "error": errors.get(node, how.error),
            }
        )
    return factors


def _layers(compression: Compression) -> list[dict[str, Any]]:
    errors: dict[str, float] = {}
    for fit in compression.plan.fits:
        for site in fit.linear_consumer.consumer.sites if fit.error is not None else ():
            errors[site] = max(errors.get(site, 0.0), fit.error or 0.0)
    removed = _removed(compression)
    return [
        {
            "layer": site.layer,
            "units_before": site.width,
            "units_after": units_left(compression.plan, site),
            "removed": removed[site.name],
            "predicted_error": errors.get(site.name),
        }
        for site in compression.calibration.site_map.sites
    ]


def _skipped(compression: Compression) -> list[dict[str, str]]:
    site_map, locked = compression.calibration.site_map, compression.locked_layers
    layers = [
        {"layer": site.layer, "op": site.op, "reason": locked[site.layer]}
        for site in site_map.sites
        if site.layer in locked
    ]
    nodes = [{"node": each.node, "op": each.op, "reason": each.reason} for each in site_map.skipped]
    gone = {node for move in compression.plan.dropped for node in move.branch.nodes}
    ops = {
        linear_consumer.consumer.node: linear_consumer.consumer.op
        for linear_consumer in compression.calibration.linear_consumers
    }
    whole = [
        {"node": node, "op": ops[node], "reason": reason}
        for node, reason in compression.plan.whole.items()
        if node not in gone
    ]
    return layers + nodes + whole


def _warnings(compression: Compression, request: Request) -> list[str]:
    """Return the warnings, each once, with one more if the named calibration data are noise."""
    data = compression.calibration.run.data
    own = "frivkit.data" in compression.calibration.model.metadata
    named = request.data is not None or own
    noise = [
        f"the calibration examples are noise ({data.description}): what can leave "
        "without harm to noise may be what real inputs need; give real ones by --data"
    ]
    added = noise if named and is_noise(data.spec) else []
    return list(dict.fromkeys([*added, *compression.warnings]))
