"""The cost and the label agreement of a compressed file, by frivkit's own count and comparison."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.networks.trained import Kind, Network
from frivkit.data import open_data
from frivkit.graph.cost import macs
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model
from frivkit.runtime.execution import Execution
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit.verification import verify

THREADS = 1
"""One thread, for nothing is timed here, and two are slow beside other programs."""

Json = dict[str, Any]
Amounts = dict[Kind, int]


def request(network: Network) -> Request:
    """Return the request to frivkit: the model, calibration examples, seed and threads."""
    return Request(
        network.model,
        data=f"npz:{network.calibration}",
        execution=Execution(threads=THREADS, seed=network.seed),
    )


def amounts(network: Network, path: Path) -> Amounts:
    """Return the numbers of multiply-accumulates, parameters and units of a file."""
    model = _open(network, path)
    count = macs(model.graph)
    if count is None:
        raise SystemExit(f"the multiply-accumulates of {path} are not known")
    units = sum(site.width for site in find_sites(model, None).sites)
    return {"macs": count, "params": model.parameters, "units": units}


def score(network: Network, path: Path) -> Json:
    """Compare a compressed file with the original on every verification example."""
    requested = replace(request(network), data=f"npz:{network.verification}")
    comparison = verify(requested, path, time_batches=()).comparison
    before, after = comparison.accuracy or (None, None)
    return {
        "agreement": comparison.agreement.share,
        "examples": comparison.agreement.examples,
        "accuracy": after,
        "original_accuracy": before,
        "relative_l2": comparison.main.relative_l2,
    }


def _open(network: Network, path: Path) -> Model:
    requested = replace(request(network), model=path)
    model = load_model(requested)
    data = open_data(f"npz:{network.calibration}", model.inputs)
    return infer_shapes_by_running(model, requested.execution.placement, data)
