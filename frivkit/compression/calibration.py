"""What the data tell of a model, in one streamed pass; every budget is met from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from frivkit.compression.layer_groups import LayerGroup, find_layer_groups
from frivkit.compression.linear_consumers import (
    Reading,
    Source,
    find_readings,
    hold_what_cannot_be_refitted,
    sources_of,
)
from frivkit.compression.patch_moments import Sums, sum_patches
from frivkit.data import Dataset
from frivkit.graph.model import Model
from frivkit.graph.sites.groups import PruningGraph, analyze_groups
from frivkit.graph.sites.site_map import SiteMap
from frivkit.progress import Progress
from frivkit.runtime.labels import Asked
from frivkit.runtime.session import Device


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """On what, where and how a model is run to calibrate it.

    Attributes:
        data: The examples; labels are not looked at.
        output: The output whose labels count.
        device: Where to run.
        memory: Bytes that activations, and what is summed of them, may take.
        seed: The seed of all random choices.
        progress: Where progress is shown.
        asked: How labels are read from the output.
    """

    data: Dataset
    output: str
    device: Device
    memory: int
    seed: int
    progress: Progress
    asked: Asked = field(default_factory=Asked)


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """A model, its groups, and all that the data tell of them.

    Attributes:
        model: The model, its shapes complete.
        site_map: Its layers.
        pruning_graph: What can leave.
        readings: What reads units.
        sums: The moments of what they read.
        variances: The variance of what their outputs meet, by the tensor's name.
        layer_groups: The layers whose units leave together.
        run: The data, and how the model is run on them.
    """

    model: Model
    site_map: SiteMap
    pruning_graph: PruningGraph
    readings: tuple[Reading, ...]
    sums: Mapping[Source, Sums]
    variances: Mapping[str, float]
    layer_groups: tuple[LayerGroup, ...]
    run: Run


def calibrate(model: Model, site_map: SiteMap, run: Run) -> Calibration:
    """Take the one pass over the data that ranking, allocation and the plain refit need.

    Raises:
        ModelError: activations are not finite.
    """
    pruning_graph = analyze_groups(model, site_map)
    readings = find_readings(model, site_map, pruning_graph)
    pruning_graph = hold_what_cannot_be_refitted(model, site_map, pruning_graph, readings)
    sums, variances = sum_patches(
        model,
        sources_of(readings),
        run.data,
        run.device,
        meets={reading.meets: -1 if reading.consumer.op == "MatMul" else 1 for reading in readings},
        memory=run.memory,
        seed=run.seed,
        progress=run.progress,
    )
    layers = {site.name: site.layer for site in site_map.sites}
    layer_groups = find_layer_groups(
        model, layers, pruning_graph, readings=readings, sums=sums, variances=variances
    )
    return Calibration(model, site_map, pruning_graph, readings, sums, variances, layer_groups, run)
