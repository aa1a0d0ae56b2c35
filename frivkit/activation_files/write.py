"""Run a model over its data once and write what its layers give, example by example."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from numpy.typing import NDArray

from frivkit.activation_files.file import Part, is_sound, read_key, sync
from frivkit.activation_files.plan import key_of, layer_path, plan_of
from frivkit.cache import format_size
from frivkit.data import Batch
from frivkit.errors import FrivkitError, ModelError, UsageError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.measure.pipeline import Request, open_study
from frivkit.measure.study import Study
from frivkit.runtime.labels import LabelReader
from frivkit.runtime.memory import batch_size
from frivkit.runtime.perturbed_model import run_padded
from frivkit.runtime.session import Session

RESERVE_BYTES = 16 << 20
"""What is left free on the disk, for others."""
SECONDS_AT_RISK = 1.0
"""Work that a kill may cost; finished examples are marked about so often."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        path: The file.
        layers: The paths of its layers' arrays, by layer, in the order of the network.
        examples: The number of examples behind it.
        bytes: The size of the file.
        spec: The data, in canonical form.
        there: Whether it was there already, finished by an earlier run.
    """

    path: Path
    layers: Mapping[str, str]
    examples: int
    bytes: int
    spec: str
    there: bool


def write_activations(
    request: Request,
    path: Path,
    *,
    rows: int | None = None,
    compress: str | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda message: None,
) -> Written:
    """Write the activations of a model's layers to an HDF5 file.

    The work goes to ``PATH.part`` and is renamed when all of it is there.  A run that was killed
    goes on where it was, and the arrays are the same bytes as if it had never been.

    Args:
        request: The model, the data, the layers and how to run; ``units`` only with ``rows``.
        path: The file to write.
        rows: Draw so many rows of each layer, read as units by the selector; None writes the
            whole tensors.
        compress: ``"lzf"``, or None.
        force: Replace a file, finished or not, that holds something else.
        say: Told of warnings and of the size of what is coming.

    Raises:
        UsageError: ``units`` is given without ``rows``.
        ModelError: the model cannot be read or run.
        DataError: the data cannot be read or does not fit.
        FrivkitError: something else is in the way, or the disk is too full.
    """
    if request.units is not None and rows is None:
        raise UsageError("--units says how --rows are read: give --rows N, or leave --units out")
    path = path.resolve()
    study, warnings = open_study(request)
    for warning in warnings:
        say(f"warning: {warning}")
    key = key_of(
        study, study.model.output(request.output), request.execution.placement, rows, compress
    )
    with _alone(path):
        there = _stands(path, key, force=force)
        if not there:
            _Job(study, request, key).write(path, say, force=force)
        elif read_key(_part(path)) == key:  # a kill came between the last two steps
            _part(path).unlink()
        size = path.stat().st_size
    layers = {site.layer: layer_path(site) for site in study.sites}
    return Written(path, layers, study.examples, size, study.data.description, there)


class _Job:
    """One pass over the data."""

    def __init__(self, study: Study, request: Request, key: Mapping[str, str | int | None]) -> None:
        self._study, self._output = study, str(key["output"])
        self._names = list(dict.fromkeys([*(site.name for site in study.sites), self._output]))
        self._graph = with_outputs(study.model, self._names)
        self._session = Session(self._graph.ir, request.execution.placement)
        self._label_reader = LabelReader.of_output(
            study.model.graph, self._output, request.execution.labels
        )
        # Half for what the runtime holds, half for a layer laid out as rows.
        self._size = batch_size(
            self._graph.ir.graph, request.execution.memory // 2, study.model.batch
        )
        first = self._run(study.data.read(0, 1))
        for site in study.sites:
            if first[site.name].shape != (1, *site.shape):
                raise ModelError(
                    f"layer {site.layer} should have shape {site.shape} and runs give "
                    f"{first[site.name].shape[1:]}: leave it out with --layer"
                )
        positions = self._label_reader.labels(first[self._output]).shape[1]
        self._plan = plan_of(study, key, first, positions, request.execution.memory)
        self._compress = None if key["compression"] is None else str(key["compression"])

    def write(self, path: Path, say: Callable[[str], None], *, force: bool) -> None:
        """Write the file."""
        part, new = _part(path), path.with_name(f"{path.name}.part.new")
        new.unlink(missing_ok=True)  # an earlier run was killed while it made it
        resumed = _stands(part, self._plan.key, force=force, to_resume=True)
        if resumed and not is_sound(part, self._plan):
            if not force:
                raise FrivkitError(f"{part} is damaged: remove it, or give --force to start anew")
            resumed = False
        self._check_room(part, say, resumed=resumed)
        if not resumed:
            with _removed_on_failure(new):
                Part(new, self._plan).close()
                sync(new)
                new.replace(part)
        with Part(part, None) as file:
            before = file.done
            if before:
                say(f"{part.name} holds {before:,} of {self._plan.examples:,} examples: going on")
            self._fill(file, before)
        if self._compress is None:
            part.replace(path)
        else:
            self._pack(part, new)
            new.replace(path)
            part.unlink()
        with contextlib.suppress(OSError):  # some systems cannot sync a folder
            sync(path.parent)

    def _fill(self, file: Part, done: int) -> None:
        marked = monotonic()
        batches = self._study.execution.runner.map(
            self._study.data, self._size, self._arrays_of, "activations", first=done
        )
        for batch, tensors in batches:
            last = batch.first + len(tensors[self._output])
            self._write_batch(file, batch, tensors)
            if monotonic() - marked >= SECONDS_AT_RISK or last == self._plan.examples:
                file.mark(last)
                marked = monotonic()

    def _arrays_of(self, batch: Batch) -> tuple[Batch, dict[str, NDArray[Any]]]:
        return batch, self._run(batch)

    def _write_batch(self, file: Part, batch: Batch, found: dict[str, NDArray[Any]]) -> None:
        first = batch.first
        last = first + len(found[self._output])
        ready = {"outputs": found[self._output]}
        ready["labels"] = self._label_reader.labels(found[self._output])
        if batch.labels is not None:
            ready["y"] = batch.labels
        starts = dict.fromkeys(ready, first)
        for site in self._study.sites:
            name, array = layer_path(site), found[site.name]
            sample = self._plan.samples.get(site.name)
            if sample is None:
                starts[name], ready[name] = first, array
            else:
                start, stop = sample.within(first, last)
                laid_out = self._study.units("map").rows(site, array)
                starts[name] = start
                ready[name] = laid_out[sample.rows[start:stop] - first * sample.each]
        shapes = {array.name: array.shape[1:] for array in self._plan.arrays}
        for name, array in ready.items():
            if array.shape[1:] != shapes[name]:
                raise ModelError(
                    f"{name!r} has shape {array.shape[1:]} from example {first} on and "
                    f"{shapes[name]} before: its size must not depend on the example"
                )
            file.write(name, starts[name], array)

    def _run(self, batch: Batch) -> dict[str, NDArray[Any]]:
        feeds = {name: batch.inputs[name] for name in self._graph.inputs}
        arrays = run_padded(self._session, self._study.model, feeds, self._names)
        return dict(zip(self._names, arrays, strict=True))

    def _pack(self, part: Path, new: Path) -> None:
        """Copy the finished part into a compressed file, chunk by chunk."""
        with _removed_on_failure(new):
            with Part(part, None) as source, Part(new, self._plan, self._compress) as packed:
                for array in self._plan.arrays:
                    if array.values is None:
                        step = array.chunk[0]
                        for start in range(0, array.shape[0], step):
                            rows = source.read(array.name, start, start + step)
                            packed.write(array.name, start, rows)
                packed.mark(self._plan.examples)
            sync(new)

    def _check_room(self, part: Path, say: Callable[[str], None], *, resumed: bool) -> None:
        copies = 1 if self._compress is None else 2
        there = _taken(part)
        need = max(0, self._plan.bytes * copies - (there if resumed else 0))
        free = shutil.disk_usage(part.parent).free + (0 if resumed else there)
        size = format_size(self._plan.bytes)
        more = f" and as much again while it is compressed ({self._compress})"
        say(
            f"{self._plan.examples:,} examples of {len(self._study.sites)} layers take "
            f"{size}{more if copies == 2 else ''}; {format_size(free)} are free"
        )
        if free < need + RESERVE_BYTES:
            raise FrivkitError(
                f"{part.parent} has {format_size(free)} free and {format_size(need)} are needed: "
                "free some, or give fewer --examples, --layer or --rows"
            )


def _part(path: Path) -> Path:
    """Name the unfinished file of a file."""
    return path.with_name(f"{path.name}.part")


def _stands(
    path: Path,
    key: Mapping[str, str | int | None],
    *,
    force: bool,
    to_resume: bool = False,
) -> bool:
    """Whether a file of this key is there.

    Args:
        path: The file.
        key: What it is to depend on.
        force: Whether another file may go.
        to_resume: Whether it is a part, which ``force`` does not start anew.

    Raises:
        FrivkitError: another file is there, and may not go.
    """
    if not path.exists():
        return False
    found = read_key(path)
    if found == key:
        return to_resume or not force
    if force:
        return False
    if found is None:
        raise FrivkitError(
            f"{path} is no activation file that this frivkit reads: give another -o, or --force to "
            "replace it"
        )
    others = ", ".join(name for name in key if found.get(name) != key[name]) or "fields"
    raise FrivkitError(f"{path} is of other {others}: give another -o, or --force to replace it")


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same file; where there are no locks, do nothing."""
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


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _taken(path: Path) -> int:
    """Return the bytes that a file takes on the disk; what was never written takes none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0
    return getattr(found, "st_blocks", 0) * 512 if os.name == "posix" else found.st_size
