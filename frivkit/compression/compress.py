"""The spine of compression: open, calibrate, plan, write, prove.  Reads from top to bottom."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.planning import (
    Calibration,
    Plan,
    Refit,
    calibrate,
    plan,
    thinned,
    tolerating,
    within,
)
from frivkit.compression.rounds import refit_in_rounds
from frivkit.compression.split import split
from frivkit.data import Dataset, open_data
from frivkit.engine.labels import UNDEFINED, labels_of, threshold_of
from frivkit.engine.memory import batch_size
from frivkit.engine.probe import complete_shapes
from frivkit.engine.session import Session
from frivkit.errors import ModelError, UsageError
from frivkit.graph.model import Model
from frivkit.graph.sites import survey
from frivkit.graph.writing import save
from frivkit.pipeline import Request, load_model, named_data
from frivkit.progress import Progress, Silent
from frivkit.proof import Verification, verify
from frivkit.proof.agreement import Agreement

Kind = Literal["macs", "params", "units", "tolerance", "agreement"]
FEWEST = 8
"""Examples without which there is nothing to split."""
SEARCH = 8
"""Models that are tried on the way to an agreement."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a thinner model may cost, or what it must still say.

    Attributes:
        kind: ``"macs"``, ``"params"`` or ``"units"``: a share of the original's that may be left;
            ``"tolerance"``: a share of variance that each layer's readers may lose;
            ``"agreement"``: the least agreement of labels, at the lower end of its interval.
        share: The number, in (0, 1].
    """

    kind: Kind
    share: float

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 0 < self.share <= 1 or (self.kind in ("tolerance", "agreement") and self.share == 1):
            raise UsageError(f"{self.kind} is {self.share}; it must lie between 0 and 1")


@dataclass(frozen=True, slots=True, eq=False)
class Compression:
    """What was done, and all that is needed to report it.

    Attributes:
        calibration: The model and what the data told of it.
        plan: Which units stay.
        data: The examples it was calibrated on.
        path: The file that was written, None where nothing was.
        proof: What the thinner model still says, on other examples; None where nothing was written.
        warnings: What a reader must know.
    """

    calibration: Calibration
    plan: Plan
    data: Dataset
    path: Path | None
    proof: Verification | None
    warnings: tuple[str, ...]

    @property
    def declined(self) -> Mapping[str, str]:
        """Why no unit of a layer can leave, by the layer's name, for each such layer."""
        groups = self.calibration.examined.groups
        sites = self.calibration.survey.sites
        reasons = {site.layer: groups.reason(site.name) for site in sites}
        return {layer: reason for layer, reason in reasons.items() if reason is not None}


def compress(
    request: Request,
    output: Path | None,
    budget: Budget,
    *,
    verify_data: str | None = None,
    how: Refit = "relu",
    progress: Progress | None = None,
) -> Compression:
    """Make a model thinner, write it, and prove what it still says.

    Args:
        request: The model, the data to calibrate on and how to run; labels are not looked at.
        output: The file to write; None plans and writes nothing.
        budget: How thin.
        verify_data: Data for the proof; None keeps every fourth example of the others for it.
        how: How what reads units is refitted.
        progress: Where progress is shown.

    Raises:
        ModelError: the model cannot be read, run or narrowed, the budget cannot be met, the result
            would not be smaller, or the file cannot be written.
        DataError: the data cannot be read, do not fit, or are too few.
    """
    progress = progress or Silent()
    model = load_model(request)
    everything, warnings = named_data(request, model)
    model = complete_shapes(model, request.device, everything)
    if verify_data is not None:
        data: Dataset = everything
        proof: Dataset = open_data(verify_data, model.inputs)
    else:
        if everything.examples < FEWEST:
            raise ModelError(
                f"{everything.spec} has {everything.examples} examples, too few to calibrate on "
                f"some and prove on others: give {FEWEST} or more, or --verify-data"
            )
        data, proof = split(everything)
    tuning: Dataset | None = None
    if budget.kind == "agreement":  # is searched for on examples that nothing is fitted to
        data, tuning = split(data)
    calibration = calibrate(
        model,
        survey(model, request.output),
        data,
        request.device,
        memory=request.memory,
        seed=request.seed,
        progress=progress,
    )
    widest = max(site.width for site in calibration.survey.sites)
    if data.examples < widest:
        warnings += (
            f"{data.examples} examples calibrate layers of up to {widest} units: fits lean on "
            "ridges, and more examples would do better",
        )
    chosen, thin = _chosen(calibration, budget, tuning or data, request, how)
    if how == "relu":
        fits = refit_in_rounds(
            model,
            chosen.fits,
            calibration.sums,
            data,
            request.device,
            memory=request.memory,
            seed=request.seed,
            progress=progress,
        )
        chosen = replace(chosen, fits=fits)
        thin = thinned(calibration, chosen)
    if output is None:
        return Compression(calibration, chosen, data, None, None, warnings)
    if all(flags.all() for flags in chosen.keep.values()):
        raise ModelError(
            f"no unit of {model.path.name} leaves under {budget.kind} {budget.share:g}, so nothing "
            "would be smaller; allow more"
        )
    thin.metadata_props.update(_provenance(model, data, budget, chosen))
    save(thin, output, model)
    found = verify(request, output, data=proof, progress=progress)
    return Compression(calibration, chosen, data, output, found, (*warnings, *found.warnings))


