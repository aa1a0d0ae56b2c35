"""Tasks in files: what is large crosses to a worker by reference, as a file and its digest.

A task is a function with all that it refers to.  It is pickled with one exception: arrays and the
weights of models, from 64 KiB on, go to files of their own, which are named by their digests, and
the pickle holds these names.  Arrays that are mapped from a file stay there.  A worker maps the
files, so that the workers of one machine share the memory.
"""

import hashlib
import io
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import cloudpickle
import numpy as np
from numpy.typing import NDArray

from frivkit.errors import FrivkitError
from frivkit.files import replace_file
from frivkit.mapped_pages import mapping_of, page_bound, place_of, watch

if TYPE_CHECKING:  # it takes a second to import, and many tasks refer to no model
    import onnx_ir as ir

LEAST = 1 << 16
"""Bytes from which an array has a file of its own; 64 KiB."""
BYTE = 8
"""Bits of a number below which several share a byte of a file."""


def write_task(task: Callable[[Any], Any], folder: Path) -> tuple[Path, str]:
    """Write a task, and return its file and the digest of that.

    Args:
        task: A function, or another object that can be called; it may refer to others.
        folder: Where the file goes, and those of arrays, unless they are there already.

    Raises:
        FrivkitError: the task refers to something that another process cannot have, or its file
            cannot be written.
    """
    stream = io.BytesIO()
    try:
        _TaskPickler(stream, folder).dump(task)
    except (TypeError, pickle.PicklingError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise FrivkitError(
            f"a task cannot be sent to another process ({reason}); give --engine local"
        ) from error
    content = stream.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{digest}.task"
    _write_once(path, content)
    return path, digest


def read_task(path: Path, digest: str) -> Callable[[Any], Any]:
    """Return the task of a file that :func:`write_task` wrote.

    Raises:
        FrivkitError: the file, or one that it refers to, cannot be read, or is another one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unread(path, error.strerror or str(error)) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise _unread(path, "its content is not what was written")
    task: Callable[[Any], Any] = pickle.loads(content)  # noqa: S301  # of the digest we were told
    return task


class _TaskPickler(cloudpickle.Pickler):  # type: ignore[misc]  # which has no types
    """Pickles functions by value, and large arrays and models by reference."""

    def __init__(self, stream: io.BytesIO, folder: Path) -> None:
        super().__init__(stream)
        self._folder = folder

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is made again, NotImplemented for the usual way."""
        if isinstance(obj, np.memmap) and obj.nbytes >= LEAST and (place := place_of(obj)):
            return _mapped, _part(*place, obj.dtype, obj.shape)
        if type(obj) in (np.ndarray, np.memmap) and obj.nbytes >= LEAST and not obj.dtype.hasobject:
            return _stored, (self._folder, _store(obj, self._folder), obj.dtype, obj.shape)
        if "onnx_ir" in sys.modules and isinstance(obj, sys.modules["onnx_ir"].Model):
            return self._model(obj)
        return super().reducer_override(obj)

    def _model(self, model: "ir.Model") -> Any:
        """Return how a model is made again: from its graph, and its large weights by reference."""
        import onnx_ir as ir

        from frivkit.graph.model import external_tensor

        weights: dict[tuple[int, str], Any] = {}
        small = model.clone()
        for number, graph in enumerate(small.graphs()):
            for name, value in graph.initializers.items():
                tensor = value.const_value
                if tensor is None or tensor.nbytes < LEAST or tensor.dtype == ir.DataType.STRING:
                    continue
                array = tensor.numpy()
                external = external_tensor(tensor)
                file = None if external is None else Path(external.path)
                if external and file and file.is_file() and tensor.dtype.bitwidth >= BYTE:
                    place = _part(file, external.offset or 0, array.dtype, array.shape)
                    weights[number, name] = _mapped, place
                else:
                    stored = self._folder, _store(array, self._folder), array.dtype, array.shape
                    weights[number, name] = _stored, stored
                # What stands in its place is small, and of its type and shape in name only.
                value.const_value = ir.Tensor(
                    np.zeros(0, array.dtype), dtype=tensor.dtype, shape=ir.Shape([0]), name=name
                )
        return _model, (ir.to_proto(small).SerializeToString(), weights, page_bound.bytes)


def _part(path: Path, offset: int, dtype: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return what :func:`_mapped` takes for a part of a file as it is now."""
    stat = path.stat()
    return path.absolute(), (stat.st_size, stat.st_mtime_ns), dtype, offset, shape


def _mapped(
    path: Path, changed: tuple[int, int], dtype: Any, offset: int, shape: tuple[int, ...]
) -> Any:
    """Map the part of a file that is an array."""
    try:
        stat = path.stat()
    except OSError as error:
        raise _unread(path, error.strerror or str(error)) from error
    if (stat.st_size, stat.st_mtime_ns) != changed:
        raise _unread(path, "it was changed since the work began")
    array = np.memmap(path, dtype, "r", offset, shape)
    watch(mapping_of(array))
    return array


def _stored(folder: Path, digest: str, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map an array that was stored; it cannot be written to."""
    path = folder / f"{digest}.array"
    key = (str(path), np.dtype(dtype).str, shape)
    if (known := _MAPPED.get(key)) is not None:
        return known
    try:
        raw = np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise _unread(path, error.strerror or str(error)) from error
    if hashlib.sha256(raw.data).hexdigest() != digest:
        raise _unread(path, "its content is not what was written")
    watch(mapping_of(raw))
    # No memmap: what comes from no file of the user's is run as in the process that sent it.
    array: NDArray[Any] = np.asarray(raw).view(dtype).reshape(shape)
    _MAPPED[key] = array
    return array


_MAPPED: WeakValueDictionary[tuple[str, str, tuple[int, ...]], NDArray[Any]] = WeakValueDictionary()
"""The arrays that this process has mapped and still uses."""


def _model(proto: bytes, weights: dict[tuple[int, str], Any], bound: int | None) -> "ir.Model":
    """Return a model with its weights, whose pages go where the process has more than its share."""
    import onnx
    import onnx_ir as ir

    if bound is not None:
        page_bound.set(bound)
    model: ir.Model = ir.from_proto(onnx.ModelProto.FromString(proto))
    for number, graph in enumerate(model.graphs()):
        for name, value in graph.initializers.items():
            if (number, name) in weights and value.const_value is not None:
                read, arguments = weights[number, name]
                array = read(*arguments)
                value.const_value = ir.Tensor(array, dtype=value.const_value.dtype, name=name)
                value.shape = ir.Shape(array.shape)
    return model


def _store(array: NDArray[Any], folder: Path) -> str:
    """Write an array as bytes, row by row, unless it is there, and return their digest."""
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    digest = hashlib.sha256(raw.data).hexdigest()
    _write_once(folder / f"{digest}.array", raw.data)
    return digest


def _write_once(path: Path, content: Any) -> None:
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, content)
    except OSError as error:
        raise FrivkitError(
            f"{path.parent}, through which workers get their tasks, cannot be written to: "
            f"{error.strerror or error}; make room there, or give --engine local"
        ) from error


def _unread(path: Path, reason: str) -> FrivkitError:
    return FrivkitError(
        f"a worker cannot read {path} ({reason}): workers on other machines need a folder that all "
        "of them see under one path; see docs/how-to/cluster.md"
    )
