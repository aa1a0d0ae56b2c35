"""Pickles of plain values and byte arrays, read without executing any code in them."""

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, Never

import numpy as np

from frivkit.data import Array

TUPLES = 1000  # a real file has a few; many nested tuples overflow Python's stack when hashed


class _Type:
    """A placeholder for ``numpy.dtype`` that stores its name only."""

    name: object = None

    def __init__(self, name: object, *_: object) -> None:
        self.name = name.decode("ascii", "replace") if isinstance(name, bytes) else name

    def __setstate__(self, _: object) -> None:
        pass


class _Stored:
    """A placeholder for ``numpy.ndarray`` that stores shape, type, order and content."""

    shape: object = None
    type: object = None
    fortran: object = None
    content: object = None

    def __setstate__(self, state: object) -> None:
        match state:
            case (_, shape, _Type() as kind, fortran, content):
                self.shape, self.type, self.fortran, self.content = shape, kind, fortran, content
            case _:
                raise pickle.UnpicklingError("an array is stored in an unknown way")


def _reconstruct(*_: object) -> _Stored:
    return _Stored()


def _from_buffer(content: object, kind: object, shape: object, order: object) -> _Stored:
    stored = _Stored()
    stored.__setstate__((1, shape, kind, order == "F", content))
    return stored


def _encoded(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes are stored in an unknown way")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _encoded,
    **{
        (f"{package}.{module}", name): reconstruct
        for package in ("numpy.core", "numpy._core")
        for module, name, reconstruct in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
    ("numpy", "ndarray"): _Stored,
    ("numpy", "dtype"): _Type,
}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is never run") from None

    def persistent_load(self, _: object) -> Never:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def load_plain(content: bytes) -> object:
    """Return the content of a pickle: plain values, and placeholders for arrays.

    No class or function that the pickle names is imported or called: the names that pickled arrays
    need are replaced by placeholders, and any other name is an error.  :func:`bytes_of` checks and
    returns the content of an array.  Text of Python 2 becomes bytes.

    Args:
        content: The whole file; the memory used is proportional to its size.

    Raises:
        ValueError: it is not a pickle, is cut short, or holds anything else.

    Example:
        >>> load_plain(pickle.dumps({b"labels": [1, 2]}))
        {b'labels': [1, 2]}
    """
    try:
        _check_operations(content)
        return _Plain(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle may raise anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(reason) from error


def bytes_of(stored: object, width: int) -> bytes:
    """Return the content of a pickled array of unsigned bytes, shape (n, ``width``), in C order.

    Raises:
        ValueError: ``stored`` is anything else; the message describes it.
    """
    if not isinstance(stored, _Stored):
        raise ValueError(f"no array of numbers but {type(stored).__name__}")
    name = stored.type.name if isinstance(stored.type, _Type) else None
    content = stored.content
    if name not in ("u1", "|u1", "uint8") or not isinstance(content, bytes | bytearray):
        raise ValueError(f"an array of {name}, not of unsigned bytes")
    if stored.shape != (len(content) // width, width) or len(content) % width or stored.fortran:
        raise ValueError(f"an array of shape {stored.shape} in {len(content)} bytes")
    return bytes(content)


def whole_numbers(stored: object) -> Array:
    """Return a pickled list of numbers 0 to 255 as an array, shape (n,), uint8.

    Raises:
        ValueError: it is anything else.
    """
    if not isinstance(stored, list) or not all(
        type(each) is int and 0 <= each < 256 for each in stored
    ):
        raise ValueError("no list of class numbers")
    return np.array(stored, np.uint8)


def _check_operations(content: bytes) -> None:
    """Raise for a pickle whose memory or stack would be out of proportion to its size."""
    tuples = 0
    for operation, argument, _ in pickletools.genops(io.BytesIO(content)):
        tuples += operation.name.startswith("TUPLE")
        # Unpickling allocates memory for every memo number up to the largest.
        memo = argument if operation.name in ("PUT", "LONG_BINPUT") else 0
        if not 0 <= (memo or 0) <= len(content):
            raise ValueError(f"memo number {argument} is out of range")
        if tuples > TUPLES:
            raise ValueError(f"it has more than {TUPLES} tuples")
