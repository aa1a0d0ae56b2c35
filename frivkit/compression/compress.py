"""The steps of a compression: open, calibrate, plan, refit, write, verify.  Read from the top."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from frivkit.compression.agreement_search import AgreementSearch
from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.compression.method import Basis, BasisFactory, Method, Ranker, Refit
from frivkit.compression.plan import Plan, apply_plan
from frivkit.compression.unit_kinds import UnitKinds, classify_units
from frivkit.data import Data, Dataset, as_dataset
from frivkit.data.subset import split
from frivkit.errors import DataError, ModelError, UsageError
from frivkit.graph.model import Model, parameters
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.site_map import find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, load_model, named_data
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.verification import Verification, verify

Kind = Literal["macs", "params", "units", "tolerance", "agreement"]
MIN_EXAMPLES = 8
"""Examples below which there are too few to split."""
STALE = ("frivkit.trainable_parameters", "frivkit.accuracy")
"""Metadata of the original that are not true of a compressed model."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of the compressed model, or the quality that it must keep.

    Attributes:
        kind: ``"macs"``, ``"params"`` or ``"units"``: a share of the original's that may be left;
            ``"tolerance"``: a share of variance that each consumer may lose;
            ``"agreement"``: the least label agreement, at the lower end of its interval.
        share: The number, in (0, 1]; below 1 for a tolerance and an agreement.
        multiple: The number that layer widths are rounded up to a multiple of, such as 8; 1 for a
            tolerance.
    """

    kind: Kind
    share: float
    multiple: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError if a number is out of range."""
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
        names: The name of each kind in messages.

    Raises:
        UsageError: there is none, or more than one, or its share is out of range.

    Example:
        >>> one_budget({"macs": 0.5, "params": None}, {"macs": "--macs", "params": "--params"})
        Budget(kind='macs', share=0.5, multiple=1)
    """
    given = [kind for kind, share in shares.items() if share is not None]
    if len(given) != 1:
        several = " and ".join(names[kind] for kind in given)
        problem = f"{several} are given" if given else "no budget is given"
        raise UsageError(f"{problem}; give exactly one of {', '.join(names.values())}")
    return Budget(given[0], shares[given[0]] or 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Compression:
    """The result of a compression, with all that a report needs.

    Attributes:
        calibration: The original model, and its statistics on the calibration examples.
        method: The method.
        plan: The units that are kept, and the new weights.
        path: The file that was written, None if none was.
        verification: The comparison with the original on other examples; None if no file was
            written.
        warnings: What a user should know of the data and the result, a sentence each.
    """

    calibration: Calibration
    method: Method
    plan: Plan
    path: Path | None
    verification: Verification | None
    warnings: tuple[str, ...]

    @property
    def locked_layers(self) -> Mapping[str, str]:
        """The layers of which no unit can be removed, with the reason, by the layer's name."""
        groups = self.calibration.pruning_graph.groups
        sites = self.calibration.site_map.sites
        reasons = {site.layer: groups.reason(site.name) for site in sites}
        return {layer: reason for layer, reason in reasons.items() if reason is not None}

    @property
    def kinds(self) -> UnitKinds:
        """Which of the removed units are prunable, and which redundant."""
        return classify_units(self.calibration, self.plan.keep)


