"""Plans: which units are kept, which nodes are refitted or factorized, and the model they make."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.ridge import Fit, fit_ridge, without_refit
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.model import parameters
from frivkit.graph.operators.table import operators_of
from frivkit.graph.surgery.factorize import factorize
from frivkit.graph.surgery.narrow import narrow
from frivkit.graph.surgery.set_weights import set_weights
from frivkit.units.moments import Float64Array

Resource = Literal["macs", "params", "units"]
"""A resource that a budget limits."""
Keep = Mapping[str, NDArray[np.bool_]]
"""Whether each unit is kept, shape (units,), by the name of its site."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A low-rank factorization of a node, which becomes two nodes.

    Attributes:
        linear_consumer: The node.
        first: The matrix of the first node, shape (columns, rank).
        second: The matrix of the second node, shape (rank, outputs).
        bias: The bias of the second node, shape (outputs,); None if it does not change.
        error: The squared error of its outputs on validation examples, as a share of their
            variance; None if no examples were set aside.
    """

    linear_consumer: LinearConsumer
    first: Float64Array
    second: Float64Array
    bias: Float64Array | None
    error: float | None

    @property
    def rank(self) -> int:
        """The number of outputs of the first node."""
        return int(self.first.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The units that are kept, and the new weights of their consumers.

    Attributes:
        keep: Whether each unit is kept, by the name of its site.
        error: The predicted error, summed over layer groups or nodes.
        fits: The new weights of refitted nodes; empty before a refit.
        factors: The nodes that are factorized.
        whole: Why other nodes are not factorized, by their labels.
    """

    keep: Keep
    error: float
    fits: tuple[Fit, ...] = ()
    factors: tuple[Factors, ...] = ()
    whole: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes_nothing(self) -> bool:
        """Whether the compressed model would be the original."""
        return not self.factors and all(flags.all() for flags in self.keep.values())


def keep_all(calibration: Calibration) -> dict[str, NDArray[np.bool_]]:
    """Return the flags that keep all units."""
    return {site.name: np.ones(site.width, np.bool_) for site in calibration.site_map.sites}


def affected_consumers(
    calibration: Calibration, keep: Keep
) -> Iterator[tuple[LinearConsumer, NDArray[np.bool_]]]:
    """Yield every consumer that loses columns.

    Yields:
        The consumer without its removed outputs, and which of its columns are kept, shape
        (columns,).
    """
    kept = group_flags(calibration, keep)
    for linear_consumer in calibration.linear_consumers:
        columns = kept[linear_consumer.group_ids]
        if not columns.all():
            yield linear_consumer.narrowed(kept), columns


def group_flags(calibration: Calibration, keep: Keep) -> NDArray[np.bool_]:
    """Return whether each group is kept, shape (groups + 1,); the last entry is ``NO_GROUP``'s."""
    groups = calibration.pruning_graph.groups
    kept = np.ones(groups.count + 1, np.bool_)
    for site, flags in keep.items():
        kept[groups.of[site][~flags]] = False
    return kept


def ridge_fits(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit every consumer of removed units by ridge regression, from the moments alone."""
    return tuple(
        fit_ridge(linear_consumer, calibration.patch_moments[linear_consumer.source], columns)
        for linear_consumer, columns in affected_consumers(calibration, plan.keep)
    )


def keep_weights(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Return the original weights of every consumer of removed units, for the kept units."""
    return tuple(
        without_refit(linear_consumer, columns)
        for linear_consumer, columns in affected_consumers(calibration, plan.keep)
    )


def apply_plan(calibration: Calibration, plan: Plan) -> ir.Model:
    """Return the compressed model."""
    model = narrow(calibration.model, calibration.site_map, plan.keep)
    weights = {
        each.linear_consumer.consumer.node: (
            each.linear_consumer.weight(each.matrix, each.columns),
            each.bias,
        )
        for each in plan.fits
    }
    model = set_weights(model, weights)
    factors: dict[str, tuple[Float64Array, Float64Array, Float64Array | None]] = {
        each.linear_consumer.consumer.node: (each.first, each.second, each.bias)
        for each in plan.factors
    }
    return factorize(model, factors) if factors else model


def amount(
    graph: ir.Model,
    calibration: Calibration,
    resource: Resource,
    keep: Keep | None,
) -> float:
    """Return how much of a resource a model takes.

    Args:
        graph: The model, original or compressed.
        calibration: The original and its groups.
        resource: The resource.
        keep: The units that the model keeps; None for the original.

    Raises:
        ModelError: multiply-accumulates are requested and a size that they depend on is not known.
    """
    if resource == "units":
        sites = calibration.site_map.sites
        return float(sum(s.width if keep is None else keep[s.name].sum() for s in sites))
    if resource == "params":
        return float(parameters(graph.graph) + _biases(calibration, keep))
    operations = macs(graph.graph, operators_of(calibration.model))
    if operations is None:
        raise ModelError(
            f"the multiply-accumulates of {calibration.model.path.name} are not known: give "
            "--input-shape, or a budget of --params"
        )
    return float(operations)


def _biases(calibration: Calibration, keep: Keep | None) -> int:
    """Return the number of biases that refits add to nodes without one."""
    if keep is None:
        return 0
    return sum(
        linear_consumer.matrix.shape[1]
        for linear_consumer, _ in affected_consumers(calibration, keep)
        if linear_consumer.consumer.bias is None and linear_consumer.has_bias_freedom
    )
