"""Calibration: the statistics of a model in one pass over the data; they serve every budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frivkit.cache import Cache
from frivkit.compression.calibration_cache import calibration_moments
from frivkit.compression.error_scales import with_error_scale
from frivkit.compression.layer_groups import LayerGroup, find_layer_groups
from frivkit.compression.linear_consumers import (
    ConsumerInput,
    LinearConsumer,
    distinct_sources,
)
from frivkit.compression.locks import find_removable
from frivkit.compression.patch_moments import PatchMoments, UnitSpread
from frivkit.compression.score_moments import ScoreMoments, accumulate_score_moments
from frivkit.data import Dataset
from frivkit.graph.model import Model
from frivkit.graph.sites.branches import ResidualBranch
from frivkit.graph.sites.groups import PruningGraph
from frivkit.graph.sites.producers import values_leading_to_output
from frivkit.graph.sites.site_map import SiteMap
from frivkit.measure.scope import Scope
from frivkit.measure.study import Study
from frivkit.runtime.execution import Execution


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The examples to calibrate on, and how the model is run on them.

    Attributes:
        data: The examples; labels are not looked at.
        output: The output whose labels are compared.
        execution: How to run the model.
    """

    data: Dataset
    output: str
    execution: Execution


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A model, its groups, and their statistics on the calibration examples.

    Attributes:
        model: The model, its shapes complete.
        site_map: Its layers.
        pruning_graph: Its groups: which can be removed, and which only together.
        linear_consumers: The nodes that are linear in units, most of which can be refitted.
        patch_moments: The moments of their inputs.
        branches: The branches of residual blocks.
        spreads: Where the units of error tensors and of branches lie, by the tensor's name.
        layer_groups: The layers whose units are removed together.
        run: The examples, and how the model is run on them.
        reused: Whether the moments came out of the cache.
        scores: The moments of products of queries and keys.
    """

    model: Model
    site_map: SiteMap
    pruning_graph: PruningGraph
    linear_consumers: tuple[LinearConsumer, ...]
    patch_moments: Mapping[ConsumerInput, PatchMoments]
    branches: tuple[ResidualBranch, ...]
    spreads: Mapping[str, UnitSpread]
    layer_groups: tuple[LayerGroup, ...]
    run: Run
    reused: bool = False
    scores: tuple[ScoreMoments, ...] = ()

    def variance(self, tensor: str) -> float:
        """Return the variance of a tensor, summed over its units; 0 if it is not known."""
        spread = self.spreads.get(tensor)
        return 0.0 if spread is None else spread.variance

    @property
    def study(self) -> Study:
        """A study of the model on the calibration examples, run as the calibration was."""
        return self.study_of(self.run.output)

    def output_of(self, sites: Sequence[str]) -> str:
        """Return the output by which units are judged: that of the run, else one they lead to."""
        graph = self.model.graph
        for output in (self.run.output, *(value.name or "" for value in graph.outputs)):
            reached = values_leading_to_output(graph, output)
            values = (value for node in graph for value in node.outputs if id(value) in reached)
            if any(value.name in sites for value in values):
                return output
        return self.run.output

    def study_of(self, output: str) -> Study:
        """Return a study by the labels of an output, run as the calibration was."""
        scope = Scope(output=output)
        return Study(
            self.model, self.run.data, self.run.execution, site_map=self.site_map, scope=scope
        )


def calibrate(
    model: Model,
    site_map: SiteMap,
    run: Run,
    *,
    refits: bool = True,
    cache: Cache | None = None,
) -> Calibration:
    """Run the model over the data once, for ranking, allocation and the plain ridge refit.

    Args:
        model: The model, its shapes complete.
        site_map: Its layers.
        run: The examples, and how the model is run on them.
        refits: Whether weights will be refitted; if not, units that only leave without are free.
        cache: Where moments are kept, and taken from instead of a run; None keeps nothing.

    Raises:
        ModelError: activations are not finite.
    """
    found = find_removable(model, site_map, refits=refits)
    pruning_graph, linear_consumers = found.pruning_graph, found.linear_consumers
    moments = calibration_moments(
        cache or Cache(None),
        model,
        distinct_sources(linear_consumers),
        run.data,
        run.execution,
        tensor_axes=_tensor_axes(linear_consumers, found.branches),
    )
    linear_consumers = tuple(with_error_scale(each, moments.spreads) for each in linear_consumers)
    score_moments = accumulate_score_moments(
        model,
        found.scores,
        run.data,
        run.execution,
        site_map=site_map,
        linear_consumers=linear_consumers,
    )
    layers = {site.name: site.layer for site in site_map.sites}
    layer_groups = find_layer_groups(
        model,
        layers,
        pruning_graph,
        linear_consumers=linear_consumers,
        patch_moments=moments.patch_moments,
        scores=score_moments,
        unfitted=found.unfitted,
    )
    return Calibration(
        model,
        site_map,
        pruning_graph,
        linear_consumers,
        moments.patch_moments,
        found.branches,
        moments.spreads,
        layer_groups,
        run,
        moments.reused,
        score_moments,
    )


def _tensor_axes(
    linear_consumers: Sequence[LinearConsumer], branches: Sequence[ResidualBranch]
) -> dict[str, int]:
    """Return the axis of units of every error tensor and of every branch, by its name."""
    axes = {
        linear_consumer.error_tensor: -1 if linear_consumer.consumer.op == "MatMul" else 1
        for linear_consumer in linear_consumers
    }
    for each in linear_consumers:
        if each.norm is not None:
            axes[each.norm] = axes[each.error_tensor]
    for branch in branches:
        axes[branch.output] = branch.axis
        axes[branch.total] = branch.axis
        if branch.norm is not None:
            axes[branch.norm] = branch.axis
    return axes
