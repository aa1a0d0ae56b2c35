"""Write a model to a file: whole, checked, or not at all."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from frivkit.errors import ModelError, one_line
from frivkit.files import check_utf8, put_in_place, remove_abandoned, temporary_name, write_errors
from frivkit.graph.interface import restored
from frivkit.graph.model import Model, digest, external_files
from frivkit.graph.onnx_io.limits import LARGEST_INLINE


def save(model: ir.Model, path: Path, original: Model) -> str:
    """Write a model to a file.

    The file is written under another name in the same folder, checked by ONNX's own checker and
    then renamed, so that it is never incomplete.  Weights go to one file beside it, with the suffix
    ``.data``, if those of the original are in files of their own or if they are too large for one
    file; that file is renamed first.  Inputs, outputs and declared shapes are those of the
    original's file, but for the axes that became shorter.

    Args:
        model: The model to write.
        path: The file; its folder must exist.  An existing file is replaced.
        original: The model that it was made from, whose files are never overwritten.

    Returns:
        The digest of what was written, of the file with its external data; see
        :func:`frivkit.graph.model.digest`.  Whoever reads the file can tell by it whether another
        program has replaced it.

    Raises:
        ModelError: the path is one of the original's files, cannot be written to, a weight is not
            finite that is in the original, or the checker rejects the model.
    """
    check_utf8(path, ModelError)
    data = path.with_name(f"{path.name}.data")
    weight_files = external_files(original.ir)
    originals = {file.resolve() for file in (original.path, *weight_files)}
    for file in (path, data):
        if file.resolve() in originals:
            raise ModelError(f"{file} belongs to the model that is read; give another name")
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the name of a file in it")
    if original.interface is not None:
        model = restored(model, original.ir, original.interface)
    _check_finite(model, original)
    external = bool(weight_files) or _bytes(model) > LARGEST_INLINE
    with write_errors(path, ModelError):
        return _write(model, path, data if external else None, original)


def _check_finite(model: ir.Model, original: Model) -> None:
    """Raise an error if numbers of the model are not finite, unless the original's are not."""
    before = {value.name: value.const_value for value in original.graph.initializers.values()}
    for value in model.graph.initializers.values():
        tensor, old = value.const_value, before.get(value.name)
        if tensor is None or tensor is old or not tensor.dtype.is_floating_point():
            continue
        if not _all_finite(tensor) and (old is None or _all_finite(old)):
            raise ModelError(
                f"what was made of {original.path.name} has numbers in {value.name!r} that are not "
                "finite, so it is not written: remove fewer units, or give --refit none"
            )


def _all_finite(tensor: ir.TensorProtocol) -> bool:
    array = tensor.numpy()
    return bool(np.isfinite(array if array.dtype.kind == "f" else array.astype(np.float32)).all())


def _write(model: ir.Model, path: Path, data: Path | None, original: Model) -> str:
    remove_abandoned(path)
    scratch = temporary_name(path)
    scratch.mkdir(mode=0o700)
    try:
        complete = scratch / path.name
        ir.save(model, complete, external_data=None if data is None else data.name)
        _check(complete, original)
        # Small weights stay in the model; if all do, a file of no bytes is left beside it.
        files = [complete, *external_files(ir.load(complete))]
        written = digest(files)
        for file in reversed(files):
            put_in_place(file, path.with_name(file.name))
        return written
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


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