def compress(
    request: Request,
    output: Path | None,
    budget: Budget,
    *,
    verify_data: Data | None = None,
    method: Method | None = None,
) -> Compression:
    """Compress a model, write it, and verify it against the original.

    Args:
        request: The model, the data to calibrate on and how to run; labels of the data are not
            used.
        output: The file to write; None makes a plan and writes nothing.
        budget: The size or the quality of the compressed model.
        verify_data: Data to verify on; None sets aside one in four examples of the others.
        method: Basis, ranking, refit and allocation; None takes the defaults.

    Raises:
        UsageError: the method names something that no plugin offers.
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
            "smaller file can be made of it: compress the float32 model that it came from"
        )
    examples, warnings = named_data(request, model)
    opening = Opening(request.execution, examples, request.output)
    model = prepare_model(model, opening, keep_file=True)
    data, search_data, held_out = _split_data(examples, model, budget, verify_data)

    run = Run(data, model.output(request.output), request.execution)
    calibration = calibrate(model, find_sites(model, request.output), run)
    widest = max((site.width for site in calibration.site_map.sites), default=0)
    if data.examples < widest:
        warnings += (
            f"{data.examples} examples calibrate layers of up to {widest} units: fits lean on "
            "ridges, and more examples would do better",
        )

    basis = basis_factory(calibration, ranker, method.allocation)
    plan, compressed = _plan(calibration, basis, refit, budget, search_data)
    if output is None:
        return Compression(calibration, method, plan, None, None, warnings)

    if plan.changes_nothing:
        raise ModelError(
            f"no unit of {model.path.name} can be removed under {budget.kind} {budget.share:g}, so "
            "nothing would be smaller; allow more"
        )
    if parameters(compressed.graph) >= parameters(model.graph):
        raise ModelError(
            f"{model.path.name} would get no smaller under {budget.kind} {budget.share:g}: the "
            "biases that are added outweigh what is saved; ask for a smaller one"
        )
    for stale in STALE:
        compressed.metadata_props.pop(stale, None)
    compressed.metadata_props.update(_metadata(calibration, budget, method, plan))
    save(compressed, output, model)

    opened = replace(request, model=model)  # reading it again may take long
    verification = verify(opened, output, data=held_out)
    warnings = (*warnings, *verification.warnings)
    return Compression(calibration, method, plan, output, verification, warnings)


def _split_data(
    examples: Dataset, model: Model, budget: Budget, verify_data: Data | None
) -> tuple[Dataset, Dataset | None, Dataset]:
    """Return the examples to calibrate on, to search for an agreement on, and to verify on."""
    data = examples
    if verify_data is not None:
        held_out: Dataset = as_dataset(verify_data, model.inputs)
    else:
        if examples.examples < MIN_EXAMPLES:
            raise DataError(
                f"{examples.description} has {examples.examples} examples, too few to calibrate on "
                f"some and verify on others: give {MIN_EXAMPLES} or more, or --verify-data"
            )
        data, held_out = split(examples)
    if budget.kind != "agreement":
        return data, None, held_out
    if data.examples < MIN_EXAMPLES:
        raise DataError(
            f"{data.examples} examples are too few to calibrate on some and search for an "
            f"agreement on others: give {MIN_EXAMPLES} or more"
        )
    return *split(data), held_out


def _plan(
    calibration: Calibration,
    basis: Basis,
    refit: Refit,
    budget: Budget,
    search_data: Dataset | None,
) -> tuple[Plan, ir.Model]:
    """Return the plan under a budget, refitted, and the compressed model."""
    search: AgreementSearch | None = None
    if budget.kind == "tolerance":
        plan = basis.for_tolerance(budget.share)
    elif budget.kind == "agreement":
        search = AgreementSearch(calibration, search_data or calibration.run.data)
        plan = search.smallest(basis, refit, budget.share, budget.multiple)
    else:
        plan = basis.for_budget(budget.kind, budget.share, budget.multiple)
    refitted = replace(plan, fits=refit.fit(calibration, plan))
    compressed = apply_plan(calibration, refitted)
    if search is not None and search.agreement(compressed) < budget.share:
        refitted = replace(plan, fits=refit.quick(calibration, plan))  # as the search tried it
        compressed = apply_plan(calibration, refitted)
    return refitted, compressed


def _metadata(
    calibration: Calibration, budget: Budget, method: Method, plan: Plan
) -> dict[str, str]:
    """Return the metadata that the compressed file carries."""
    from frivkit import __version__

    kept = sum(int(flags.sum()) for flags in plan.keep.values())
    units = sum(flags.size for flags in plan.keep.values())
    metadata = {
        "frivkit.compressed": __version__,
        "frivkit.source": calibration.model.sha256,
        "frivkit.calibration": calibration.run.data.digest,
        "frivkit.budget": f"{budget.kind} {budget.share:g}",
        "frivkit.method": f"{method.basis} {method.ranking} {method.refit} {method.allocation}",
        "frivkit.units": f"{kept} of {units}",
    }
    return metadata | ({"frivkit.factors": str(len(plan.factors))} if plan.factors else {})
