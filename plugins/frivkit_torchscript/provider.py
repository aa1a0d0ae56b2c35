"""The provider of TorchScript and ``torch.export``: another process converts a file to ONNX.

This process neither imports torch nor unpickles anything.
"""

import json
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
from frivkit_torchscript.child import ConversionJob, convert_in_process
from frivkit_torchscript.kinds import Kind, kind_of

ROWS = 3
"""Examples on which the network is tried."""

LARGEST_NOISE = 1 << 28
"""Most entries of an example that is drawn."""

WHAT = {"torchscript": "a TorchScript file", "torch.export": "a torch.export file"}


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read the network at ``path``, which can run code and so needs trust.

    Args:
        path: A file of ``torch.jit.save`` or ``torch.export.save``.
        options: ``trust`` must be ``"yes"``.  TorchScript needs ``input_shape``, such as
            ``"1x3x32x32,1x10:int64"``, or ``data``, a data spec whose examples are tried; programs
            of ``torch.export`` hold the shapes of their inputs.  ``memory`` is a number of bytes.
            ``inputs`` gives numbers for inputs that have no axis for examples, as JSON, and
            ``scalars`` those that the data hold, of which inputs are taken that have none.

    Returns:
        The model, with the weights of the file.

    Raises:
        ModelError: the file is of another kind, not trusted or of unknown inputs, takes too much
            time or memory, or cannot be written as ONNX that computes the same.
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
    given, scalars = (json.loads(options.get(key, "{}")) for key in ("inputs", "scalars"))
    with tempfile.TemporaryDirectory(prefix="frivkit-", ignore_cleanup_errors=True) as folder:
        memory = int(options.get("memory", 2 << 30))
        job = ConversionJob(path, kind, batch, memory, given, scalars)
        converted = convert_in_process(job, examples, Path(folder))
        model = detach(read(converted, shape, given=given, scalars=scalars, name=path.name))
    return replace(model, path=path, format=kind, sha256=sha256, metadata={})


def _examples(path: Path, kind: Kind, options: Mapping[str, str]) -> tuple[list[Array], int]:
    """Return examples of each input, and the batch size to write if the network fixes one."""
    if kind == "torch.export":
        return [], 1  # such a program holds the shapes of its inputs
    if "input_shape" in options:
        shapes = parse_input_shapes(options["input_shape"])
        if any(shape.examples for shape in shapes):
            raise ModelError(
                f"--input-shape {options['input_shape']} has examples behind other axes, and a "
                "TorchScript file takes them first: give n, or a number, in front"
            )
        batch = shapes[0].sizes[0]
        return [_random_examples(shape, max(batch, ROWS)) for shape in shapes], batch
    if "data" not in options:
        raise ModelError(
            f"{path} does not say what it takes: give --input-shape, such as 1x3x32x32, or --data"
        )
    try:
        data = open_data(options["data"], None, examples=ROWS)
        return list(data.read(0, data.examples).inputs.values()), 1
    except DataError as error:
        raise DataError(f"{error}; or give --input-shape") from error


def _random_examples(shape: InputShape, count: int) -> Array:
    """Return random numbers: normal ones, or 0 and 1 for integers, valid for any embedding."""
    sizes, dtype = (count, *shape.sizes[1:]), np.dtype(shape.dtype or "float32")
    if prod(sizes) > LARGEST_NOISE:
        raise ModelError(f"--input-shape {shape.text} is too large to be tried; give a smaller one")
    generator = np.random.default_rng(0)
    if dtype.kind == "f":
        return generator.standard_normal(sizes).astype(dtype)
    return generator.integers(0, 2, sizes).astype(dtype)
