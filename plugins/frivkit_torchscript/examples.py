"""What a network is run on when it is converted: data, or noise in the shapes asked for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from frivkit.data import Array, open_data
from frivkit.dataspec import DataSpec
from frivkit.errors import FrivkitError, ModelError
from frivkit.inputshape import parse_input_shapes

EXAMPLES = 3


def examples_for(path: Path, options: Mapping[str, str]) -> dict[str, Array] | None:
    """Give examples for each input, in order; None where nothing tells what they are.

    Args:
        path: The file, for messages.
        options: ``input_shape`` counts before ``data``.

    Raises:
        ModelError: the data do not open without a model to fit them to.
    """
    if "input_shape" in options:
        asked = parse_input_shapes(options["input_shape"])
        return {
            f"x{i}": _noise((max(each.sizes[0], EXAMPLES), *each.sizes[1:]), each.dtype, i)
            for i, each in enumerate(asked)
        }
    if "data" not in options:
        return None
    try:
        data = open_data(DataSpec.parse(options["data"]), None)
        batch = data.read(0, min(EXAMPLES, data.examples)).inputs
    except FrivkitError as error:
        raise ModelError(
            f"{path.name} does not say what it takes, and the data do not tell either ({error}); "
            "give --input-shape"
        ) from error
    return dict(batch)


def batch_of(options: Mapping[str, str]) -> int:
    """Give the batch size that was asked for, for a network that takes no other."""
    if "input_shape" not in options:
        return 1
    return parse_input_shapes(options["input_shape"])[0].sizes[0]


def _noise(shape: tuple[int, ...], dtype: str | None, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype or "float32")
    if kind.kind == "f":
        return generator.standard_normal(shape).astype(kind)
    return generator.integers(0, 2, shape).astype(kind)  # every table has two rows to look up
