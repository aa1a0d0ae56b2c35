"""How far the outputs of torch and of ONNX Runtime are from each other."""

import numpy as np

from frivkit.data import Array

HALF = 8 * float(np.finfo(np.float16).eps)
"""What is allowed in float16, whose last digit is 1e-3 of a number, relative to the largest."""


def difference(a: Array, b: Array) -> float:
    """Return the largest absolute difference of two outputs; infinite if their shapes differ.

    Example:
        >>> difference(np.array([1.0, np.nan, np.inf]), np.array([1.5, np.nan, np.inf]))
        0.5
    """
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0))


def allowed_difference(expected: Array, share: float) -> float:
    """Return the share of the largest number of an output, of 1 at least.

    Args:
        expected: The output.
        share: The share.  In float16 it is :data:`HALF` at least.

    Example:
        >>> allowed_difference(np.array([0.5]), 1e-4), allowed_difference(np.array([-40.0]), 1e-4)
        (0.0001, 0.004)
    """
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    if expected.dtype == np.float16:
        share = max(share, HALF)
    return share * max(1.0, float(finite.max(initial=0)))
