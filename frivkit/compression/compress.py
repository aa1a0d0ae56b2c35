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
from frivkit.engine.runs import run_whole_batches
from frivkit.engine.session import Session
from frivkit.errors import DataError, ModelError, UsageError
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
STALE = ("frivkit.trainable_parameters", "frivkit.accuracy")
"""Metadata of the original that are not true of a thinner model."""
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
        multiple: What the units left in each layer are rounded up to a multiple of, such as 8; not
            under a tolerance.
    """

    kind: Kind
    share: float
    multiple: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if not 0 < self.share <= 1 or (self.kind in ("tolerance", "agreement") and self.share == 1):
            raise UsageError(f"{self.kind} is {self.share:g}; it must lie between 0 and 1")
        if self.multiple < 1:
            raise UsageError(f"widths cannot be multiples of {self.multiple}; give 1 or more")
        if self.multiple > 1 and self.kind == "tolerance":
            raise UsageError("a tolerance knows no multiples of widths; give another budget")


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
        verify_data: Data for the proof; None keeps one in four examples of the others for it.
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
    data, tuning, proof = _parts(everything, model, budget, verify_data)
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
        again = replace(chosen, fits=fits)
        retold = thinned(calibration, again)
        if tuning is None or _Search(model, tuning, request).agreement(retold) >= budget.share:
            chosen, thin = again, retold
    if output is None:
        return Compression(calibration, chosen, data, None, None, warnings)
    if all(flags.all() for flags in chosen.keep.values()):
        raise ModelError(
            f"no unit of {model.path.name} leaves under {budget.kind} {budget.share:g}, so nothing "
            "would be smaller; allow more"
        )
    for stale in STALE:
        thin.metadata_props.pop(stale, None)
    thin.metadata_props.update(_provenance(model, data, budget, chosen))
    save(thin, output, model)
    found = verify(request, output, data=proof, progress=progress)
    return Compression(calibration, chosen, data, output, found, (*warnings, *found.warnings))


def _parts(
    everything: Dataset, model: Model, budget: Budget, verify_data: str | None
) -> tuple[Dataset, Dataset | None, Dataset]:
    """Give the examples to calibrate on, those to search for an agreement on, and the proof's."""
    data = everything
    if verify_data is not None:
        proof: Dataset = open_data(verify_data, model.inputs)
    else:
        if everything.examples < FEWEST:
            raise DataError(
                f"{everything.spec} has {everything.examples} examples, too few to calibrate on "
                f"some and prove on others: give {FEWEST} or more, or --verify-data"
            )
        data, proof = split(everything)
    if budget.kind != "agreement":
        return data, None, proof
    if data.examples < FEWEST:
        raise DataError(
            f"{data.examples} examples are too few to calibrate on some and search for an "
            f"agreement on others: give {FEWEST} or more"
        )
    return *split(data), proof


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
        return _agreeing(calibration, budget, tuning, request, how)
    else:
        made = plan(
            calibration, *within(calibration, budget.kind, budget.share, budget.multiple), how
        )
    return made, thinned(calibration, made)


def _agreeing(
    calibration: Calibration,
    budget: Budget,
    tuning: Dataset,
    request: Request,
    how: Refit,
) -> tuple[Plan, ir.Model]:
    """Search for the smallest model whose lower bound of agreement is met."""
    search = _Search(calibration.model, tuning, request)
    low, high = 0.0, 1.0
    best: tuple[Plan, ir.Model] | None = None
    for _ in range(SEARCH):
        share = (low + high) / 2
        try:
            made = plan(calibration, *within(calibration, "macs", share, budget.multiple), how)
        except ModelError:  # smaller than can be made
            low = share
            continue
        thin = thinned(calibration, made)
        if search.agreement(thin) >= budget.share:
            best, high = (made, thin), share
        else:
            low = share
    if best is None:
        raise ModelError(
            f"no thinner model was found that surely agrees on {budget.share:.4g} of the labels, "
            f"by {tuning.examples} examples: give more examples or ask for less"
        )
    return best


class _Search:
    """What the original says of the examples that an agreement is searched for on."""

    def __init__(self, model: Model, tuning: Dataset, request: Request) -> None:
        self._model, self._tuning, self._request = model, tuning, request
        self._output = model.output(request.output)
        self._intact = self._labels(model.ir)

    def agreement(self, thin: ir.Model) -> float:
        """Give the lower end of the agreement of a thinner model's labels with the original's."""
        same = (self._labels(thin) == self._intact) & (self._intact != UNDEFINED)
        return Agreement(int(same.sum()), len(same), same.shape[1]).interval[0]

    def _labels(self, graph: ir.Model) -> NDArray[np.int32]:
        model = self._model
        session = Session(graph, self._request.device)
        threshold = threshold_of(model.graph, self._output)
        names = [value.name or "" for value in graph.graph.inputs if not value.is_initializer()]
        parts = []
        for batch in self._tuning.batches(
            batch_size(model.graph, self._request.memory, model.batch)
        ):
            feeds = {name: batch.inputs[name] for name in names}
            outputs = run_whole_batches(session, model, feeds, [self._output])[0]
            parts.append(labels_of(outputs, threshold))
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
