"""Read a file of TorchScript or ``torch.export``: converted by another process, then read as ONNX.

This process neither imports torch nor unpickles anything.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np

from frivkit.data import Array, open_data
from frivkit.errors import DataError, ModelError
from frivkit.graph.model import Model, digest
from frivkit.graph.onnx_io.input_shape import InputShape, parse_input_shapes
from frivkit.graph.onnx_io.load import detach, read
from frivkit_torchscript.child import Job, convert_apart
from frivkit_torchscript.kinds import Kind, kind_of

ROWS = 3
"""Examples to try the network on."""

LARGEST_NOISE = 1 << 28
"""Numbers of an example beyond which none is drawn."""

WHAT = {"torchscript": "a TorchScript file", "torch.export": "a torch.export file"}


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read the network at ``path``, which may run code; so only with trust.

    Args:
        path: What ``torch.jit.save`` or ``torch.export.save`` wrote.
        options: ``trust`` has to be ``"yes"``.  TorchScript needs ``input_shape``, such as
            ``"1x3x32x32,1x10:int64"``, or ``data``, a data spec whose examples are tried; programs
            say themselves what they take.  ``memory`` is a number of bytes.

    Returns:
        The model.  Its weights are those of the file, converted.

    Raises:
        ModelError: the file is something else, not trusted, does not say what it takes, takes too
            long or too much memory, or cannot be written as ONNX that computes the same.
        DataError: the data cannot be read.
    """
    kind = kind_of(path)
    if options.get("trust") != "yes":
        raise ModelError(
            f"{path} is {WHAT[kind]}, which is a program: opening it can run code and read files; "
            "add --trust if you trust where it comes from, or convert it to ONNX yourself"
        )
    sha256 = digest([path])
    examples, batch = _examples(path, kind, options)
    shape = options.get("input_shape") if kind == "torch.export" else None
    with tempfile.TemporaryDirectory(prefix="frivkit-", ignore_cleanup_errors=True) as folder:
        job = Job(path, kind, batch, int(options.get("memory", 2 << 30)))
        model = detach(read(convert_apart(job, examples, Path(folder)), shape, name=path.name))
    return replace(model, path=path, format=kind, sha256=sha256, metadata={})


def _examples(path: Path, kind: Kind, options: Mapping[str, str]) -> tuple[list[Array], int]:
    """Return examples to try for each input in turn, and the batch size where only one will do."""
    if kind == "torch.export":
        return [], 1  # such a program says what it takes
    if "input_shape" in options:
        asked = parse_input_shapes(options["input_shape"])
        batch = asked[0].sizes[0]
        return [_drawn(shape, max(batch, ROWS)) for shape in asked], batch
    if "data" not in options:
        raise ModelError(
            f"{path} does not say what it takes: give --input-shape, such as 1x3x32x32, or --data"
        )
    try:
        data = open_data(options["data"], None, examples=ROWS)
        return list(data.read(0, data.examples).inputs.values()), 1
    except DataError as error:
        raise DataError(f"{error}; or give --input-shape") from error


def _drawn(asked: InputShape, count: int) -> Array:
    """Draw normal numbers, and of whole ones 0 and 1, which any table of embeddings has."""
    shape, dtype = (count, *asked.sizes[1:]), np.dtype(asked.dtype or "float32")
    if prod(shape) > LARGEST_NOISE:
        raise ModelError(f"--input-shape {asked.text} is too large to be tried; give a smaller one")
    generator = np.random.default_rng(0)
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, 2, shape).astype(dtype)
