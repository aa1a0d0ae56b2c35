"""The rules of compression: what is asked of a way to make models thinner, and what must come.

A rule takes a thinning and raises LawError; errors of budgets and usage decline a network.
"""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import onnx_ir as ir

from frivkit.compression.plan import Plan, Resource, amount, apply_plan, group_flags, keep_weights
from frivkit.errors import BudgetError, UsageError
from frivkit.graph.onnx_io.save import save
from frivkit.graph.surgery.set_weights import set_weights
from frivkit.measure.pipeline import Request, load_model
from frivkit.testing.laws.thinning import Thinning

CLOSE = 1e-5
"""How far outputs may be apart that should be the same, relative to the largest or to 1."""
FOLDED = 1e-2
"""How far they may be apart where units were folded into others."""
SHARES = (0.8, 0.5)
"""Budgets that are tried."""
RESOURCES: tuple[Resource, ...] = ("macs", "params", "units")
TOLERANCE = 1e-3
"""The tolerance under which nothing but what is superfluous leaves."""


def full_width(thinning: Thinning) -> None:
    """Keep everything: outputs stay, and a refit of nothing is nothing."""
    calibration = thinning.calibrated()
    plan = thinning.refitted(calibration, thinning.basis(calibration).for_budget("macs", 1.0, 1))
    apart = thinning.apart(calibration, plan)
    if apart > CLOSE:
        raise thinning.broken(f"expected outputs as before, found them {apart:.2g} apart")


def budgets(thinning: Thinning) -> None:
    """Meet every budget that the basis knows, in a file that the checker passes."""
    calibration = thinning.calibrated()
    basis = thinning.basis(calibration)
    declined: Exception | None = None
    met = 0
    for resource in RESOURCES:
        for share in SHARES:
            try:
                plan = basis.for_budget(resource, share, 1)
            except (BudgetError, UsageError) as error:
                declined = error
                continue
            _met(thinning, thinning.refitted(calibration, plan), resource, share)
            met += 1
    if declined is not None and not met:
        raise declined


def _met(thinning: Thinning, plan: Plan, resource: Resource, share: float) -> None:
    calibration = thinning.calibrated()
    path = thinning.folder / "thin.onnx"
    save(apply_plan(calibration, plan), path, calibration.model)
    written = load_model(Request(path))
    before = amount(calibration.model.ir, calibration, resource, None)
    after = amount(written.ir, calibration, resource, plan.keep if resource == "units" else None)
    if after > share * before:
        raise thinning.broken(
            f"expected at most {share:g} of {before:g} {resource}, found {after:g} in the file"
        )


def repeatable(thinning: Thinning) -> None:
    """Do it twice: the same units, the same weights."""
    found = []
    for _ in range(2):
        calibration = thinning.calibrated(seed=3)
        plan = thinning.basis(calibration).for_budget("macs", SHARES[0], 1)
        found.append(apply_plan(calibration, thinning.refitted(calibration, plan)))
    first, second = (_weights(each) for each in found)
    if first != second:
        names = sorted(name for name in first | second if first.get(name) != second.get(name))
        raise thinning.broken(f"expected the same weights, found others in {', '.join(names[:3])}")


def _weights(graph: ir.Model) -> dict[str, bytes]:
    """Return the bytes of each weight."""
    return {
        str(name): value.const_value.tobytes()
        for name, value in graph.graph.initializers.items()
        if value.const_value is not None
    }


def unchanged(thinning: Thinning) -> None:
    """Make it thinner: the file and the model in memory are as before."""
    calibration = thinning.calibrated()
    path = calibration.model.path
    before = sha256(path.read_bytes()).hexdigest(), thinning.outputs(calibration.model.ir)
    plan = thinning.basis(calibration).for_budget("macs", SHARES[0], 1)
    apply_plan(calibration, thinning.refitted(calibration, plan))
    if sha256(path.read_bytes()).hexdigest() != before[0]:
        raise thinning.broken(f"expected {path.name} as before, found it changed")
    if not np.array_equal(thinning.outputs(calibration.model.ir), before[1]):
        raise thinning.broken("expected the model in memory as before, found other outputs")


