"""Verify a compressed model: label agreement with the original, size and latency."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.cache.size import format_size
from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model, digest, external_files
from frivkit.graph.onnx_io.load import moved
from frivkit.graph.onnx_io.passes import BRANCHES
from frivkit.graph.onnx_io.save import FileAside
from frivkit.graph.sites.site_map import SiteMap, find_sites
from frivkit.hooks.registry import installed
from frivkit.latency.timing import Latency, Verdict, interleaved
from frivkit.measure.pipeline import ONE_SIDED, Request, load_model, named_data
from frivkit.runtime.example_memory import check_example_fits
from frivkit.runtime.execution import Execution
from frivkit.runtime.file_check import compare_with_file
from frivkit.runtime.file_session import FileSession
from frivkit.runtime.memory import live_bytes
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.runtime.output_check import check_output
from frivkit.runtime.session import Device, Feeds, Session
from frivkit.runtime.whole_memory import PROGRAM, beside_weights
from frivkit.tasks.choose import choose_tasks
from frivkit.tasks.constant import constant_warning
from frivkit.tasks.doubt import guess_warning, some_outputs
from frivkit.verification.compare import Comparison, ModelRun, compare, error_context
from frivkit.verification.match import common_inputs, common_output, comparable
from frivkit.verification.speed import left_fast_path, not_faster, verdicts

BATCHES = (1, 64)
"""Batch sizes at which latency is measured, unless others are asked for."""
WIDE = 0.05
"""Width of an interval of the agreement above which there are too few examples."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The size and the speed of one of two models.

    Attributes:
        model: The model, its shapes complete.
        site_map: Its layers.
        output: The output that was compared.
        bytes: Bytes of the file and of its external data.
        latency: The latency by batch size; None if it was not measured.
    """

    model: Model
    site_map: SiteMap
    output: str
    bytes: int
    latency: Mapping[int, Latency | None]


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification, with all that a report needs.

    Attributes:
        original: The model that was compressed.
        compressed: The compressed model.
        data: The examples.
        comparison: Their outputs for the examples, compared.
        unmeasured: Why latency was not measured, by batch size.
        left_fast_path: Nodes that ONNX Runtime ran in its blocked layout in the original and not in
            the compressed model; looked for on a CPU, where the latter is not faster.
        device: Where both ran.
        warnings: What a user should know of the data and the result, a sentence each.
    """

    original: ModelFacts
    compressed: ModelFacts
    data: Dataset
    comparison: Comparison
    unmeasured: Mapping[int, str]
    device: Device
    warnings: tuple[str, ...]
    left_fast_path: tuple[str, ...] = ()

    @property
    def ratios(self) -> dict[int, tuple[float, float, float] | None]:
        """By batch size, the quartiles of the ratio of latencies, the median among them."""
        before, after = self.original.latency, self.compressed.latency
        pairs = ((size, one, after[size]) for size, one in before.items())
        return {size: b.against(a) if a and b else None for size, a, b in pairs}

    @property
    def verdicts(self) -> dict[int, Verdict | None]:
        """By batch size, whether the compressed model is faster, None if it was not measured."""
        return verdicts(self.original.latency, self.compressed.latency)

    def slowness(self) -> str | None:
        """Return why the compressed model is not shown to be faster, None if it is.

        It must be faster at each batch size at which latency was measured.
        """
        if all(found is None for found in self.verdicts.values()):
            return "the compressed model is not shown to be faster: latency was not measured"
        return not_faster(self.ratios, self.verdicts, self.left_fast_path)


