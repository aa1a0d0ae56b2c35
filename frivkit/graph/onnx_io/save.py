"""Write a model to a file: whole, checked, or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from frivkit.errors import FrivkitError, ModelError, one_line
from frivkit.files import (
    check_utf8,
    is_special,
    put_in_place,
    real_path,
    remove_abandoned,
    temporary_name,
    write_errors,
)
from frivkit.graph.interface import restored
from frivkit.graph.model import Model, digest, external_files
from frivkit.graph.onnx_io.finite import check_made
from frivkit.graph.onnx_io.limits import LARGEST_INLINE


@dataclass(frozen=True, slots=True)
class FileAside:
    """A finished file that does not stand in its place yet.

    Attributes:
        path: Where it is: under its final name in a hidden folder beside its place.
        place: Its place.
        files: The file, and that of its external data if there is one.
        digest: The digest of what was written, of the file with its external data; see
            :func:`frivkit.graph.model.digest`.
    """

    path: Path
    place: Path
    files: tuple[Path, ...]
    digest: str

    def put_in_place(self) -> None:
        """Rename the file, that of its external data first; an existing one is replaced.

        Raises:
            ModelError: it cannot be renamed.
        """
        with write_errors(self.place, ModelError):
            for file in reversed(self.files):
                put_in_place(file, self.place.with_name(file.name))

    def named(self, text: str) -> str:
        """Return a text with the place of the file where it names the file."""
        return text.replace(str(self.path), str(self.place))


def save(model: ir.Model, path: Path, original: Model) -> str:
    """Write a model to a file; see :func:`written_aside`.

    Returns:
        The digest of what was written.

    Raises:
        ModelError: as there.
    """
    with written_aside(model, path, original) as aside:
        aside.put_in_place()
        return aside.digest


@contextmanager
def written_aside(model: ir.Model, path: Path, original: Model) -> Iterator[FileAside]:
    """Write a model to a file that can be tried before it is put in its place.

    The file is written in a hidden folder beside its place and checked by ONNX's own checker, so
    that what stands in its place is never incomplete, and stays as it was if the block fails.
    Errors of the block name the place.  Weights go to one file beside it, with the suffix
    ``.data``, if those of the original are in files of their own or if they are too large for one
    file.  Inputs, outputs and declared shapes are those of the original's file, but for the axes
    that became shorter.

    Args:
        model: The model to write.
        path: The place of the file; its folder must exist.
        original: The model that it was made from, whose files are never overwritten.

    Raises:
        ModelError: the path is one of the original's files, cannot be written to, a weight is not
            finite, or a number that was finite in the original, or the checker rejects the model.
    """
    check_utf8(path, ModelError)
    data = path.with_name(f"{path.name}.data")
    weight_files = external_files(original.ir)
    originals = {real_path(file) for file in (original.path, *weight_files)}
    for file in (path, data):
        if real_path(file) in originals:
            raise ModelError(f"{file} belongs to the model that is read; give another name")
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the name of a file in it")
    if is_special(path):
        raise ModelError(f"{path} is no regular file; give the name of a file")
    if original.interface is not None:
        model = restored(model, original.ir, original.interface)
    check_made(model, original)
    external = bool(weight_files) or _bytes(model) > LARGEST_INLINE
    with write_errors(path, ModelError):
        remove_abandoned(path)
        scratch = temporary_name(path)
        scratch.mkdir(mode=0o700)
    try:
        with write_errors(path, ModelError):
            aside = _write(model, scratch, path, data if external else None, original)
        del model  # it need not be held while the block runs
        try:
            yield aside
        except FrivkitError as error:
            if str(error) == aside.named(str(error)):
                raise
            raise type(error)(aside.named(str(error))) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(
    model: ir.Model, scratch: Path, path: Path, data: Path | None, original: Model
) -> FileAside:
    complete = scratch / path.name
    ir.save(model, complete, external_data=None if data is None else data.name)
    _check(complete, original)
    # Small weights stay in the model; if all do, a file of no bytes is left beside it.
    files = [complete, *external_files(ir.load(complete))]
    return FileAside(complete, path, tuple(files), digest(files))


def _check(path: Path, original: Model) -> None:
    fault = _fault(path, full=True)
    if fault is not None and original.format == "onnx" and _fault(original.path, full=True):
        fault = _fault(path, full=False)  # shape inference fails on the original, too
    if fault is not None:
        raise ModelError(f"what was made of {original.path.name} is not valid: {fault}")


def _fault(path: Path, *, full: bool) -> str | None:
    try:
        onnx.checker.check_model(str(path), full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return one_line(error)
    return None


def _bytes(model: ir.Model) -> int:
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
