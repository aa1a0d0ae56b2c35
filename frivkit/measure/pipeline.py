"""The spine: open a model, find its sites, open its data, measure.  Reads like the README."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.cache import Cache
from frivkit.data import Data, Dataset, as_dataset, open_data
from frivkit.data.scalars import stored_scalars
from frivkit.engines.shard import Shard
from frivkit.errors import DataError, FrivkitError, ModelError, UsageError, nearest
from frivkit.graph.instrument.perturb import check_names
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site, SiteMap, find_sites
from frivkit.hooks.options import distribute, parse_options
from frivkit.hooks.registry import Registry, installed
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.scope import Scope
from frivkit.measure.study import Study
from frivkit.progress import stage
from frivkit.runtime.example_memory import check_example_fits
from frivkit.runtime.execution import Execution
from frivkit.runtime.file_check import compare_with_file, naming_faults
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.output_check import check_output, with_varying
from frivkit.runtime.shape_probe import with_some_sizes
from frivkit.runtime.whole_memory import beside_weights, check_file_fits
from frivkit.tasks.constant import constant_warning, is_label
from frivkit.tasks.doubt import guess_warning

KNOWN = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Domains of operators that ONNX Runtime brings."""
ONE_SIDED = 0.9
"""Share of labels in one class above which agreement of labels says little."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks of a model, apart from what to do with it.

    Attributes:
        model: The model file, or a model that is open already, as :func:`frivkit.load` gives.
        data: A data spec, arrays or another form that ``frivkit.data.as_dataset`` takes; None
            takes the spec in the model's metadata, else ``gaussian``.
        examples: Use at most so many examples.
        units: The unit selector; None lets each metric take its protocol's.
        layers: Patterns for layer names; empty takes all.
        joined: Patterns for the names of layers that a Concat joins, each one layer in place of its
            branches; empty takes those in the model's metadata, ``("",)`` none.
        whole: Whether these layers stand for the whole network, and are measured together, too.
        shard: One of several parts of the layers, for processes that share a cache; None takes all.
        protocol: ``"paper"`` or ``"reference"``.
        output: The output whose labels are compared; None takes the first.
        input_shape: Sizes that the file leaves open, such as ``"1x3x32x32"``.
        inputs: Numbers for inputs that have no axis for examples, by name; a list of a vector's.
        trust: Whether formats that can run code may be read.
        execution: How to run the model.
    """

    model: Path | Model
    data: Data | None = None
    examples: int | None = None
    units: str | None = None
    layers: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    whole: bool = False
    shard: Shard | None = None
    protocol: str = "paper"
    output: str | None = None
    input_shape: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    trust: bool = False
    execution: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        """Take the path of a model as text, too."""
        if isinstance(self.model, str | os.PathLike):
            object.__setattr__(self, "model", Path(self.model))


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was measured, and all that is needed to report it.

    Attributes:
        study: The study.
        measurements: What was measured.
        data_warnings: What a user should know of the data, a sentence each.
        largest_class: The share of labels in the most frequent class; 1 for a task without labels.
        accuracy: The share of the data's own labels that the network predicts, None if there are
            none.
        constant: The agreement of a network that gives the same for every input.
    """

    study: Study
    measurements: tuple[Measurement, ...]
    data_warnings: tuple[str, ...]
    largest_class: float
    accuracy: float | None
    constant: float


def load_model(request: Request, registry: Registry | None = None) -> Model:
    """Read a model with the provider for its file type; one that is open is taken as it is.

    Raises:
        ModelError: no provider reads such files, the file cannot be read, or it has names that
            frivkit keeps for itself.
    """
    registry = registry or installed()
    model = request.model
    if not isinstance(model, Model):
        model = _read_file(model, request, registry)
    _check_given(request, model)
    check_names(model)
    rules = [registry.load("operator_rules", each) for each in registry.offers("operator_rules")]
    return replace(model, operators={op: rule for table in rules for op, rule in table.items()})


def _read_file(path: Path, request: Request, registry: Registry) -> Model:
    check_file_fits(request.execution, path)
    suffix = path.suffix.lower().removeprefix(".")
    offers = registry.offers("model_providers")
    name = suffix if suffix in offers else "onnx"
    scalars = stored_scalars(request.data, registry)
    given = {
        "input_shape": request.input_shape,
        "inputs": json.dumps(dict(request.inputs)) if request.inputs else None,
        "scalars": json.dumps(dict(scalars)) if scalars else None,
        "data": request.data if isinstance(request.data, str) else None,
        "memory": str(request.execution.memory),
        "trust": "yes" if request.trust else None,
    }
    options = {key: value for key, value in given.items() if value}
    with stage(request.execution.progress, f"reading {path.name}"):
        model: Model = registry.load("model_providers", name)(path, options)
    return _naming_scalars(model, request)


def _naming_scalars(model: Model, request: Request) -> Model:
    """Say which numbers of the data inputs without examples got."""
    given = {} if model.interface is None else model.interface.given
    taken = [f"{name}={given[name].item()}" for name in given if name not in request.inputs]
    if not taken:
        return model
    return replace(model, notes=(*model.notes, f"{', '.join(taken)} is taken from the data"))


def _check_given(request: Request, model: Model) -> None:
    """Raise an error if numbers are given for inputs that the model did not get."""
    given = {} if model.interface is None else model.interface.given
    missing = next((name for name in request.inputs if name not in given), None)
    if missing is not None:
        raise UsageError(
            f"--input gives {missing!r}, but {model.path.name} was opened without it: numbers for "
            "inputs are taken when a file is read"
        )


def inspect_model(request: Request, *, every_output: bool = True) -> tuple[Model, SiteMap]:
    """Read a model and find its layers, without data unless shapes need a run.

    Args:
        request: The model, and how it is read.
        every_output: Whether layers are among them that lead to any output, if the request names
            none; else those that lead to the first.

    Raises:
        ModelError: the model cannot be read, or what is asked to be joined cannot be.
    """
    model = load_model(request)
    execution = beside_weights(request.execution, model)
    with naming_faults(model), stage(execution.progress, "finding layers"):
        model = prepare_model(model, Opening(execution))
        model = with_some_sizes(model, execution.placement, memory=execution.memory)
        model = with_varying(model)
        return model, _find_sites(request, model, every_output=every_output)


def open_study(request: Request, *, cache: Cache | None = None) -> tuple[Study, tuple[str, ...]]:
    """Open model and data and find the sites.

    Returns:
        The study, and warnings about its data.

    Raises:
        ModelError: the model has no sites, no layer matches the patterns, or what is asked to be
            joined cannot be.
        DataError: the data cannot be read or does not fit.
    """
    model = load_model(request)
    request = replace(request, execution=beside_weights(request.execution, model))
    data, warnings = named_data(request, model)
    _check_operators(model)
    model.output(request.output)  # refuses one that is not there before anything is run
    check_example_fits(model, request.execution.memory, data)
    request.execution.progress.start("finding layers", 0)
    differs = compare_with_file(model, data, request.execution.placement, request.output)
    with naming_faults(model), stage(request.execution.progress, "finding layers"):
        model = prepare_model(model, Opening(request.execution, data, request.output))
        model = check_output(model, model.output(request.output), request.execution, data)
        site_map = _find_sites(request, model)
    if model.batch is not None:
        warnings += (
            f"{model.path.name} insists on {model.batch} examples a run, and more at once were not "
            "seen to give the same: runs take their time",
        )
    warnings += tuple(f"{model.path.name}: {change}" for change in (*model.changes, *model.notes))
    warnings += () if differs is None else (differs,)
    scope = Scope(
        output=request.output,
        sites=_of_shard(_chosen(site_map, request.layers, model), request, model),
        units=request.units,
        protocol=request.protocol,
        whole=request.whole,
    )
    study = Study(model, data, request.execution, site_map=site_map, scope=scope, cache=cache)
    return study, warnings


def _find_sites(request: Request, model: Model, *, every_output: bool = False) -> SiteMap:
    """Find the sites, with those joined that a user names, else those that the model names."""
    named = request.joined or tuple(model.metadata.get("frivkit.joined", "").split(","))
    patterns = tuple(pattern for pattern in named if pattern)
    try:
        return find_sites(model, request.output, patterns, every_output=every_output)
    except ModelError as error:
        if request.joined or not patterns:
            raise
        reason = f"{error} ({model.path.name} names this to be joined; give --join)"
        raise ModelError(reason) from error


def _check_operators(model: Model) -> None:
    """Refuse operators that ONNX Runtime does not bring, by name."""
    foreign = [f"{node.domain}.{node.op_type}" for node in model.graph if node.domain not in KNOWN]
    if foreign:
        raise ModelError(
            f"{model.path.name} uses {', '.join(dict.fromkeys(foreign))}, which ONNX Runtime does "
            "not have, so it cannot be run; 'frivkit inspect' shows what lies around it"
        )


def analyze(
    request: Request,
    metrics: Sequence[str] = ("prunability",),
    options: Mapping[str, str] | None = None,
    *,
    cache: Cache | None = None,
    done: Callable[[Measurement], None] = lambda measurement: None,
) -> Analysis:
    """Measure a model.

    Args:
        request: The model, the data and how to look at them.
        metrics: Names of metrics; one that comes twice is measured once.
        options: ``--option`` values by key, shared out among the metrics that have them.
        cache: Where results are kept; None keeps nothing.
        done: Called with each measurement as soon as it is there.

    Raises:
        UsageError: a metric, selector, protocol or option is unknown.
        ModelError: the model cannot be read or run, or has nothing to measure.
        DataError: the data cannot be read or does not fit.
    """
    registry = installed()
    chosen: list[Metric[Any]] = [registry.load("metrics", name) for name in dict.fromkeys(metrics)]
    if request.units is not None:
        registry.load("unit_selectors", request.units)
    given = distribute(options or {}, *(metric.options for metric in chosen))
    settings = [
        parse_options(metric.options, part) for metric, part in zip(chosen, given, strict=True)
    ]
    study, warnings = open_study(request, cache=cache)
    if study.task.guess:
        warnings += (guess_warning(study.task.outputs, study.task.name, study.task.reason),)
    largest, constant = _largest_class(study), study.constant_agreement()
    if largest > ONE_SIDED and study.task.name == "classify":
        warnings += (
            f"{largest:.1%} of the labels fall in one class: give more varied data, "
            "for most labels have nowhere to go; if the output holds numbers, give --regression",
        )
    elif constant > ONE_SIDED:
        warnings += (constant_warning(study.task, constant),)
    found = []
    for metric, setting in zip(chosen, settings, strict=True):
        for measurement in metric.measure(study, setting):
            found.append(measurement)
            done(measurement)
    return Analysis(study, tuple(found), warnings, largest, _accuracy(study), constant)


def named_data(request: Request, model: Model) -> tuple[Dataset, tuple[str, ...]]:
    """Open the data that a user names, else those that the model names, else noise.

    Returns:
        The data, and warnings about them.

    Raises:
        DataError: the data cannot be read or do not fit the model.
    """
    own = model.metadata.get("frivkit.data")
    if request.data is not None:
        data = as_dataset(request.data, model.inputs, examples=request.examples)
        return data, data.warnings
    if own is not None:
        try:
            data = open_data(own, model.inputs, examples=request.examples)
        except FrivkitError as error:
            raise DataError(f"{error} ({model.path.name} names this data; give --data)") from error
        return data, data.warnings
    data = open_data(
        f"gaussian?seed={request.execution.seed}", model.inputs, examples=request.examples
    )
    warning = (
        "no data was named, so gaussian noise stands in for it: labels of noise may say little "
        "about labels of real inputs; give --data"
    )
    return data, (warning, *data.warnings)


def _chosen(found: SiteMap, patterns: Sequence[str], model: Model) -> tuple[Site, ...]:
    if not found.sites:
        reasons = "; ".join(f"{skip.node}: {skip.reason}" for skip in found.skipped[:5])
        raise ModelError(
            f"{model.path.name} has no layer whose units can be measured "
            f"({reasons or 'no weights'}); see 'frivkit inspect'"
        )
    names = [site.layer for site in found.sites]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ModelError(
                f"no layer matches {pattern!r};{nearest(pattern, names)} the layers are "
                f"{', '.join(names)}"
            )
    return tuple(
        site
        for site in found.sites
        if not patterns or any(fnmatchcase(site.layer, pattern) for pattern in patterns)
    )


def _of_shard(sites: tuple[Site, ...], request: Request, model: Model) -> tuple[Site, ...]:
    """Return the sites of the shard that is asked for.

    Raises:
        UsageError: it has none.
    """
    if request.shard is None:
        return sites
    if not (mine := request.shard.of(sites)):
        raise UsageError(
            f"shard {request.shard} of {model.path.name} has no layer: there are {len(sites)} "
            f"layers, so give at most {len(sites)} shards"
        )
    return mine


def _largest_class(study: Study) -> float:
    """Return the share of the labels in the most frequent class; 1 for a task without labels."""
    predictions = study.predictions()
    if not is_label(predictions):
        return 1.0
    _, counts = np.unique(predictions, return_counts=True)
    return float(counts.max() / predictions.size)


def _accuracy(study: Study) -> float | None:
    """Return the share of the data's own labels that the intact network meets."""
    if study.task.name != "classify" or not study.data.has_labels:
        return None
    labels = study.labels()
    if labels.shape[1] != 1:
        return None
    met = 0
    for batch in study.data.batches(4096):
        if batch.labels is not None:
            last = batch.first + len(batch.labels)
            met += int((labels[batch.first : last, 0] == batch.labels).sum())
    return met / study.examples


__all__ = [
    "Analysis",
    "Request",
    "analyze",
    "inspect_model",
    "load_model",
    "named_data",
    "open_study",
]