def sliced_is_masked(thinning: Thinning) -> None:
    """Cut without a refit: outputs are those of the original whose readers weigh units by 0."""
    calibration = thinning.calibrated()
    plan = thinning.basis(calibration).for_budget("units", SHARES[1], 1)
    sliced = apply_plan(calibration, replace(plan, fits=keep_weights(calibration, plan)))
    stays = group_flags(calibration, plan.keep)
    zeroed = {}
    for linear_consumer in calibration.linear_consumers:
        columns = stays[linear_consumer.group_ids]
        matrix = np.where(columns[:, np.newaxis], linear_consumer.matrix, 0.0)
        whole = linear_consumer.weight(matrix, np.ones_like(columns))
        zeroed[linear_consumer.consumer.node] = (whole, None)
    wanted = thinning.outputs(set_weights(calibration.model.ir, zeroed))
    apart = float(np.abs(thinning.outputs(sliced) - wanted).max() / max(1, np.abs(wanted).max()))
    if apart > CLOSE:
        raise thinning.broken(f"expected the masked outputs, found them {apart:.2g} apart")


def dead(thinning: Thinning) -> None:
    """Silence units: they leave under the least tolerance, and nothing changes."""
    calibration = thinning.calibrated()
    plan = thinning.refitted(calibration, thinning.basis(calibration).for_tolerance(TOLERANCE))
    for site in calibration.site_map.sites:
        if plan.keep[site.name][1]:
            raise thinning.broken(
                f"expected unit 1 of {site.layer}, which is off, to leave; found it kept"
            )
    _says_the_same(thinning, plan)


def copies(thinning: Thinning) -> None:
    """Have every unit twice: half of them leave under the least tolerance."""
    calibration = thinning.calibrated()
    plan = thinning.refitted(calibration, thinning.basis(calibration).for_tolerance(TOLERANCE))
    for site in calibration.site_map.sites:
        left = int(plan.keep[site.name].sum())
        if left > site.width // 2:
            raise thinning.broken(
                f"expected at most {site.width // 2} of {site.width} units of {site.layer} left, "
                f"found {left}"
            )
    _says_the_same(thinning, plan)


def _says_the_same(thinning: Thinning, plan: Plan) -> None:
    calibration = thinning.calibrated()
    before = thinning.outputs(calibration.model.ir)
    after = thinning.outputs(apply_plan(calibration, plan))
    same = float((before.argmax(axis=1) == after.argmax(axis=1)).mean())
    apart = thinning.apart(calibration, plan)
    if same < 1 or apart > FOLDED:
        raise thinning.broken(
            f"expected every label and outputs within {FOLDED:g}, found {same:.1%} of the labels "
            f"and outputs {apart:.2g} apart"
        )


def permutation(thinning: Thinning) -> None:
    """Put the units in another order: the same ones stay."""
    network = thinning.subject.network
    if network is None:
        raise ValueError(f"{thinning.subject.name} is not built from weights")
    generator = np.random.default_rng(1)
    orders = {name: generator.permutation(network.units(name)) for name in network.hidden}
    for name, order in orders.items():
        network = network.rewired(name, order.tolist())
    other = replace(thinning, subject=thinning.subject.instead("permuted", network))
    kept = []
    for each in (thinning, other):
        calibration = each.calibrated()
        keep = each.basis(calibration).for_budget("units", SHARES[1], 1).keep
        kept.append({site.layer: keep[site.name] for site in calibration.site_map.sites})
    before, after = kept
    for name, order in orders.items():
        expected, found = before[name][order], after[name]
        if not np.array_equal(expected, found):
            raise thinning.broken(
                f"expected units {np.flatnonzero(expected).tolist()} of {name} to stay in the new "
                f"order, found {np.flatnonzero(found).tolist()}"
            )
