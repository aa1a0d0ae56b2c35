"""The rules behind the laws of compression.

A rule takes a case and raises LawError; errors of budgets and usage decline a network.
"""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import onnx_ir as ir

from frivkit.compression.allocation import Allocator
from frivkit.compression.constraints import Constraints
from frivkit.compression.plan import (
    Keep,
    Plan,
    Resource,
    amount,
    apply_plan,
    group_flags,
    keep_weights,
    outline,
)
from frivkit.errors import BudgetError, UsageError
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.site_map import Site
from frivkit.graph.surgery.set_weights import set_weights
from frivkit.latency.fast_path import leaves_fast_path
from frivkit.measure.pipeline import Request, load_model
from frivkit.testing.laws.compression_case import CompressionCase

CLOSE = 1e-5
"""The distance of outputs that should be the same, relative to the largest or to 1."""
FOLDED = 1e-2
"""The distance of outputs if units were replaced by others."""
SHARES = (0.8, 0.5)
"""Shares of the budgets that are tried."""
RESOURCES: tuple[Resource, ...] = ("macs", "params", "units")
IMPOSSIBLE = 1e-6
"""A share of multiply-accumulates that no network can be compressed to."""
ROUNDING = 1e-9
"""What is added to a share so that it is met in spite of rounding, as a share of it."""
SCALE = 4.0
"""The factor of a scaled layer: a power of two, so that scaling rounds nothing."""
TOLERANCE = 1e-3
"""The tolerance under which only superfluous units are removed."""


def _plan(allocator: Allocator, share: float) -> Plan:
    """Return a plan under the first budget that the moves serve."""
    unknown: UsageError | None = None
    for resource in RESOURCES:
        try:
            return allocator.for_budget(resource, share)
        except UsageError as error:
            unknown = error
    raise UsageError(f"the moves serve no budget: {unknown}")


def full_width(case: CompressionCase) -> None:
    """Require equal outputs under a budget of everything."""
    calibration = case.calibrate()
    plan = case.refit_plan(calibration, _plan(case.allocator(calibration), 1.0))
    distance = case.distance(calibration, plan)
    if distance > CLOSE:
        raise case.broken(f"expected outputs as before, found them {distance:.2g} apart")


def budgets(case: CompressionCase) -> None:
    """Require that the file meets every budget that the moves serve."""
    calibration = case.calibrate()
    allocator = case.allocator(calibration)
    declined: Exception | None = None
    met = 0
    for resource in RESOURCES:
        for share in SHARES:
            try:
                plan = allocator.for_budget(resource, share)
            except (BudgetError, UsageError) as error:
                declined = error
                continue
            _require_budget(case, case.refit_plan(calibration, plan), resource, share)
            met += 1
    if declined is not None and not met:
        raise declined


def _require_budget(case: CompressionCase, plan: Plan, resource: Resource, share: float) -> None:
    calibration = case.calibrate()
    path = case.folder / "compressed.onnx"
    save(apply_plan(calibration, plan), path, calibration.model)
    written = load_model(Request(path))
    before = amount(calibration.model.ir, calibration, resource, None)
    after = amount(written.ir, calibration, resource, plan if resource == "units" else None)
    if after > share * before:
        raise case.broken(
            f"expected at most {share:g} of {before:g} {resource}, found {after:g} in the file"
        )


def repeatable(case: CompressionCase) -> None:
    """Require the same weights in a second run."""
    models = []
    for _ in range(2):
        calibration = case.calibrate(seed=3)
        plan = _plan(case.allocator(calibration), SHARES[0])
        models.append(apply_plan(calibration, case.refit_plan(calibration, plan)))
    first, second = (_weights(each) for each in models)
    if first != second:
        names = sorted(name for name in first | second if first.get(name) != second.get(name))
        raise case.broken(f"expected the same weights, found others in {', '.join(names[:3])}")


def _weights(graph: ir.Model) -> dict[str, bytes]:
    """Return the bytes of each weight."""
    return {
        str(name): value.const_value.tobytes()
        for name, value in graph.graph.initializers.items()
        if value.const_value is not None
    }


def unchanged(case: CompressionCase) -> None:
    """Require that the file and the model in memory are as before."""
    calibration = case.calibrate()
    path = calibration.model.path
    before = sha256(path.read_bytes()).hexdigest(), case.outputs(calibration.model.ir)
    plan = _plan(case.allocator(calibration), SHARES[0])
    apply_plan(calibration, case.refit_plan(calibration, plan))
    if sha256(path.read_bytes()).hexdigest() != before[0]:
        raise case.broken(f"expected {path.name} as before, found it changed")
    if not np.array_equal(case.outputs(calibration.model.ir), before[1]):
        raise case.broken("expected the model in memory as before, found other outputs")


def sliced_is_masked(case: CompressionCase) -> None:
    """Require the outputs of the original with 0 in the weights that read removed units."""
    calibration = case.calibrate()
    plan = case.allocator(calibration).for_budget("units", SHARES[1])
    sliced = apply_plan(calibration, replace(plan, fits=keep_weights(calibration, plan)))
    stays = group_flags(calibration, plan.keep)
    zeroed = {}
    for linear_consumer in calibration.linear_consumers:
        columns = stays[linear_consumer.group_ids]
        matrix = np.where(columns[:, np.newaxis], linear_consumer.matrix, 0.0)
        whole = linear_consumer.weight(matrix, np.ones_like(columns))
        zeroed[linear_consumer.consumer.node] = (whole, None)
    wanted = case.outputs(set_weights(calibration.model.ir, zeroed))
    distance = float(np.abs(case.outputs(sliced) - wanted).max() / max(1, np.abs(wanted).max()))
    if distance > CLOSE:
        raise case.broken(f"expected the masked outputs, found them {distance:.2g} apart")


