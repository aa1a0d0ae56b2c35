"""Mutations of HDF5 files: of data sets, attributes and links by h5py, and of bytes."""

import io
from typing import Any

import h5py
import numpy as np
from numpy.random import Generator

from frivkit.digests import split_digest, with_digest
from reliability.fuzz.byte_mutations import mutated_bytes
from reliability.fuzz.values import integer, number, one_of, text

DTYPES = ("f8", "f2", ">f4", "i1", "u8", "S5", "c8", "bool")


def mutated_hdf5(content: bytes, rng: Generator) -> bytes:
    """Return an HDF5 file with objects changed, or with bytes changed."""
    if rng.random() < 0.5:
        return mutated_bytes(content, rng)
    stream = io.BytesIO(content)
    with h5py.File(stream, "r+") as file:
        for _ in range(int(rng.integers(1, 3))):
            names: list[str] = []
            file.visit(names.append)
            if names:
                _change(file, one_of(rng, names), rng)
    return stream.getvalue()


def mutated_beneath(content: bytes, rng: Generator) -> bytes:
    """Return a file with a digest after a mutation, in half of the cases with the right digest."""
    inside, _ = split_digest(content)
    return (
        with_digest(mutated_hdf5(inside, rng)) if rng.random() < 0.5 else mutated_hdf5(content, rng)
    )


def _change(file: h5py.File, name: str, rng: Generator) -> None:
    way = rng.integers(7)
    item = file[name]
    if way == 0:
        del file[name]
    elif way == 1:
        del file[name]
        file[name] = one_of(rng, (h5py.SoftLink("/x"), h5py.ExternalLink("/etc/passwd", "x")))
    elif way == 2:
        del file[name]
        file.create_group(name)
    elif way == 3 or not isinstance(item, h5py.Dataset):
        _change_attribute(one_of(rng, (item, file)), rng)
    elif way == 4:
        _replace(file, name, _other(item[()], rng))
    elif way == 5:
        file[f"{name} {integer(rng)}"] = item[()]
    else:
        numbers = np.array(item[()])
        if numbers.size and numbers.dtype.kind == "f":
            numbers.reshape(-1)[:: int(rng.integers(1, 9))] = number(rng)
        _replace(file, name, numbers)


def _other(value: Any, rng: Generator) -> Any:
    """Return numbers of another shape or type."""
    numbers = np.array(value)
    way = rng.integers(4)
    if way == 0 and numbers.dtype.kind in "fiub":
        return numbers.astype(one_of(rng, DTYPES))
    if way == 1:
        return numbers.reshape(-1)
    if way == 2:
        return numbers[:0] if numbers.ndim else integer(rng)
    return text(rng).replace("\0", "")


def _replace(file: h5py.File, name: str, value: Any) -> None:
    attributes = dict(file[name].attrs)
    del file[name]
    file[name] = value
    file[name].attrs.update(attributes)


def _change_attribute(item: Any, rng: Generator) -> None:
    names = list(item.attrs) or ["more"]
    name = one_of(rng, names)
    words = text(rng).replace("\0", "")
    value = one_of(rng, (integer(rng) % (1 << 63), number(rng), words, [1, 2]))
    if rng.random() < 0.3 and name in item.attrs:
        del item.attrs[name]
    else:
        item.attrs[name] = value
