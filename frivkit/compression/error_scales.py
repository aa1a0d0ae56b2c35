"""What an error in an output is worth: a share of the variance of what reads it.

In a residual network an error matters relative to the stream.  Often a few units of a stream hold
most of its variance, and the norm that reads the stream takes that away: an error is then worth
what it is behind the norm.  There a unit i of the stream x, and y behind the norm, has the gain
sd(y_i) / sd(x_i), so that the share of the variance is

    sum_i E[e_i^2] var(y_i) / var(x_i)  /  sum_i var(y_i).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from frivkit.compression.linear_consumers import LinearConsumer
from frivkit.compression.patch_moments import UnitSpread
from frivkit.units.moments import Float64Array

SMALLEST = 1e-6
"""Share of the mean variance of the units of a stream below which a unit's variance counts so."""


def unit_scales(stream: UnitSpread | None, normed: UnitSpread | None) -> Float64Array | None:
    """Return what an error of each unit of a stream is multiplied by, shape (units,).

    Args:
        stream: Where the units of the stream lie.
        normed: Where those of the norm's output lie, None if no norm reads the stream.

    Returns:
        Numbers whose products with errors have a sum of squares that is a share of a variance; None
        if the stream is not known, or never changes.

    Example:
        Behind the norm the second unit is as large as the first:

        >>> stream = UnitSpread(np.zeros(2), np.array([1.0, 100.0]))
        >>> unit_scales(stream, UnitSpread(np.zeros(2), np.array([1.0, 1.0]))).round(3).tolist()
        [0.707, 0.071]
        >>> unit_scales(stream, None).round(3).tolist()
        [0.1, 0.1]
    """
    if stream is None or stream.variance <= 0:
        return None
    if normed is None or normed.variance <= 0 or len(normed.variances) != len(stream.variances):
        return np.full(len(stream.variances), stream.variance**-0.5)
    least = SMALLEST * float(stream.variances.mean())
    gains = np.sqrt(normed.variances / np.maximum(stream.variances, least))
    scales: Float64Array = gains / normed.variance**0.5
    return scales


def with_error_scale(
    linear_consumer: LinearConsumer, spreads: Mapping[str, UnitSpread]
) -> LinearConsumer:
    """Return a consumer that knows what errors in its outputs are worth.

    Args:
        linear_consumer: The consumer.
        spreads: Where the units of error tensors lie, and those behind norms, by name.
    """
    outputs = len(linear_consumer.output_scale)
    scales = unit_scales(
        spreads.get(linear_consumer.error_tensor), spreads.get(linear_consumer.norm or "")
    )
    if scales is None or outputs % len(scales):
        return replace(linear_consumer, error_scale=np.zeros(outputs))
    repeated = np.repeat(scales, outputs // len(scales))
    return replace(linear_consumer, error_scale=np.abs(linear_consumer.output_scale) * repeated)
