"""Plans: which units are kept, which nodes are refitted or factorized, and the model they make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.low_rank import FactorKind, Factors, Kernel, factor, full_rank
from frivkit.compression.moves import BranchMove, kernel_of
from frivkit.compression.ridge import Fit, fit_ridge, mean_and_second_moment, without_refit
from frivkit.compression.shared_fit import Reader, fit_shared
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.model import parameters
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.branches import ResidualBranch
from frivkit.graph.sites.shared_weights import shared_weights, weight_readers
from frivkit.graph.sites.site_map import Site
from frivkit.graph.surgery.drop_branches import drop_branches
from frivkit.graph.surgery.factorize import factorize
from frivkit.graph.surgery.map_outputs import OutputMap, map_outputs
from frivkit.graph.surgery.narrow import narrow
from frivkit.graph.surgery.set_weights import NewWeights, put_weights, set_weights
from frivkit.units.moments import Float64Array

Resource = Literal["macs", "params", "units"]
"""A resource that a budget limits."""
Keep = Mapping[str, NDArray[np.bool_]]
"""Whether each unit is kept, shape (units,), by the name of its site."""


@dataclass(frozen=True, slots=True)
class Factorization:
    """How a node becomes two.

    Attributes:
        kind: Whether the factors are directions of its outputs or separable.
        rank: The number of outputs of the first node.
        error: The squared error of its outputs on validation examples, as a share of their
            variance; None if no examples were set aside.
    """

    kind: FactorKind
    rank: int
    error: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is done to a network: units that are kept, nodes that become two, dropped branches.

    Attributes:
        keep: Whether each unit is kept, by the name of its site.
        error: The predicted error, summed over moves.
        factorized: How nodes are factorized, by their labels.
        dropped: The residual blocks whose branch is dropped.
        fits: The new weights of nodes; empty before a refit.
        whole: Why other nodes are not factorized, by their labels.
        maps: Maps of the outputs that are left of nodes, by their labels; empty before a refit.
    """

    keep: Keep
    error: float
    factorized: Mapping[str, Factorization] = field(default_factory=dict)
    dropped: tuple[BranchMove, ...] = ()
    fits: tuple[Fit, ...] = ()
    whole: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, OutputMap] = field(default_factory=dict)

    @property
    def changes_nothing(self) -> bool:
        """Whether the compressed model would be the original."""
        kept = all(flags.all() for flags in self.keep.values())
        return kept and not self.factorized and not self.dropped


def keep_all(calibration: Calibration) -> dict[str, NDArray[np.bool_]]:
    """Return the flags that keep all units."""
    return {site.name: np.ones(site.width, np.bool_) for site in calibration.site_map.sites}


def affected_consumers(
    calibration: Calibration, plan: Plan
) -> Iterator[tuple[LinearConsumer, NDArray[np.bool_]]]:
    """Yield every consumer with new weights: it loses columns or is factorized.

    None of a dropped branch is among them, and none whose weights stay as they are.

    If a weight that several nodes read is among them, so are all of these nodes.

    Yields:
        The consumer without its removed outputs, and which of its columns are kept, shape
        (columns,).
    """
    kept = group_flags(calibration, plan.keep)
    gone = {node for move in plan.dropped for node in move.branch.nodes}
    there = [each for each in calibration.linear_consumers if each.consumer.node not in gone]
    changed = {each.shared[0] for each in there if each.shared and not kept[each.group_ids].all()}
    for linear_consumer in there:
        columns, node = kept[linear_consumer.group_ids], linear_consumer.consumer.node
        if linear_consumer.kept_as_is is not None:
            continue  # its weights are cut, and nothing else
        with_others = linear_consumer.shared is not None and linear_consumer.shared[0] in changed
        if node in plan.factorized or with_others or not columns.all():
            yield linear_consumer.narrowed(kept), columns


def units_left(plan: Plan, site: Site) -> int:
    """Return how many units of a site are left; none if it lies in a dropped branch."""
    gone = {node for move in plan.dropped for node in move.branch.nodes}
    inside = bool(site.producers) and gone.issuperset(site.producers)
    return 0 if inside else int(plan.keep[site.name].sum())


