"""Write a model to a file: whole, checked, or not at all."""

import shutil
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.files import put_in_place, write_errors
from frivkit.graph.model import Model, external_files

LARGEST_INLINE = 1_800_000_000
"""Bytes of weights above which they go to a file of their own (protobuf ends at 2 GiB)."""


def save(model: ir.Model, path: Path, original: Model) -> Path:
    """Write a model, and give its path back.

    It is written under another name in the same folder, checked by ONNX's own checker and renamed,
    so that a file of that name is whole.  Weights go to one file beside it, named after it with
    ``.data`` behind, where those of the original were beside it or where they are too many for one
    file; that file is renamed first.

    Args:
        model: What to write.
        path: Where to; the folder must be there.  What stood there is replaced.
        original: The model that it was made from, none of whose files is written over.

    Raises:
        ModelError: the path is one of the original's files, cannot be written to, or the checker
            finds fault with the model.
    """
    data = path.with_name(f"{path.name}.data")
    beside = external_files(original.ir)
    theirs = {file.resolve() for file in (original.path, *beside)}
    for file in (path, data):
        if file.resolve() in theirs:
            raise ModelError(f"{file} belongs to the model that is read; give another name")
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the name of a file in it")
    apart = bool(beside) or _bytes(model) > LARGEST_INLINE
    with write_errors(path, ModelError):
        _write(model, path, data if apart else None, original)
    return path


def _write(model: ir.Model, path: Path, data: Path | None, original: Model) -> None:
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        whole = scratch / path.name
        ir.save(model, whole, external_data=None if data is None else data.name)
        _check(whole, original)
        if data is not None and (scratch / data.name).exists():  # small weights stay in the model
            put_in_place(scratch / data.name, data)
        put_in_place(whole, path)
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
        return " ".join(str(error).split())[:300]
    return None


def _bytes(model: ir.Model) -> int:
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
