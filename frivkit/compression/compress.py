"""The spine of compression: open, calibrate, plan, write, prove.  Reads from top to bottom."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.method import Basis, BasisFactory, Method, Ranker, Refit
from frivkit.compression.plan import Plan, apply_plan
from frivkit.compression.unit_kinds import UnitKinds, unit_kinds_of
from frivkit.data import Batch, Data, Dataset, as_dataset
from frivkit.data.subset import split
from frivkit.errors import BudgetError, DataError, ModelError, UsageError
from frivkit.graph.model import Model, parameters
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.site_map import find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, load_model, named_data
from frivkit.runtime.labels import UNDEFINED, LabelReader
from frivkit.runtime.memory import batch_size
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.perturbed_model import run_padded
from frivkit.runtime.session import Session
from frivkit.verification import Verification, verify
from frivkit.verification.agreement import Agreement

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


def one_budget(shares: Mapping[Kind, float | None], names: Mapping[Kind, str]) -> Budget:
    """Return the one budget that is given.

    Args:
        shares: The share of each kind, None for those that are not given.
        names: What the user calls each kind, for messages.

    Raises:
        UsageError: there is none, or more than one, or its share means nothing.

    Example:
        >>> one_budget({"macs": 0.5, "params": None}, {"macs": "--macs", "params": "--params"})
        Budget(kind='macs', share=0.5, multiple=1)
    """
    given = [kind for kind, share in shares.items() if share is not None]
    if len(given) != 1:
        several = " and ".join(names[kind] for kind in given)
        found = f"{several} are given" if given else "no budget is given"
        raise UsageError(f"{found}; give exactly one of {', '.join(names.values())}")
    return Budget(given[0], shares[given[0]] or 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Compression:
    """What was done, and all that is needed to report it.

    Attributes:
        calibration: The model, the examples it was calibrated on, and what they told of it.
        method: By what it was made thinner.
        plan: Which units stay.
        path: The file that was written, None where nothing was.
        verification: What the thinner model still says, on other examples; None where nothing was
            written.
        warnings: What a reader must know.
    """

    calibration: Calibration
    method: Method
    plan: Plan
    path: Path | None
    verification: Verification | None
    warnings: tuple[str, ...]

    @property
    def declined(self) -> Mapping[str, str]:
        """Why no unit of a layer can leave, by the layer's name, for each such layer."""
        groups = self.calibration.pruning_graph.groups
        sites = self.calibration.site_map.sites
        reasons = {site.layer: groups.reason(site.name) for site in sites}
        return {layer: reason for layer, reason in reasons.items() if reason is not None}

    @property
    def kinds(self) -> UnitKinds:
        """Which of the units that leave are prunable, and which redundant."""
        return unit_kinds_of(self.calibration, self.plan.keep)


def compress(
    request: Request,
    output: Path | None,
    budget: Budget,
    *,
    verify_data: Data | None = None,
    method: Method | None = None,
) -> Compression:
    """Make a model thinner, write it, and prove what it still says.

    Args:
        request: The model, the data to calibrate on and how to run; labels are not looked at.
        output: The file to write; None plans and writes nothing.
        budget: How thin.
        verify_data: Data for the proof; None keeps one in four examples of the others for it.
        method: Basis, ranking, refit and allocation; None takes the defaults.

    Raises:
        UsageError: the method names what no plugin offers.
        ModelError: the model cannot be read, run or narrowed, the budget cannot be met, the result
            would not be smaller, or the file cannot be written.
        DataError: the data cannot be read, do not fit, or are too few.
    """
    method = method or Method()
    basis_factory: BasisFactory = installed().load("bases", method.basis)
    refit: Refit = installed().load("refits", method.refit)
    ranker: Ranker = installed().load("rankings", method.ranking)
    model = load_model(request)
    if model.changes:
        raise ModelError(
            f"{model.path.name} is read otherwise than it is written ({model.changes[0]}), so no "
            "thinner file can be made of it: compress the float32 model that it came from"
        )
    everything, warnings = named_data(request, model)
    opening = Opening(request.execution, everything, request.output)
    model = prepare_model(model, opening, keep_file=True)
    data, tuning, proof = _parts(everything, model, budget, verify_data)
    run = Run(data, model.output(request.output), request.execution)
    calibration = calibrate(model, find_sites(model, request.output), run)
    widest = max((site.width for site in calibration.site_map.sites), default=0)
    if data.examples < widest:
        warnings += (
            f"{data.examples} examples calibrate layers of up to {widest} units: fits lean on "
            "ridges, and more examples would do better",
        )
    basis = basis_factory(calibration, ranker, method.allocation)
    chosen = _chosen(calibration, basis, budget, tuning, refit)
    made = replace(chosen, fits=refit.fit(calibration, chosen))
    thin = apply_plan(calibration, made)
    if tuning is not None and _Search(calibration, tuning).agreement(thin) < budget.share:
        made = replace(chosen, fits=refit.quick(calibration, chosen))  # what the search found
        thin = apply_plan(calibration, made)
    if output is None:
        return Compression(calibration, method, made, None, None, warnings)
    if made.idle:
        raise ModelError(
            f"no unit of {model.path.name} leaves under {budget.kind} {budget.share:g}, so nothing "
            "would be smaller; allow more"
        )
    if parameters(thin.graph) >= parameters(model.graph):
        raise ModelError(
            f"{model.path.name} would get no smaller under {budget.kind} {budget.share:g}: the "
            "biases that are added outweigh what is saved; ask for a smaller one"
        )
    for stale in STALE:
        thin.metadata_props.pop(stale, None)
    thin.metadata_props.update(_provenance(calibration, budget, method, made))
    save(thin, output, model)
    opened = replace(request, model=model)  # reading it again may take long
    found = verify(opened, output, data=proof)
    return Compression(calibration, method, made, output, found, (*warnings, *found.warnings))


