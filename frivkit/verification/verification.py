"""Verify a compressed model: does it say the same, and what does it save."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Dataset
from frivkit.graph.model import Model, external_files
from frivkit.graph.sites.site_map import SiteMap, find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import ONE_SIDED, Request, load_model, named_data
from frivkit.runtime.execution import Execution
from frivkit.runtime.file_check import compare_with_file
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.session import Device, Session
from frivkit.verification.compare import Comparison, ModelRun, compare, error_context
from frivkit.verification.latency import Latency, interleaved
from frivkit.verification.match import common_inputs, common_output

BATCHES = (1, 64)
"""Batch sizes at which latency is measured."""
WIDE = 0.05
"""Width of an interval beyond which there are few examples."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One of the two models.

    Attributes:
        model: The model, its shapes complete.
        site_map: Its layers.
        output: The output that was compared.
        bytes: Size of the file and of the external data that it points to.
        latency: What a run takes by batch size; None where it was not measured.
    """

    model: Model
    site_map: SiteMap
    output: str
    bytes: int
    latency: Mapping[int, Latency | None]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found, and all that is needed to report it.

    Attributes:
        original: The model that was compressed.
        compressed: What came of it.
        data: The examples.
        comparison: What both say of them.
        unmeasured: Why latency was not measured, by batch size.
        device: Where both ran.
        warnings: What a reader must know.
    """

    original: ModelFacts
    compressed: ModelFacts
    data: Dataset
    comparison: Comparison
    unmeasured: Mapping[int, str]
    device: Device
    warnings: tuple[str, ...]


def verify(
    request: Request,
    compressed: Path | Model,
    *,
    data: Dataset | None = None,
) -> Verification:
    """Compare a compressed model with the original on every example.

    Args:
        request: The original, the data and how to run both; units, layers and protocol play no
            part.
        compressed: The compressed model, a file or open.
        data: Examples that lie ready, fitted to the original's inputs; None opens those that the
            request names.

    Raises:
        ModelError: a model cannot be read or run, the two cannot be compared, or the original
            gives NaN.
        DataError: the data cannot be read or do not fit.
        DeviceError: the device is not there.
    """
    original, other = load_model(request), load_model(replace(request, model=compressed))
    outputs = common_output(original, other, request.output)
    shared = common_inputs(original, other)
    warnings: tuple[str, ...] = ()
    if data is None:
        data, warnings = named_data(request, replace(original, inputs=shared))
    placement = request.execution.placement
    differs = [
        compare_with_file(model, data, placement, output)
        for model, output in zip((original, other), outputs, strict=True)
    ]
    warnings += tuple(line for line in differs if line is not None)
    named = request.data is not None or "frivkit.data" in original.metadata
    models = [_complete(model, request.execution, data) for model in (original, other)]
    before, after = (
        ModelRun(model, output, request.execution)
        for model, output in zip(models, outputs, strict=True)
    )
    comparison = compare(before, after, data, request.execution.runner)
    del before, after  # their weights need not be held beside those of the files
    unmeasured = {size: reason for size in BATCHES if (reason := _fixed(models, size))}
    latencies = _latencies(models, data, request.execution, unmeasured)
    facts = [
        ModelFacts(model, find_sites(model, output), output, stored_bytes(model), latency)
        for model, output, latency in zip(models, outputs, latencies, strict=True)
    ]
    return Verification(
        original=facts[0],
        compressed=facts[1],
        data=data,
        comparison=comparison,
        unmeasured=unmeasured,
        device=request.execution.placement,
        warnings=(*warnings, *_warnings(facts[1], data, comparison, named=named)),
    )


def stored_bytes(model: Model) -> int:
    """Return the bytes of a model's file and of the external data that it points to.

    A model that came from no file has the bytes of its weights.
    """
    if not model.path.is_file():
        weights = (value.const_value for value in model.graph.initializers.values())
        return sum(weight.nbytes for weight in weights if weight is not None)
    files = [model.path, *(external_files(model.ir) if model.format == "onnx" else ())]
    return sum(path.stat().st_size for path in files)


def is_noise(description: str) -> bool:
    """Whether data are random numbers, by the spec with which their description begins.

    Example:
        >>> is_noise("gaussian?n=9"), is_noise("gaussian (one in 4)"), is_noise("npz:gaussian")
        (True, True, False)
    """
    first, second, *_ = (*re.split("[:? ]", description, maxsplit=2), "")
    plugins = {plugin.name for plugin in installed().plugins}
    return first == "gaussian" or (first in plugins and second == "gaussian")


def _complete(model: Model, execution: Execution, data: Dataset) -> Model:
    with error_context(model):
        return prepare_model(model, Opening(execution, data), keep_file=True)


def _fixed(models: list[Model], size: int) -> str | None:
    insisting = [model for model in models if model.batch not in (None, size)]
    return f"{insisting[0].path} takes batches of {insisting[0].batch} only" if insisting else None


def _latencies(
    models: list[Model],
    data: Dataset,
    execution: Execution,
    unmeasured: Mapping[int, str],
) -> list[dict[int, Latency | None]]:
    """Time the files as they are, all outputs, in sessions of their own."""
    sessions = []
    for model in models:
        with error_context(model):
            file = model.path if model.format == "onnx" else model.ir
            sessions.append(Session(file, execution.placement))
    names = [[value.name or "" for value in model.graph.outputs] for model in models]
    found: list[dict[int, Latency | None]] = [dict.fromkeys(BATCHES) for _ in models]
    for size in BATCHES:
        if size in unmeasured:
            continue
        feeds = _feeds(data, size)
        runs = [
            partial(session.run, feeds, wanted)
            for session, wanted in zip(sessions, names, strict=True)
        ]
        times = interleaved(runs, execution.progress, f"batch {size}")
        for each, latency in zip(found, times, strict=True):
            each[size] = latency
    return found


def _feeds(data: Dataset, size: int) -> dict[str, NDArray[Any]]:
    """Return the first examples, over again where there are fewer."""
    batch = data.read(0, min(size, data.examples)).inputs
    return {name: np.resize(array, (size, *array.shape[1:])) for name, array in batch.items()}


def _warnings(
    compressed: ModelFacts, data: Dataset, comparison: Comparison, *, named: bool
) -> tuple[str, ...]:
    found, agreement = [], comparison.agreement
    if named and is_noise(data.spec):  # noise that stands in for data was warned about
        found.append(
            f"the examples are noise ({data.description}): agreement on noise may say little about "
            "agreement on real inputs; give real ones by --data"
        )
    if comparison.largest_class > ONE_SIDED:
        found.append(
            f"{comparison.largest_class:.1%} of the original's labels fall in one class, so that a "
            "model that always says so would agree as often: give more varied data"
        )
    low, high = agreement.interval
    if high - low > WIDE:
        found.append(
            f"{agreement.examples} examples leave the agreement uncertain by "
            f"{100 * (high - low):.0f} percentage points: give more examples"
        )
    if comparison.undefined:
        found.append(
            f"{compressed.model.path} gives NaN for {comparison.undefined} labels, which count as "
            "disagreement"
        )
    distances = (comparison.max_abs, comparison.relative_l2)
    if any(value is not None and not np.isfinite(value) for value in distances):
        found.append("outputs are not all finite numbers, so not every distance is defined")
    return tuple(found)
