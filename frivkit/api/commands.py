"""The functions of the Python API, each named as its command and with the command's options."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from frivkit.api.arguments import (
    Arguments,
    PathLike,
    cache_of,
    file_path,
    given_numbers,
    progress_of,
    request_of,
)
from frivkit.api.models import ModelLike, opened
from frivkit.api.results import (
    ActivationsResult,
    AnalysisResult,
    InspectionResult,
    TrainingResult,
    VerificationResult,
)
from frivkit.api.values import above_zero, options, text, texts, whole
from frivkit.data import Data
from frivkit.engines.shard import Shard
from frivkit.errors import UsageError
from frivkit.graph.model import Model
from frivkit.interrupts import interruptible
from frivkit.provenance import Clock
from frivkit.report.document import analysis_document, inspection_document
from frivkit.report.verification import verification_document

if TYPE_CHECKING:
    from frivkit.progress import Progress
    from frivkit.torch_io.load import Example


@interruptible
def load(
    model: ModelLike,
    example: "Example | None" = None,
    *,
    input_shape: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Model:
    """Return a model that can be given to every other function, which then does not read it again.

    Args:
        model: The path of a file (ONNX, TorchScript, ``.pt2``), an ``onnx.ModelProto``, or a torch
            module, script module or exported program.
        example: For a torch module: what it takes, a tensor or array, several in a tuple, or a dict
            by the names of its inputs; examples first, at least one.
        input_shape: Sizes that the file leaves open, such as ``"1x3x32x32"``.
        inputs: Numbers for inputs that have no axis for examples, such as ``{"sr": 16000}``.
        trust: Whether formats that can run code may be read.

    Raises:
        ModelError: the model cannot be read, or cannot be written as ONNX.
        UsageError: numbers are given for an input that is not there or takes others.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> load(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(1, 4))
        <frivkit model <Sequential>: 67 parameters, inputs input float32 (n, 4)>
    """
    numbers = given_numbers(inputs or {})
    made = opened(model, example, input_shape=input_shape, inputs=numbers, trust=trust)
    if isinstance(model, str | os.PathLike):  # found again from another working folder
        made = replace(made, path=made.path.absolute())
    return made


@interruptible
def inspect(
    model: ModelLike,
    *,
    data: Data | None = None,
    join: str | Iterable[str] = (),
    **arguments: Unpack[Arguments],
) -> InspectionResult:
    """Return what of a model can be analysed, what cannot, and why.

    Args:
        model: A model in any form that :func:`load` takes.
        data: Examples for a torch module, in place of ``example``.
        join: Patterns for Concats whose units are one layer.
        arguments: See :class:`frivkit.api.arguments.Arguments`.

    Raises:
        ModelError: the model cannot be read.
    """
    from frivkit.measure.pipeline import inspect_model
    from frivkit.runtime.file_check import naming_faults
    from frivkit.runtime.whole_memory import beside_weights

    clock = Clock.start()
    request = request_of("inspect", model, data, arguments, joined=texts("join", join))
    opened_model, site_map = inspect_model(request)
    with naming_faults(opened_model):
        execution = beside_weights(request.execution, opened_model)
        document = inspection_document(opened_model, site_map, clock, request.output, execution)
    return InspectionResult(document)


@interruptible
def analyze(
    model: ModelLike,
    metric: str | Iterable[str] = "prunability",
    *,
    data: Data | None = None,
    units: str | None = None,
    layer: str | Iterable[str] = (),
    join: str | Iterable[str] = (),
    shard: str | None = None,
    protocol: str = "paper",
    option: Mapping[str, object] | None = None,
    cache: PathLike | bool = False,
    **arguments: Unpack[Arguments],
) -> AnalysisResult:
    """Measure a model.

    Args:
        model: A model in any form that :func:`load` takes.
        metric: One metric or several, such as ``"redundancy"``; ``frivkit plugins`` lists them.
        data: The examples: an array, ``(x, y)``, arrays by input, a torch ``DataLoader`` or
            ``Dataset``, or a data spec such as ``"npz:digits.npz"``; None takes the data that the
            model names, else noise.
        units: The unit selector, ``"map"`` or ``"location"``; None takes the metric's own.
        layer: Patterns for layer names; empty takes all.
        join: Patterns for Concats whose units are one layer.
        shard: The part of the layers to measure, such as ``"2/4"``, for processes that share
            ``cache``; None takes all.
        protocol: ``"paper"`` or ``"reference"``.
        option: Options of metrics by name.
        cache: Where results are kept and reused: a folder, True for the usual one, or False.
        arguments: See :class:`frivkit.api.arguments.Arguments`.

    Raises:
        UsageError: a metric, selector, protocol or option is unknown.
        ModelError: the model cannot be read or run, or has nothing to measure.
        DataError: the data cannot be read or do not fit.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = np.random.default_rng(0).normal(size=(100, 4)).astype("float32")
        >>> analyze(net, "redundancy", data=x, threads=1).layers
        ['0']
    """
    from frivkit.measure import pipeline

    clock = Clock.start()
    request = request_of(
        "analyze",
        model,
        data,
        arguments,
        units=units,
        layers=texts("layer", layer),
        joined=texts("join", join),
        shard=None if shard is None else Shard.parse(text("shard", shard)),
        protocol=protocol,
    )
    metrics = texts("metric", metric)
    if not metrics:
        raise UsageError("metric is empty; give one metric or several")
    analysis = pipeline.analyze(request, metrics, options(option), cache=cache_of(cache))
    return AnalysisResult(analysis_document(analysis, clock))


@interruptible
def verify(
    original: ModelLike,
    compressed: ModelLike,
    *,
    data: Data | None = None,
    time_batches: Sequence[int] = (1, 64),
    **arguments: Unpack[Arguments],
) -> VerificationResult:
    """Compare a compressed model with its original on every example.

    Args:
        original: The original, in any form that :func:`load` takes.
        compressed: The compressed model, likewise.
        time_batches: Batch sizes at which latency is measured; empty to measure none.
        data: The examples, as in :func:`analyze`.
        arguments: See :class:`frivkit.api.arguments.Arguments`.

    Raises:
        ModelError: a model cannot be read or run, or the two cannot be compared.
        DataError: the data cannot be read or do not fit.
    """
    from frivkit import verification

    clock = Clock.start()
    request = request_of("verify", original, data, arguments)
    other = opened(
        compressed,
        arguments.get("example"),
        data=data,
        input_shape=request.input_shape,
        inputs=request.inputs,
        trust=request.trust,
    )
    made = verification.verify(request, other, time_batches=time_batches)
    return VerificationResult(verification_document(made, clock, request.execution.seed))


@interruptible
def activations(
    model: ModelLike,
    output: PathLike | None = None,
    *,
    data: Data | None = None,
    layer: str | Iterable[str] = (),
    join: str | Iterable[str] = (),
    rows: int | None = None,
    units: str | None = None,
    compress: str | None = None,
    force: bool = False,
    **arguments: Unpack[Arguments],
) -> ActivationsResult:
    """Return the activations of a model's layers.

    Args:
        model: A model in any form that :func:`load` takes.
        output: The HDF5 file to write, which may be larger than memory; None keeps the arrays in
            memory.
        data: The examples, as in :func:`analyze`.
        layer: Patterns for layer names; empty takes all.
        join: Patterns for Concats whose units are one layer.
        rows: Draw so many rows of each layer, units as columns; None takes whole tensors.
        units: How ``rows`` are read as units, ``"map"`` or ``"location"``.
        compress: ``"lzf"`` compresses the file.
        force: Replace a file that holds something else.
        arguments: See :class:`frivkit.api.arguments.Arguments`.

    Raises:
        UsageError: ``units`` is given without ``rows``, or an argument has a value that means
            nothing.
        ModelError: the model cannot be read or run.
        DataError: the data cannot be read or do not fit.
    """
    from frivkit.activation_files import write_activations

    request = request_of(
        "activations",
        model,
        data,
        arguments,
        layers=texts("layer", layer),
        joined=texts("join", join),
        units=units,
    )
    if rows is not None:
        rows = whole("rows", rows, 1)
    if compress not in (None, "lzf"):
        raise UsageError(f"compress is {compress!r}; give 'lzf' or None")
    if output is not None:
        path = file_path("output", output)
        written = write_activations(request, path, rows=rows, compress=compress, force=force)
        return ActivationsResult(path, written.layers, {})
    with tempfile.TemporaryDirectory(prefix="frivkit-") as folder:
        path = Path(folder) / "activations.h5"
        stored = ActivationsResult(path, write_activations(request, path, rows=rows).layers, {})
        arrays = {**stored, "outputs": stored.outputs, "labels": stored.labels}
        return ActivationsResult(None, {name: name for name in stored}, arrays)


@interruptible
def train(
    architecture: str,
    output: PathLike,
    *,
    data: str,
    test_data: str | None = None,
    validation_data: str | None = None,
    width: float = 1.0,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    option: Mapping[str, object] | None = None,
    trainer: str = "sgd",
    progress: "bool | Progress" = False,
) -> TrainingResult:
    """Train a network and write it as an ONNX file that names its test data.

    Args:
        architecture: An offer of ``architectures``, such as ``"cnn"``.
        output: The ONNX file to write.
        data: The spec of the data to train on.
        test_data: The spec of the data to test on, if ``data`` has no splits.
        validation_data: The spec of the data by which the best epoch is chosen; None takes the
            last epoch.
        width: Factor on the sizes of the layers.
        seed: Decides the initial weights and the order of the examples.
        threads: Threads to train with.
        device: ``"cpu"`` or ``"cuda"``: the trainer's option of that name.
        option: Options of the architecture and of the trainer by name.
        trainer: An offer of ``trainers``.
        progress: True shows a progress bar on stderr; or an object that is told of steps.

    Raises:
        UsageError: an architecture, trainer or option is unknown.
        DataError: the data cannot be read or do not fit.
        FrivkitError: training fails, or the file cannot be written.
    """
    from frivkit.experiments import train as training

    path = file_path("output", output)
    specs = {"data": data, "test_data": test_data, "validation_data": validation_data}
    for name, spec in specs.items():
        if not (isinstance(spec, str | Path) or (spec is None and name != "data")):
            raise UsageError(f"{name} is a {type(spec).__name__}; give a data spec or a path")
    trained = training.train(
        text("architecture", architecture),
        data,
        path,
        test_data=test_data,
        validation_data=validation_data,
        width=above_zero("width", width),
        seed=whole("seed", seed, 0),
        threads=whole("threads", threads, 1),
        options=options(option),
        trainer=text("trainer", trainer),
        trainer_options={} if device == "cpu" else {"device": text("device", device)},
        progress=progress_of(progress),
    )
    return TrainingResult(
        path, trained.accuracy, trained.record.losses, trained.parameters, trained.warnings
    )