def _parts(
    everything: Dataset, model: Model, budget: Budget, verify_data: Data | None
) -> tuple[Dataset, Dataset | None, Dataset]:
    """Return the examples to calibrate on, those to search for an agreement on, and the proof's."""
    data = everything
    if verify_data is not None:
        proof: Dataset = as_dataset(verify_data, model.inputs)
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
    basis: Basis,
    budget: Budget,
    tuning: Dataset | None,
    refit: Refit,
) -> Plan:
    if budget.kind == "tolerance":
        return basis.for_tolerance(budget.share)
    if budget.kind == "agreement":
        return _agreeing(calibration, basis, budget, tuning or calibration.run.data, refit)
    return basis.for_budget(budget.kind, budget.share, budget.multiple)


def _agreeing(
    calibration: Calibration,
    basis: Basis,
    budget: Budget,
    tuning: Dataset,
    refit: Refit,
) -> Plan:
    """Search for the smallest model whose lower bound of agreement is met."""
    search = _Search(calibration, tuning)
    low, high = 0.0, 1.0
    best: Plan | None = None
    for _ in range(SEARCH):
        share = (low + high) / 2
        try:
            chosen = basis.for_budget("macs", share, budget.multiple)
        except BudgetError:  # smaller than can be made
            low = share
            continue
        tried = replace(chosen, fits=refit.quick(calibration, chosen))
        if search.agreement(apply_plan(calibration, tried)) >= budget.share:
            best, high = chosen, share
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

    def __init__(self, calibration: Calibration, tuning: Dataset) -> None:
        self._model, self._tuning, self._run = calibration.model, tuning, calibration.run
        label_reader = LabelReader.of_output(
            self._model.graph, self._run.output, self._run.execution.labels
        )
        self._outputs = self._ran(calibration.model.ir)
        self._label_reader = label_reader.fitted([self._outputs])
        self._baseline = self._label_reader.labels(self._outputs)

    def agreement(self, thin: ir.Model) -> float:
        """Return the lower end of the agreement of a thinner model's labels with the original's."""
        labels = self._label_reader.against(self._ran(thin), self._outputs)
        same = (labels == self._baseline) & (self._baseline != UNDEFINED)
        return Agreement(int(same.sum()), len(same), same.shape[1]).interval[0]

    def _ran(self, graph: ir.Model) -> NDArray[Any]:
        model, run = self._model, self._run
        session = Session(graph, run.execution.placement)
        names = [value.name or "" for value in graph.graph.inputs if not value.is_initializer()]

        def outputs_of(batch: Batch) -> NDArray[Any]:
            feeds = {name: batch.inputs[name] for name in names}
            return run_padded(session, model, feeds, [run.output])[0]

        size = batch_size(model.graph, run.execution.memory, model.batch)
        runner = run.execution.runner
        return np.concatenate([*runner.map(self._tuning, size, outputs_of, "agreement")])


def _provenance(
    calibration: Calibration, budget: Budget, method: Method, made: Plan
) -> dict[str, str]:
    from frivkit import __version__

    left = sum(int(flags.sum()) for flags in made.keep.values())
    units = sum(flags.size for flags in made.keep.values())
    told = {
        "frivkit.compressed": __version__,
        "frivkit.source": calibration.model.sha256,
        "frivkit.calibration": calibration.run.data.digest,
        "frivkit.budget": f"{budget.kind} {budget.share:g}",
        "frivkit.method": f"{method.basis} {method.ranking} {method.refit} {method.allocation}",
        "frivkit.units": f"{left} of {units}",
    }
    return told | ({"frivkit.factors": str(len(made.factors))} if made.factors else {})
