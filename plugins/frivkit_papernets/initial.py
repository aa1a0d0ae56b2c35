"""Initial weights.  All are truncated normals: a draw beyond two scales is drawn again."""

from math import sqrt

import torch
from torch import Tensor, nn

SHRINKAGE = 0.87962566103423978  # s.d. of a standard normal that is truncated at -2 and 2


def truncated_normal_(weight: Tensor, scale: float) -> None:
    """Fill ``weight`` from a normal of s.d. ``scale`` truncated at twice that.

    The truncation is not corrected for, so the s.d. of what is drawn is 0.88 x ``scale``.

    Args:
        weight: Any shape, floating point; changed in place.
        scale: At least 0; 0 gives zeros.
    """
    with torch.no_grad():
        if scale == 0:
            weight.zero_()
        else:
            nn.init.trunc_normal_(weight, std=scale, a=-2 * scale, b=2 * scale)


def he_(weight: Tensor) -> None:
    """Fill ``weight`` for a ReLU layer: s.d. sqrt(2 / fan-in), after the truncation.

    Args:
        weight: Shape (outputs, inputs, ...), changed in place.

    Source:
        He et al. 2015, arXiv:1502.01852, equation 10.  Where we differ: a truncated normal of the
        same s.d., as in TensorFlow's ``he_normal``.
    """
    fan_in = weight[0].numel()
    truncated_normal_(weight, sqrt(2 / fan_in) / SHRINKAGE)