def group_flags(calibration: Calibration, keep: Keep) -> NDArray[np.bool_]:
    """Return whether each group is kept, shape (groups + 1,); the last entry is ``NO_GROUP``'s."""
    groups = calibration.pruning_graph.groups
    kept = np.ones(groups.count + 1, np.bool_)
    for site, flags in keep.items():
        kept[groups.of[site][~flags]] = False
    return kept


def ridge_fits(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit every affected consumer by ridge regression, from the moments alone."""
    fits = whole_fits(calibration, plan)
    return tuple(factorized_fit(calibration, plan, fit) for fit in fits)


def whole_fits(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit every affected consumer by ridge regression, and factorize none.

    Nodes that read one weight are fitted together, so that it stays one.
    """
    affected = list(affected_consumers(calibration, plan))
    shared = {fit.linear_consumer.consumer.node: fit for fit in shared_fits(calibration, affected)}
    return tuple(
        shared.get(linear_consumer.consumer.node)
        or fit_ridge(linear_consumer, calibration.patch_moments[linear_consumer.source], columns)
        for linear_consumer, columns in affected
    )


def shared_fits(calibration: Calibration, affected: Sequence[Reader]) -> Iterator[Fit]:
    """Yield the joint fits of nodes that read a weight together.

    Args:
        calibration: The original model and its statistics.
        affected: The nodes that are refitted, without their removed outputs.
    """
    counts = {uses[0].root.name: uses for uses in shared_weights(calibration.model.graph)}
    by_weight: dict[str, list[Reader]] = {}
    for linear_consumer, columns in affected:
        if linear_consumer.shared is not None:
            users = by_weight.setdefault(linear_consumer.shared[0], [])
            users.append((linear_consumer, columns))
    for name, users in by_weight.items():
        complete = len(users) == len(weight_readers(counts[name][0].root))
        yield from fit_shared(users, calibration.patch_moments, complete=complete)


def keep_weights(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Return the original weights of every affected consumer, for the kept units."""
    return tuple(
        factorized_fit(calibration, plan, without_refit(linear_consumer, columns))
        for linear_consumer, columns in affected_consumers(calibration, plan)
    )


def factorized_fit(calibration: Calibration, plan: Plan, fit: Fit) -> Fit:
    """Return a fit with the factors of its weights, if the plan factorizes its node.

    The factors minimise the error of the node's outputs on the calibration examples.
    """
    factorization = plan.factorized.get(fit.linear_consumer.consumer.node)
    if factorization is None:
        return fit
    whole = calibration.patch_moments[fit.linear_consumer.source].whole
    mean, second = mean_and_second_moment(fit.linear_consumer, whole)
    at = fit.columns
    return with_factors(fit, factorization, mean[at], second[np.ix_(at, at)])


def with_factors(
    fit: Fit, factorization: Factorization, mean: Float64Array, second: Float64Array
) -> Fit:
    """Return a fit with factors of its weights, its bias adapted to what they change.

    Args:
        fit: The fit.
        factorization: The kind and the rank.
        mean: The mean of the kept columns, shape (kept columns,).
        second: Their second moment about it, shape (kept columns, kept columns).
    """
    kernel = kernel_of(fit.linear_consumer)
    rank = min(factorization.rank, full_rank(factorization.kind, fit.matrix, kernel))
    scale = fit.linear_consumer.error_scale
    factors = factor(factorization.kind, fit.matrix, second, kernel, rank, error_scale=scale)
    bias = fit.bias
    if fit.linear_consumer.has_bias_freedom:
        bias = fit.linear_consumer.bias if bias is None else bias
        bias = bias + mean @ (fit.matrix - factors.matrix)
    errors = (fit.error, factorization.error)
    error = None if None in errors else sum(each or 0.0 for each in errors)
    return replace(fit, matrix=factors.matrix, bias=bias, factors=factors, error=error)


def apply_plan(calibration: Calibration, plan: Plan) -> ir.Model:
    """Return the compressed model."""
    narrowed = narrow(calibration.model, calibration.site_map, plan.keep)
    return with_fits(calibration, plan, narrowed)


def with_fits(calibration: Calibration, plan: Plan, narrowed: ir.Model) -> ir.Model:
    """Return the narrowed model with new weights, factorized nodes, and no dropped branches."""
    factors = {
        each.linear_consumer.consumer.node: (each.factors.first, each.factors.second, each.bias)
        for each in plan.fits
        if each.factors is not None
    }
    model = set_weights(narrowed, _whole_weights(plan.fits))
    if factors:
        model = factorize(model, factors)
    if plan.maps:
        model = map_outputs(model, plan.maps)
    return drop_branches(model, _means(calibration, plan)) if plan.dropped else model


def put_fits(model: ir.Model, fits: Sequence[Fit]) -> None:
    """Give nodes of a narrowed model the new weights of fits without factors, in place.

    Args:
        model: What :func:`with_fits` returned for a plan without maps and dropped branches.
        fits: New weights of some nodes.
    """
    put_weights(model, _whole_weights(fits))


def _whole_weights(fits: Sequence[Fit]) -> dict[str, NewWeights]:
    """Return weight and bias of each node that is not factorized, by its label."""
    return {
        each.linear_consumer.consumer.node: (
            each.linear_consumer.weight(each.matrix, each.columns),
            each.bias,
        )
        for each in fits
        if each.factors is None
    }


def outline(calibration: Calibration, plan: Plan) -> ir.Model:
    """Return the graph of the compressed model before a refit: its weights have the right shapes.

    Weights of factorized nodes are zeros.
    """
    model = narrow(calibration.model, calibration.site_map, plan.keep)
    kept = group_flags(calibration, plan.keep)
    factors = {}
    for linear_consumer in calibration.linear_consumers:
        how = plan.factorized.get(linear_consumer.consumer.node)
        if how is not None:
            columns = kept[linear_consumer.group_ids]
            matrix = linear_consumer.narrowed(kept).matrix[columns]
            zeros = _zeros(how, matrix, kernel_of(linear_consumer))
            factors[linear_consumer.consumer.node] = (zeros.first, zeros.second, None)
    if factors:
        model = factorize(model, factors)
    return drop_branches(model, _means(calibration, plan)) if plan.dropped else model


def _zeros(factorization: Factorization, matrix: Float64Array, kernel: Kernel) -> Factors:
    """Return factors of the shapes that those of a matrix would have."""
    kind, (columns, outputs) = factorization.kind, matrix.shape
    rank = min(factorization.rank, full_rank(kind, matrix, kernel))
    if kind == "pca":
        return Factors(kind, np.zeros((columns, rank)), np.zeros((rank, outputs)))
    height, width = kernel
    channels = columns // (height * width)
    first, second = np.zeros((rank, channels, height)), np.zeros((outputs, rank, width))
    return Factors(kind, first, second)


def _means(calibration: Calibration, plan: Plan) -> dict[ResidualBranch, Float64Array]:
    """Return the means that take the place of dropped branches."""
    kept = group_flags(calibration, plan.keep)
    means = {}
    for move in plan.dropped:
        by_axis = calibration.pruning_graph.assignment.group_ids.get(move.branch.output, {})
        ids = by_axis.get(move.branch.axis)
        means[move.branch] = move.mean if ids is None else move.mean[kept[ids]]
    return means


def amount(
    graph: ir.Model,
    calibration: Calibration,
    resource: Resource,
    plan: Plan | None,
) -> float:
    """Return how much of a resource a model takes.

    Args:
        graph: The model, original or compressed.
        calibration: The original and its groups.
        resource: The resource.
        plan: The plan that the model was not yet refitted by; None if its biases are all there.

    Raises:
        ModelError: multiply-accumulates are requested and a size that they depend on is not known.
    """
    if resource == "units":
        sites = calibration.site_map.sites
        return float(sum(s.width if plan is None else plan.keep[s.name].sum() for s in sites))
    if resource == "params":
        return float(parameters(graph.graph) + _biases(calibration, plan))
    operations = macs(graph.graph, operators_of(calibration.model))
    if operations is None:
        raise ModelError(
            f"the multiply-accumulates of {calibration.model.path.name} are not known: give "
            "--input-shape, or a budget of --params"
        )
    return float(operations)


def _biases(calibration: Calibration, plan: Plan | None) -> int:
    """Return the number of biases that refits add to nodes without one."""
    if plan is None:
        return 0
    added = {
        linear_consumer.shared or linear_consumer.consumer.node: linear_consumer.weights.shape[1]
        for linear_consumer, _ in affected_consumers(calibration, plan)
        if linear_consumer.consumer.bias is None and linear_consumer.has_bias_freedom
    }
    return sum(added.values())
