"""Inputs for a model of which nothing is known but their shapes."""

from collections.abc import Sequence
from math import prod

import numpy as np

from frivkit.data import Array
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.runtime.shape_probe import LARGEST_NOISE
from frivkit.torch_io.from_onnx.comparison import expected_outputs

EXAMPLES = 2
"""Examples on which a model is compared."""

RANGES = (256, 16, 2)
"""Whole numbers lie below the first of these with which the model can be run."""


def noise_and_outputs(
    model: Model, tensors: Sequence[str], seed: int = 0
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return noise that a model can be run on, and tensors that ONNX Runtime computes from it.

    Real numbers are normal, whole ones uniform from 0.

    Args:
        model: The model.
        tensors: The names of the tensors.
        seed: The seed of the noise.

    Raises:
        ModelError: the file leaves a size open, or cannot be run on noise.
    """
    whole = any(np.dtype(spec.dtype).kind in "iu" for spec in model.inputs)
    for below in RANGES if whole else RANGES[-1:]:
        feeds = _noise(model, below, seed)
        try:
            return feeds, expected_outputs(model, tensors, feeds)
        except ModelError as error:
            reason = error
    raise ModelError(
        f"{model.path.name} cannot be tried on noise, so give data: {reason}"
    ) from reason


def _noise(model: Model, below: int, seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    drawn: dict[str, Array] = {}
    for spec in model.inputs:
        sizes = [size for size in spec.shape if size is not None]
        if len(sizes) < len(spec.shape):
            raise ModelError(
                f"{model.path.name} leaves sizes of its input {spec.name!r} open, so that it "
                "cannot be tried: give input_shape, or data"
            )
        shape, kind = (model.batch or EXAMPLES, *sizes), np.dtype(spec.dtype)
        if prod(shape) > LARGEST_NOISE:
            raise ModelError(
                f"{model.path.name} has an input {spec.name!r} of {prod(sizes):,} numbers, too "
                "many to try it on noise: give data"
            )
        if kind.kind == "f":
            array: Array = generator.standard_normal(shape)
        else:
            array = generator.integers(2 if kind.kind == "b" else below, size=shape)
        drawn[spec.name] = array.astype(kind)
    return drawn
