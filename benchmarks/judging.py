"""What a thinner file costs and what it still says, by frivkit's own count and comparison."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.subjects import Kind, Subject
from frivkit.data import open_data
from frivkit.graph.cost import macs
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model
from frivkit.progress import Silent
from frivkit.runtime.execution import Execution
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit.verification.compare import Side, compare

THREADS = 1
"""Nothing is timed here, and where other programs run two threads wait for each other for long."""

Json = dict[str, Any]
Amounts = dict[Kind, int]


def request(subject: Subject) -> Request:
    """Return what frivkit is asked for: the model, examples to calibrate on, threads."""
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


def said(subject: Subject, path: Path) -> Json:
    """Compare a thinner file with the original on every example of the proof."""
    asked = request(subject)
    data = open_data(f"npz:{subject.verification}", load_model(asked).inputs)
    models = [_opened(subject, each) for each in (subject.model, path)]
    sides = [Side(each, each.output(None), asked.device, asked.memory) for each in models]
    found = compare(*sides, data, Silent())
    before, after = found.accuracy or (None, None)
    return {
        "agreement": found.agreement.share,
        "examples": found.agreement.examples,
        "accuracy": after,
        "original_accuracy": before,
        "relative_l2": found.relative_l2,
    }


def _opened(subject: Subject, path: Path) -> Model:
    asked = replace(request(subject), model=path)
    model = load_model(asked)
    data = open_data(f"npz:{subject.calibration}", model.inputs)
    return infer_shapes_by_running(model, asked.device, data)