def verify(
    request: Request,
    compressed: Path | Model,
    *,
    data: Dataset | None = None,
    time_batches: Sequence[int] = BATCHES,
) -> Verification:
    """Compare a compressed model with the original on every example.

    Args:
        request: The original, the data and how to run both; units, layers and protocol are not
            used.
        compressed: The compressed model, as a file or opened.
        data: Examples of the original's inputs; None opens the data that the request names.
        time_batches: Batch sizes at which latency is measured; empty to measure none.

    Raises:
        ModelError: a model cannot be read or run, the two cannot be compared, or the original
            gives NaN.
        DataError: the data cannot be read or do not fit.
        DeviceError: the device is not there.
    """
    original, smaller = load_model(request), load_model(replace(request, model=compressed))
    room = beside_weights(request.execution, original, smaller)
    request = replace(request, execution=room)
    outputs = common_output(original, smaller, request.output)
    inputs = common_inputs(original, smaller)
    warnings: tuple[str, ...] = ()
    if data is None:
        data, warnings = named_data(request, replace(original, inputs=inputs))
    placement, progress = request.execution.placement, request.execution.progress
    progress.start("opening both models", 0)
    for model in (original, smaller):
        with error_context(model):
            check_example_fits(model, request.execution.memory, data)
    differs = [
        compare_with_file(model, data, placement, output, exact=False)
        for model, output in zip((original, smaller), outputs, strict=True)
    ]
    warnings += tuple(line for line in differs if line is not None)
    warnings += _other_branches(original, smaller)
    named = request.data is not None or "frivkit.data" in original.metadata
    models = [_complete(model, request.execution, data) for model in (original, smaller)]
    models = _with_varying(models, outputs, request.execution, data)
    tasks = choose_tasks(
        models[0],
        request.execution.labels,
        outputs[0],
        values=partial(some_outputs, models[0], data, placement),
    )
    tasks, names, unproved = comparable(
        (models[0], models[1]), tasks, outputs, data=data, device=placement
    )
    before = ModelRun(models[0], {name: name for name in names}, request.execution)
    after = ModelRun(models[1], names, request.execution)
    comparison = compare(
        before, after, tasks, data, request.execution, requested=request.output is not None
    )
    comparison = replace(comparison, unproved=unproved)
    del before, after  # frees their weights before the files are timed
    execution = request.execution
    unmeasured = {
        size: reason for size in time_batches if (reason := _untimed(models, size, execution))
    }
    latencies = _latencies(models, data, request.execution, time_batches, unmeasured)
    slow = any(found not in (None, "faster") for found in verdicts(*latencies).values())
    left = left_fast_path(*models) if slow and request.execution.device == "cpu" else ()
    progress.start("counting costs", 0)
    facts = [
        ModelFacts(
            model,
            find_sites(model, None if request.output is None else output, every_output=True),
            output,
            stored_bytes(model),
            latency,
        )
        for model, output, latency in zip(models, outputs, latencies, strict=True)
    ]
    progress.finish()
    return Verification(
        original=facts[0],
        compressed=facts[1],
        data=data,
        comparison=comparison,
        unmeasured=unmeasured,
        device=request.execution.placement,
        warnings=(*warnings, *_warnings(facts[1], data, comparison, named=named)),
        left_fast_path=left,
    )


def put_in_place(aside: FileAside, *verified: Verification) -> tuple[Verification, ...]:
    """Put a file in its place that was verified, and return the verifications of it there.

    Raises:
        ModelError: another program has changed the file, or it cannot be renamed.
    """
    for each in verified:
        check_unchanged(aside.path, aside.digest, each.compressed.model.sha256)
    aside.put_in_place()
    return tuple(
        replace(
            each,
            compressed=replace(each.compressed, model=moved(each.compressed.model, aside.place)),
            warnings=tuple(map(aside.named, each.warnings)),
        )
        for each in verified
    )


def check_unchanged(path: Path, written: str, read: str) -> None:
    """Raise an error if a file is not what was written, or is no more there.

    Args:
        path: The file.
        written: The digest of what was written.
        read: The digest of what was verified.

    Raises:
        ModelError: another program has replaced the file since it was written.
    """
    try:
        now = digest([path, *external_files(ir.load(path))])
    except Exception:  # gone, or no model any more; onnx_ir raises many classes
        now = ""
    if not now == written == read:
        raise ModelError(
            f"{path} was replaced by another program meanwhile, so nothing is known of what it "
            "holds now: give each run a name of its own, or verify it"
        )


def stored_bytes(model: Model) -> int:
    """Return the bytes of a model's file and its external data; without a file, of its weights."""
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


def _other_branches(original: Model, smaller: Model) -> tuple[str, ...]:
    """Return that a file holds other branches than those that are run of the original."""
    kept, run = (model.metadata.get(BRANCHES, "") for model in (smaller, original))
    if not kept or kept == run:
        return ()
    other = f"is run with those for {run}" if run else "chooses among its branches itself"
    return (
        f"{smaller.path.name} holds only the branches for {kept}, and {original.path.name} "
        f"{other}: they compute the same for the same values only",
    )


def _complete(model: Model, execution: Execution, data: Dataset) -> Model:
    with error_context(model):
        return prepare_model(model, Opening(execution, data), keep_file=True)


def _with_varying(
    models: Sequence[Model], outputs: Sequence[str], execution: Execution, data: Dataset
) -> list[Model]:
    """Return both models, with those outputs noted whose rows vary from example to example.

    What varies in the original does so in the compressed model, even if that finds nothing at all.
    """
    original, compressed = models
    with error_context(original):
        original = check_output(original, outputs[0], execution, data)
    names = {name: common_output(original, compressed, name)[1] for name in original.varying}
    compressed = replace(compressed, varying={names[k]: v for k, v in original.varying.items()})
    if outputs[0] not in original.varying:
        with error_context(compressed):
            compressed = check_output(compressed, outputs[1], execution, data)
    return [original, compressed]


