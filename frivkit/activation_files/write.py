"""Run a model over its data once and write the activations of its layers."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from numpy.typing import NDArray

from frivkit.activation_files.file import Part, checked_part, read_key
from frivkit.activation_files.layout import file_layout, key_of, layer_path
from frivkit.activation_files.part_log import NOTHING, Written, log_path, start_log
from frivkit.cache import format_size
from frivkit.data import Batch
from frivkit.digests import LINE_BYTES, append_digest, digest_state, warn_unchecked
from frivkit.errors import FrivkitError, ModelError, UsageError
from frivkit.files import largest_file, put_in_place, real_path, removed_on_failure
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.measure.pipeline import Request, open_study
from frivkit.measure.study import Study
from frivkit.runtime.labels import LabelReader
from frivkit.runtime.memory import batch_size
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.session import Session

Tensors = dict[str, NDArray[Any]]

RESERVE_BYTES = 16 << 20
"""Bytes of the disk that are left free."""
TABLE_BYTES = 64 << 10
"""Bytes that the tables of a file may take beside a twentieth of its data."""
SECONDS_AT_RISK = 1.0
"""Seconds of work that a kill may cost: finished examples are recorded this often."""


@dataclass(frozen=True, slots=True)
class ActivationFile:
    """A written activation file.

    Attributes:
        path: The file.
        layers: The paths of its layers' arrays, by layer, in the order of the network.
        examples: The number of examples.
        bytes: The size of the file.
        spec: The data, in canonical form.
        existed: Whether an earlier run had finished it.
    """

    path: Path
    layers: Mapping[str, str]
    examples: int
    bytes: int
    spec: str
    existed: bool


def write_activations(
    request: Request,
    path: Path,
    *,
    rows: int | None = None,
    compress: str | None = None,
    force: bool = False,
    info: Callable[[str], None] = lambda message: None,
) -> ActivationFile:
    """Write the activations of a model's layers to an HDF5 file.

    The file is written as ``PATH.part`` and renamed once it is complete.  After a kill, the next
    run resumes it; its arrays are the same bytes as without the kill.

    Args:
        request: The model, the data, the layers and how to run; ``units`` only with ``rows``.
        path: The file to write.
        rows: The number of rows to draw from each layer, read as units by the selector; None
            writes the whole tensors.
        compress: ``"lzf"``, or None.
        force: Replace a file of another key, finished or not.
        info: Receives warnings and the size of the file.

    Raises:
        UsageError: ``units`` is given without ``rows``.
        ModelError: the model cannot be read or run.
        DataError: the data cannot be read or does not fit.
        FrivkitError: a file of another key exists, another process writes it, or the disk is full.
    """
    if request.units is not None and rows is None:
        raise UsageError("--units says how --rows are read: give --rows N, or leave --units out")
    path = real_path(path)
    study, warnings = open_study(request)
    for warning in warnings:
        info(f"warning: {warning}")
    output = study.model.output(request.output)
    key = key_of(study, output, request.execution.placement, rows, compress)
    with _locked(path):
        existed = _is_usable(path, key, force=force)
        if not existed:
            _Job(study, request, key).write(path, info, force=force)
        elif not _part(path).exists() or read_key(_part(path)) == key:
            # A kill came between the last steps.
            _part(path).unlink(missing_ok=True)
            log_path(_part(path)).unlink(missing_ok=True)
        size = path.stat().st_size
    layers = {site.layer: layer_path(site) for site in study.sites}
    return ActivationFile(path, layers, study.examples, size, study.data.description, existed)


class _TensorRun:
    """Runs a model up to the tensors that are written."""

    def __init__(
        self, session: Session, model: Model, inputs: Sequence[str], names: Sequence[str]
    ) -> None:
        self._session, self._model, self._inputs, self._names = session, model, inputs, names

    def __call__(self, batch: Batch) -> Tensors:
        inputs = {name: batch.inputs[name] for name in self._inputs}
        arrays = run_padded(self._session, self._model, inputs, self._names)
        return dict(zip(self._names, arrays, strict=True))

    def of_batch(self, batch: Batch) -> tuple[int, NDArray[Any] | None, Tensors]:
        """Return the number of a batch's first example, its class labels and its tensors."""
        return batch.first, batch.labels, self(batch)


