"""Plans: what stays, what is refitted or split in two, and the thinner model that this makes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.ridge import Fit, fit, sliced
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.model import parameters
from frivkit.graph.surgery.factorize import factorize
from frivkit.graph.surgery.narrow import narrow
from frivkit.graph.surgery.set_weights import set_weights
from frivkit.units.moments import Float64Array

Resource = Literal["macs", "params", "units"]
"""What a budget is a share of."""
Keep = Mapping[str, NDArray[np.bool_]]
"""For each site by name whether each unit stays."""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A node that becomes two, with fewer numbers between them than either side has.

    Attributes:
        linear_consumer: The node.
        first: What makes the numbers between of what the node reads, shape (columns, rank).
        second: What makes the outputs of them, shape (rank, outputs).
        bias: What is added, shape (outputs,); None where it does not change.
        error: The squared error in its outputs on examples it was not fitted to, as a share of
            their variance; None where none were kept apart.
    """

    linear_consumer: LinearConsumer
    first: Float64Array
    second: Float64Array
    bias: Float64Array | None
    error: float | None

    @property
    def rank(self) -> int:
        """How many numbers lie between."""
        return int(self.first.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What stays, and how what reads it takes over.

    Attributes:
        keep: For each site by name whether each unit stays.
        error: The predicted error, summed over bundles or nodes.
        fits: The nodes that are refitted, none before a refit has worked them out.
        factors: The nodes that become two.
        whole: Why nodes that could have become two do not, by their labels.
    """

    keep: Keep
    error: float
    fits: tuple[Fit, ...] = ()
    factors: tuple[Factors, ...] = ()
    whole: Mapping[str, str] = field(default_factory=dict)

    @property
    def idle(self) -> bool:
        """Whether it leaves the model as it is."""
        return not self.factors and all(flags.all() for flags in self.keep.values())


def keep_all(calibration: Calibration) -> dict[str, NDArray[np.bool_]]:
    """Return the flags under which all units stay."""
    return {site.name: np.ones(site.width, np.bool_) for site in calibration.site_map.sites}


def affected_consumers(
    calibration: Calibration, keep: Keep
) -> Iterator[tuple[LinearConsumer, NDArray[np.bool_]]]:
    """Return every reading that loses columns, without the outputs that leave, and what stays."""
    stays = group_flags(calibration, keep)
    for linear_consumer in calibration.linear_consumers:
        columns = stays[linear_consumer.group_ids]
        if not columns.all():
            yield linear_consumer.narrowed(stays), columns


def group_flags(calibration: Calibration, keep: Keep) -> NDArray[np.bool_]:
    """Return of each group whether it stays; the last stands for what no group lies in."""
    groups = calibration.pruning_graph.groups
    stays = np.ones(groups.count + 1, np.bool_)
    for site, flags in keep.items():
        stays[groups.of[site][~flags]] = False
    return stays


def ridge_fits(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit all that reads units that leave, by what the moments tell."""
    return tuple(
        fit(linear_consumer, calibration.patch_moments[linear_consumer.source], columns)
        for linear_consumer, columns in affected_consumers(calibration, plan.keep)
    )


def keep_weights(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Let all that reads units that leave keep its weights for those that stay."""
    return tuple(
        sliced(linear_consumer, columns)
        for linear_consumer, columns in affected_consumers(calibration, plan.keep)
    )


def apply_plan(calibration: Calibration, plan: Plan) -> ir.Model:
    """Return the thinner model."""
    model = narrow(calibration.model, calibration.site_map, plan.keep)
    new = {
        each.linear_consumer.consumer.node: (
            each.linear_consumer.weight(each.matrix, each.columns),
            each.bias,
        )
        for each in plan.fits
    }
    model = set_weights(model, new)
    halves = {each.linear_consumer.consumer.node: _halves(each) for each in plan.factors}
    return factorize(model, halves) if halves else model


def _halves(each: Factors) -> tuple[Float64Array, Float64Array, Float64Array | None]:
    return each.first, each.second, each.bias


def amount(
    graph: ir.Model,
    calibration: Calibration,
    resource: Resource,
    keep: Keep | None,
) -> float:
    """Count what a model costs."""
    if resource == "units":
        sites = calibration.site_map.sites
        return float(sum(s.width if keep is None else keep[s.name].sum() for s in sites))
    if resource == "params":
        return float(parameters(graph.graph) + _biases(calibration, keep))
    found = macs(graph.graph)
    if found is None:
        raise ModelError(
            f"the multiply-accumulates of {calibration.model.path.name} are not known: give "
            "--input-shape, or a budget of --params"
        )
    return float(found)


def _biases(calibration: Calibration, keep: Keep | None) -> int:
    """Count the biases that refits add where a node had none."""
    if keep is None:
        return 0
    return sum(
        linear_consumer.matrix.shape[1]
        for linear_consumer, _ in affected_consumers(calibration, keep)
        if linear_consumer.consumer.bias is None and linear_consumer.has_bias_freedom
    )