def _untimed(models: list[Model], size: int, execution: Execution) -> str | None:
    """Return why batches of a size are not timed, None if they are."""
    fixed = [model for model in models if model.batch not in (None, size)]
    if fixed:
        return f"{fixed[0].path} takes batches of {fixed[0].batch} only"
    # Each session keeps the memory of its largest batch.
    needed = size * sum(live_bytes(model.graph) for model in models)
    if needed > execution.memory and size > 1:
        return f"both models would take {format_size(needed)}, more than --memory allows"
    # Files are timed as their users run them: with all weights in memory.
    weights = PROGRAM + sum(stored_bytes(model) for model in models)
    if execution.whole is not None and weights > execution.whole:
        return f"both models would take {format_size(weights)}, more than --memory allows"
    return None


def _latencies(
    models: list[Model],
    data: Dataset,
    execution: Execution,
    sizes: Sequence[int],
    unmeasured: Mapping[int, str],
) -> list[dict[int, Latency | None]]:
    """Return the latency of each file, by batch size, with all of its outputs."""
    if all(size in unmeasured for size in sizes):  # a session has a copy of the weights
        return [dict.fromkeys(sizes) for _ in models]
    runs: list[Callable[[Feeds, Sequence[str]], list[NDArray[Any]]]] = []
    orders: list[Callable[[Feeds], Feeds]] = []
    for model in models:
        with error_context(model):
            if model.format == "onnx":
                file = FileSession(Session(model.path, execution.placement), model)
                runs.append(file.run_as_it_is)
                orders.append(file.in_file_order)
            else:
                runs.append(Session(model.ir, execution.placement).run)
                orders.append(lambda feeds: feeds)
    names = [[value.name or "" for value in model.graph.outputs] for model in models]
    latencies: list[dict[int, Latency | None]] = [dict.fromkeys(sizes) for _ in models]
    for size in sizes:
        if size in unmeasured:
            continue
        batch = _batch(data, size)
        timed = [
            partial(run, order(batch), outputs)
            for run, order, outputs in zip(runs, orders, names, strict=True)
        ]
        measured = interleaved(timed, execution.progress, f"batch {size}")
        for by_size, latency in zip(latencies, measured, strict=True):
            by_size[size] = latency
    return latencies


def _batch(data: Dataset, size: int) -> dict[str, NDArray[Any]]:
    """Return the first ``size`` examples, repeated if there are fewer."""
    batch = data.read(0, min(size, data.examples)).inputs
    return {name: np.resize(array, (size, *array.shape[1:])) for name, array in batch.items()}


def _warnings(
    compressed: ModelFacts, data: Dataset, comparison: Comparison, *, named: bool
) -> tuple[str, ...]:
    warnings, agreement, main = [], comparison.agreement, comparison.main
    if named and is_noise(data.spec):  # there is a warning already if no data were named
        warnings.append(
            f"the examples are noise ({data.description}): agreement on noise may say little about "
            "agreement on real inputs; give real ones by --data"
        )
    if main.largest_class > ONE_SIDED and main.task.name == "classify":
        warnings.append(
            f"{main.largest_class:.1%} of the original's labels fall in one class, so that a "
            "model that always says so would agree as often: give more varied data"
        )
    for each in comparison.outputs:
        if each.task.guess:
            warnings.append(guess_warning(each.task.outputs, each.task.name, each.task.reason))
        told = each is main and main.largest_class > ONE_SIDED and main.task.name == "classify"
        if not told and (each.constant > ONE_SIDED or each.constant >= each.agreement.share > 0):
            warnings.append(constant_warning(each.task, each.constant))
    for name, reason in comparison.unproved.items():
        warnings.append(f"output {name!r} is not compared: {reason}")
    low, high = agreement.interval
    if high - low > WIDE:
        warnings.append(
            f"{agreement.examples} examples leave the agreement uncertain by "
            f"{100 * (high - low):.0f} percentage points: give more examples"
        )
    undefined = sum(each.undefined for each in comparison.outputs)
    if undefined:
        warnings.append(
            f"{compressed.model.path} gives NaN for {undefined} labels, which count as disagreement"
        )
    distances = [d for each in comparison.outputs for d in (each.max_abs, each.relative_l2)]
    if any(value is not None and not np.isfinite(value) for value in distances):
        warnings.append("outputs are not all finite numbers, so not every distance is defined")
    return tuple(warnings)