def _chosen(
    calibration: Calibration,
    budget: Budget,
    tuning: Dataset,
    request: Request,
    how: Refit,
) -> tuple[Plan, ir.Model]:
    if budget.kind == "tolerance":
        made = plan(calibration, *tolerating(calibration, budget.share), how)
    elif budget.kind == "agreement":
        return _agreeing(calibration, budget.share, tuning, request, how)
    else:
        made = plan(calibration, *within(calibration, budget.kind, budget.share), how)
    return made, thinned(calibration, made)


def _agreeing(
    calibration: Calibration,
    least: float,
    tuning: Dataset,
    request: Request,
    how: Refit,
) -> tuple[Plan, ir.Model]:
    """Search for the smallest model whose lower bound of agreement is met."""
    output = calibration.model.output(request.output)
    intact = _labels(calibration.model, calibration.model.ir, output, tuning, request)
    low, high = 0.0, 1.0
    best: tuple[Plan, ir.Model] | None = None
    for _ in range(SEARCH):
        share = (low + high) / 2
        try:
            made = plan(calibration, *within(calibration, "macs", share), how)
        except ModelError:  # smaller than can be made
            low = share
            continue
        thin = thinned(calibration, made)
        found = _labels(calibration.model, thin, output, tuning, request)
        same = (found == intact) & (intact != UNDEFINED)
        agreement = Agreement(int(same.sum()), len(same), same.shape[1])
        if agreement.interval[0] >= least:
            best, high = (made, thin), share
        else:
            low = share
    if best is None:
        raise ModelError(
            f"no thinner model was found that agrees on {least:.4g} of the labels for sure, with "
            f"{tuning.examples} examples to see it by: give more examples or ask for less"
        )
    return best


def _labels(
    model: Model, graph: ir.Model, output: str, data: Dataset, request: Request
) -> NDArray[np.int32]:
    session = Session(graph, request.device)
    threshold = threshold_of(model.graph, output)
    names = [value.name or "" for value in graph.graph.inputs if not value.is_initializer()]
    size = batch_size(model.graph, request.memory, model.batch)
    parts = []
    for batch in data.batches(size):
        feeds = {name: batch.inputs[name] for name in names}
        parts.append(labels_of(session.run(feeds, [output])[0], threshold))
    return np.concatenate(parts)


def _provenance(model: Model, data: Dataset, budget: Budget, made: Plan) -> dict[str, str]:
    from frivkit import __version__

    left = sum(int(flags.sum()) for flags in made.keep.values())
    units = sum(flags.size for flags in made.keep.values())
    return {
        "frivkit.compressed": __version__,
        "frivkit.source": model.sha256,
        "frivkit.calibration": data.digest,
        "frivkit.budget": f"{budget.kind} {budget.share:g}",
        "frivkit.units": f"{left} of {units}",
    }
