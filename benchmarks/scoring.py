"""The cost and the label agreement of a compressed file, by frivkit's own count and comparison."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.networks import Kind, Subject
from frivkit.data import open_data
from frivkit.graph.cost import macs
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model
from frivkit.runtime.execution import Execution
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit.verification.compare import ModelRun, compare

THREADS = 1
"""Nothing is timed here, and beside other programs two threads wait long for each other."""

Json = dict[str, Any]
Amounts = dict[Kind, int]


def request(subject: Subject) -> Request:
    """Return the request to frivkit: the model, the calibration examples, threads."""
    return Request(
        subject.model,
        data=f"npz:{subject.calibration}",
        execution=Execution(threads=THREADS, seed=subject.seed),
    )


def amounts(subject: Subject, path: Path) -> Amounts:
    """Count multiply-accumulates, parameters and units of a file."""
    model = _opened(subject, path)
    found = macs(model.graph)
    if found is None:
        raise SystemExit(f"the multiply-accumulates of {path} are not known")
    units = sum(site.width for site in find_sites(model, None).sites)
    return {"macs": found, "params": model.parameters, "units": units}


def scores(subject: Subject, path: Path) -> Json:
    """Compare a compressed file with the original on every verification example."""
    requested = request(subject)
    data = open_data(f"npz:{subject.verification}", load_model(requested).inputs)
    models = [_opened(subject, each) for each in (subject.model, path)]
    execution = requested.execution
    original, compressed = (ModelRun(each, each.output(None), execution) for each in models)
    found = compare(original, compressed, data, execution.runner)
    before, after = found.accuracy or (None, None)
    return {
        "agreement": found.agreement.share,
        "examples": found.agreement.examples,
        "accuracy": after,
        "original_accuracy": before,
        "relative_l2": found.relative_l2,
    }


def _opened(subject: Subject, path: Path) -> Model:
    requested = replace(request(subject), model=path)
    model = load_model(requested)
    data = open_data(f"npz:{subject.calibration}", model.inputs)
    return infer_shapes_by_running(model, requested.execution.placement, data)