def dead(case: CompressionCase) -> None:
    """Switch units off and require that they are removed and nothing else changes."""
    calibration = case.calibrate()
    plan = case.refit_plan(calibration, case.allocator(calibration).for_tolerance(TOLERANCE))
    for site in calibration.site_map.sites:
        if plan.keep[site.name][1]:
            raise case.broken(
                f"expected unit 1 of {site.layer}, which is off, to be removed; found that it stays"
            )
    _require_same_labels(case, plan)


def copies(case: CompressionCase) -> None:
    """Copy every unit and require that half of them are removed."""
    calibration = case.calibrate()
    plan = case.refit_plan(calibration, case.allocator(calibration).for_tolerance(TOLERANCE))
    for site in calibration.site_map.sites:
        staying = int(plan.keep[site.name].sum())
        if staying > site.width // 2:
            raise case.broken(
                f"expected at most {site.width // 2} of {site.width} units of {site.layer}, found "
                f"{staying}"
            )
    _require_same_labels(case, plan)


def _require_same_labels(case: CompressionCase, plan: Plan) -> None:
    calibration = case.calibrate()
    before = case.outputs(calibration.model.ir)
    after = case.outputs(apply_plan(calibration, plan))
    same = float((before.argmax(axis=1) == after.argmax(axis=1)).mean())
    distance = case.distance(calibration, plan)
    if same < 1 or distance > FOLDED:
        raise case.broken(
            f"expected every label and outputs within {FOLDED:g}, found {same:.1%} of the labels "
            f"and outputs {distance:.2g} apart"
        )


def least(case: CompressionCase) -> None:
    """Require that a budget below the least is refused with the least, and that this is met."""
    calibration = case.calibrate()
    allocator = case.allocator(calibration)
    try:
        allocator.for_budget("macs", IMPOSSIBLE)
    except BudgetError as error:
        refused = error.least
    else:
        raise case.broken(f"expected a budget of {IMPOSSIBLE:g} to be refused, found a plan")
    try:
        plan = allocator.for_budget("macs", min(1.0, refused * (1 + ROUNDING)))
    except BudgetError as error:
        raise case.broken(
            f"expected the share {refused:g}, named as the least, to be met; it is refused"
        ) from error
    _require_budget(case, case.refit_plan(calibration, plan), "macs", refused * (1 + ROUNDING))


def fast_widths(case: CompressionCase) -> None:
    """Require that no node leaves the blocked layout of ONNX Runtime at default widths."""
    calibration = case.calibrate()
    allocator = case.allocator(calibration, Constraints())
    plan = allocator.for_budget("macs", SHARES[1])
    left = leaves_fast_path(calibration.model.ir, outline(calibration, plan))
    if left:
        raise case.broken(f"expected all nodes in the blocked layout, found others: {left}")


def scale(case: CompressionCase) -> None:
    """Scale the units of each hidden layer and require that the same units stay."""
    weights = case.network.weights
    if weights is None:
        raise ValueError(f"{case.network.name} is not built from weights")
    for name in weights.hidden:
        weights = weights.scaled(name, SCALE)
    plans = [
        {site.layer: keep[site.name].tolist() for site in sites}
        for sites, keep in map(
            _kept, (case, replace(case, network=case.network.instead("scaled", weights)))
        )
    ]
    if plans[0] != plans[1]:
        raise case.broken(f"expected the same units to stay, found {plans[0]} and {plans[1]}")


def _kept(case: CompressionCase) -> tuple[tuple[Site, ...], Keep]:
    """Return the sites of a case, and which units a plan keeps of them."""
    calibration = case.calibrate()
    plan = case.allocator(calibration).for_budget("units", SHARES[1])
    return tuple(calibration.site_map.sites), plan.keep


def permutation(case: CompressionCase) -> None:
    """Put the units in another order and require that the same units stay."""
    weights = case.network.weights
    if weights is None:
        raise ValueError(f"{case.network.name} is not built from weights")
    generator = np.random.default_rng(1)
    orders = {name: generator.permutation(weights.units(name)) for name in weights.hidden}
    for name, order in orders.items():
        weights = weights.rewired(name, order.tolist())
    other = replace(case, network=case.network.instead("permuted", weights))
    plans = []
    for each in (case, other):
        calibration = each.calibrate()
        keep = each.allocator(calibration).for_budget("units", SHARES[1]).keep
        plans.append({site.layer: keep[site.name] for site in calibration.site_map.sites})
    before, after = plans
    for name, order in orders.items():
        expected, actual = before[name][order], after[name]
        if not np.array_equal(expected, actual):
            raise case.broken(
                f"expected units {np.flatnonzero(expected).tolist()} of {name} to stay in the new "
                f"order, found {np.flatnonzero(actual).tolist()}"
            )
