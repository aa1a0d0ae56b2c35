"""Resize, axis by axis: each entry of the output is a weighted sum of a few neighbours."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Interpolation:
    """How entries of an output are computed, in the words of ONNX.

    Attributes:
        mode: ``"nearest"``, ``"linear"`` or ``"cubic"``.
        coordinates: ``coordinate_transformation_mode``.
        nearest: ``nearest_mode``.
        cubic: ``cubic_coeff_a``.
        exclude_outside: Whether neighbours outside of the input count as absent; else the outermost
            entry is repeated.
    """

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool


COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)
"""The transformations of coordinates that are known here."""


def resized(
    x: Tensor, scales: Mapping[int, float], sizes: Mapping[int, int], how: Interpolation
) -> Tensor:
    """Return a tensor in other sizes.

    Args:
        x: The tensor.
        scales: Output size over input size by axis; it gives the sizes of axes without one.
        sizes: Output sizes by axis.
        how: The interpolation.
    """
    for axis in {**scales, **sizes}:
        width = x.shape[axis]
        size = sizes[axis] if axis in sizes else floor(np.float32(width) * np.float32(scales[axis]))
        scale = scales.get(axis, size / width)
        if size == width and scale == 1:
            continue
        places, weights = neighbours(width, size, scale, how)
        shape = [-1 if other == axis else 1 for other in range(x.dim())]
        parts = []
        for place, weight in zip(places.T, weights.T, strict=True):
            part = x.index_select(axis, torch.from_numpy(place.copy()).to(x.device))
            if how.mode != "nearest":
                part = part * torch.from_numpy(weight.copy()).to(x).reshape(shape)
            parts.append(part)
        x = torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
    return x


def neighbours(
    width: int, size: int, scale: float, how: Interpolation
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which entries of an axis each entry of the output is made of, and their weights.

    Args:
        width: The size of the axis.
        size: Its size in the output.
        scale: The ratio of both, which ``size`` may be rounded from.
        how: The interpolation.

    Returns:
        Indices and weights, shape (size, neighbours).

    Example:
        >>> how = Interpolation("linear", "half_pixel", "floor", -0.75, False)
        >>> neighbours(2, 4, 2.0, how)[0].tolist()
        [[0, 0], [0, 1], [0, 1], [1, 1]]
    """
    at = _coordinates(width, size, scale, how.coordinates)
    if how.mode == "nearest":
        rounded = {
            "round_prefer_floor": np.ceil(at - 0.5),
            "round_prefer_ceil": np.floor(at + 0.5),
            "floor": np.floor(at),
            "ceil": np.ceil(at),
        }[how.nearest]
        return np.clip(rounded, 0, width - 1).astype(np.int64)[:, None], np.ones((size, 1))
    first = np.floor(at).astype(np.int64)
    part = (at - first).astype(np.float64)
    if how.mode == "linear":
        offsets, weights = [0, 1], np.stack([1 - part, part], 1)
    else:
        offsets, weights = [-1, 0, 1, 2], _cubic(part, how.cubic)
    places = first[:, None] + np.array(offsets)
    if how.exclude_outside:
        weights = np.where((places < 0) | (places >= width), 0, weights)
        weights = weights / weights.sum(1, keepdims=True)
    return np.clip(places, 0, width - 1), weights


def _coordinates(width: int, size: int, scale: float, mode: str) -> NDArray[np.float32]:
    """Return the place in the input of each entry of the output, in float32 as ONNX Runtime."""
    at, half, ratio = np.arange(size, dtype=np.float32), np.float32(0.5), np.float32(scale)
    if mode == "asymmetric":
        return at / ratio
    if mode == "align_corners":
        return at * np.float32(width - 1) / (width * ratio - 1) if width * ratio != 1 else 0 * at
    if mode == "pytorch_half_pixel" and size == 1:
        return 0 * at
    centred = (at + half) / ratio - half
    if mode == "half_pixel_symmetric":
        centred += np.float32(width / 2) * (1 - size / (width * ratio))
    return centred


def _cubic(part: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Return the weights of four neighbours: the cubic convolution of Keys.

    Source:
        R. G. Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Transactions
        on Acoustics, Speech, and Signal Processing 29, 1981, equation 4 with the parameter a.
    """
    near = np.stack([part, 1 - part])
    far = near + 1
    inner = (a + 2) * near**3 - (a + 3) * near**2 + 1
    outer = a * far**3 - 5 * a * far**2 + 8 * a * far - 4 * a
    return np.stack([outer[0], inner[0], inner[1], outer[1]], 1)
