"""Initial weights: scaled to the layer as by Glorot, He or LeCun, or of a given scale.

Each kind is uniform or normal; normal numbers beyond two scales are drawn again.
"""

from math import sqrt
from typing import Literal

import torch
from torch import Tensor, nn

Init = Literal[
    "glorot-normal", "glorot-uniform", "he-normal", "he-uniform", "lecun-normal", "lecun-uniform"
]
"""The values of the option ``init``."""

SHRINKAGE = 0.87962566103423978  # s.d. of a standard normal that is truncated at -2 and 2


def truncated_normal_(weight: Tensor, scale: float) -> None:
    """Fill ``weight`` from a normal of s.d. ``scale``, truncated at twice the scale.

    The truncation is not corrected for, so the s.d. of the weights is 0.88 x ``scale``.

    Args:
        weight: Any shape, floating point; changed in place.
        scale: At least 0; 0 gives zeros.
    """
    with torch.no_grad():
        if scale == 0:
            weight.zero_()
        else:
            nn.init.trunc_normal_(weight, std=scale, a=-2 * scale, b=2 * scale)


def fans(weight: Tensor) -> tuple[int, int]:
    """Return fan-in and fan-out: inputs and outputs of a layer times the size of its kernel.

    Args:
        weight: Shape (outputs, inputs, *kernel).

    Example:
        >>> fans(torch.empty(64, 3, 5, 5))
        (75, 1600)
    """
    outputs, inputs, *_ = weight.shape
    kernel = weight[0, 0].numel()
    return inputs * kernel, outputs * kernel


def variance(weight: Tensor, init: Init) -> float:
    """Return the variance of the initial weights of a layer.

    Args:
        weight: Shape (outputs, inputs, *kernel).
        init: The kind; normal and uniform have the same variance.

    Source:
        2 / (fan-in + fan-out): Glorot and Bengio 2010.  2 / fan-in: He et al. 2015,
        arXiv:1502.01852, equation 10.  1 / fan-in: LeCun et al. 2012, "Efficient BackProp".  All
        three as in Casper et al. 2021, appendix E.

    Example:
        >>> variance(torch.empty(30, 50), "glorot-uniform")
        0.025
    """
    into, out = fans(weight)
    kind = init.partition("-")[0]
    return {"glorot": 2 / (into + out), "he": 2 / into, "lecun": 1 / into}[kind]


def initialise_(weight: Tensor, init: Init) -> None:
    """Fill ``weight`` with random numbers of mean 0 and the variance of :func:`variance`.

    Args:
        weight: Shape (outputs, inputs, *kernel), changed in place.
        init: The kind.

    Source:
        :func:`variance`.  Where we differ: normals are truncated at two scales and then have that
        variance, as in TensorFlow.
    """
    spread = sqrt(variance(weight, init))
    if init.endswith("normal"):
        truncated_normal_(weight, spread / SHRINKAGE)
    else:
        nn.init.uniform_(weight, -sqrt(3) * spread, sqrt(3) * spread)