class _Job:
    """One pass over the data."""

    def __init__(self, study: Study, request: Request, key: Mapping[str, str | int | None]) -> None:
        self._study, self._output = study, str(key["output"])
        self._names = list(dict.fromkeys([*(site.name for site in study.sites), self._output]))
        graph = with_outputs(study.model, self._names)
        session = Session(graph.ir, request.execution.placement)
        self._label_reader = LabelReader.of_output(
            study.model.graph, self._output, request.execution.labels
        )
        # Half for the runtime, half for a layer as rows.
        memory = study.execution.memory
        self._size = batch_size(graph.ir.graph, memory // 2, study.model.batch)
        self._run = _TensorRun(session, study.model, graph.inputs, self._names)
        first = self._run(study.data.read(0, 1))
        for site in study.sites:
            if first[site.name].shape != (1, *site.shape):
                raise ModelError(
                    f"layer {site.layer} should have shape {site.shape} and runs give "
                    f"{first[site.name].shape[1:]}: leave it out with --layer"
                )
        positions = self._label_reader.labels(first[self._output]).shape[1]
        self._layout = file_layout(study, key, first, positions, memory)
        self._compress = None if key["compression"] is None else str(key["compression"])

    def write(self, path: Path, info: Callable[[str], None], *, force: bool) -> None:
        """Write the file."""
        part, new = _part(path), path.with_name(f"{path.name}.part.new")
        new.unlink(missing_ok=True)  # left by a run that was killed
        written = self._resumable(part, force=force)
        self._check_space(part, info, resumed=written is not None)
        if written is None:
            with removed_on_failure(new), removed_on_failure(log_path(part)):
                with Part(new, self._layout) as empty:
                    numbers = empty.numbers(self._layout)
                start_log(part, new, numbers)
                put_in_place(new, part)
            written = NOTHING
        if written.done:
            info(
                f"{part.name} holds {written.done:,} of {self._layout.examples:,} examples: "
                "going on"
            )
        with Part(part, None, written=written) as file:
            self._fill(file, written.done)
        if self._compress is None:
            append_digest(part)
            put_in_place(part, path)
        else:
            self._pack(part, new)
            append_digest(new)
            put_in_place(new, path)
            part.unlink()
        log_path(part).unlink(missing_ok=True)

    def _resumable(self, part: Path, *, force: bool) -> Written | None:
        """Return what an unfinished file holds, None if a new one is to be made.

        Raises:
            FrivkitError: the file is of another key or damaged, and may not be replaced.
        """
        if not _is_usable(part, self._layout.key, force=force, to_resume=True):
            return None
        if digest_state(part) != "missing":  # a kill came before the file was renamed
            os.truncate(part, part.stat().st_size - LINE_BYTES)
        written = checked_part(part, self._layout)
        if written is None and not force:
            raise FrivkitError(f"{part} is damaged: remove it, or give --force to start anew")
        return written

    def _fill(self, file: Part, done: int) -> None:
        marked = monotonic()
        batches = self._study.execution.runner.map(
            self._study.data, self._size, self._run.of_batch, "activations", first=done
        )
        for first, labels, tensors in batches:
            last = first + len(tensors[self._output])
            self._write_batch(file, first, labels, tensors)
            if monotonic() - marked >= SECONDS_AT_RISK or last == self._layout.examples:
                file.mark(last)
                marked = monotonic()

    def _write_batch(
        self, file: Part, first: int, labels: NDArray[Any] | None, tensors: Tensors
    ) -> None:
        last = first + len(tensors[self._output])
        arrays = {"outputs": tensors[self._output]}
        arrays["labels"] = self._label_reader.labels(tensors[self._output])
        if labels is not None:
            arrays["y"] = labels
        starts = dict.fromkeys(arrays, first)
        for site in self._study.sites:
            name, tensor = layer_path(site), tensors[site.name]
            sample = self._layout.samples.get(site.name)
            if sample is None:
                starts[name], arrays[name] = first, tensor
            else:
                start, stop = sample.from_examples(first, last)
                rows = self._study.units("map").rows(site, tensor)
                starts[name] = start
                arrays[name] = rows[sample.rows[start:stop] - first * sample.rows_per_example]
        shapes = {array.name: array.shape[1:] for array in self._layout.arrays}
        for name, array in arrays.items():
            if array.shape[1:] != shapes[name]:
                raise ModelError(
                    f"{name!r} has shape {array.shape[1:]} from example {first} on and "
                    f"{shapes[name]} before: its size must not depend on the example"
                )
            file.write(name, starts[name], array)

    def _pack(self, part: Path, new: Path) -> None:
        """Copy the finished part into a compressed file, chunk by chunk."""
        with (
            removed_on_failure(new),
            Part(part, None) as source,
            Part(new, self._layout, self._compress) as packed,
        ):
            for array in self._layout.arrays:
                if array.values is None:
                    step = array.chunk[0]
                    for start in range(0, array.shape[0], step):
                        rows = source.read(array.name, start, start + step)
                        packed.write(array.name, start, rows)
            packed.mark(self._layout.examples)

    def _check_space(self, part: Path, info: Callable[[str], None], *, resumed: bool) -> None:
        copies = 1 if self._compress is None else 2
        taken = _disk_bytes(part)
        need = max(0, self._layout.bytes * copies - (taken if resumed else 0))
        free = shutil.disk_usage(part.parent).free + (0 if resumed else taken)
        size = format_size(self._layout.bytes)
        more = f" and as much again while it is compressed ({self._compress})"
        info(
            f"{self._layout.examples:,} examples of {len(self._study.sites)} layers take "
            f"{size}{more if copies == 2 else ''}; {format_size(free)} are free"
        )
        most = largest_file()
        if most is not None and most < self._layout.bytes * 1.05 + TABLE_BYTES:
            raise FrivkitError(
                f"{part} would have {size}, and files may have {format_size(most)} at most "
                "(ulimit -f): raise that limit, or give fewer --examples, --layer or --rows"
            )
        if free < need + RESERVE_BYTES:
            raise FrivkitError(
                f"{part.parent} has {format_size(free)} free and {format_size(need)} are needed: "
                "free some, or give fewer --examples, --layer or --rows"
            )


def _part(path: Path) -> Path:
    """Return the path of the unfinished file."""
    return path.with_name(f"{path.name}.part")


def _is_usable(
    path: Path,
    key: Mapping[str, str | int | None],
    *,
    force: bool,
    to_resume: bool = False,
) -> bool:
    """Whether a file of this key exists and is to be used.

    Args:
        path: The file.
        key: The required key.
        force: Whether a file of another key may be replaced.
        to_resume: Whether it is an unfinished file, which is used even under ``force``.

    Raises:
        FrivkitError: a file of another key exists and may not be replaced, a finished one of this
            key is damaged, or it is no regular file.
    """
    if not path.exists():
        return False
    if not path.is_file():  # to open a pipe would wait
        raise FrivkitError(f"{path} is no regular file: remove it, or give another -o")
    existing = read_key(path)
    if existing == key:
        if to_resume:
            return True
        state = "right" if force else digest_state(path)
        if state == "wrong":
            raise FrivkitError(f"{path} is damaged: give another -o, or --force to write it again")
        if state == "missing":
            warn_unchecked(path)
        return not force
    if force:
        return False
    if existing is None:
        raise FrivkitError(
            f"{path} is no activation file that this frivkit reads: give another -o, or --force to "
            "replace it"
        )
    others = ", ".join(name for name in key if existing.get(name) != key[name]) or "fields"
    raise FrivkitError(f"{path} is of other {others}: give another -o, or --force to replace it")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same file; do nothing if the system has no locks.

    Raises:
        FrivkitError: another process is writing it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock.acquire(timeout=0))
            stack.callback(Path(lock.lock_file).unlink, missing_ok=True)
        except Timeout:
            raise FrivkitError(f"{path} is being written by another process: wait for it") from None
        except (OSError, NotImplementedError):
            pass
        yield


def _disk_bytes(path: Path) -> int:
    """Return the bytes that a file takes on the disk; parts that were never written take none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return getattr(status, "st_blocks", 0) * 512 if os.name == "posix" else status.st_size
