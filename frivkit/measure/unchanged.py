"""How far perturbed networks agree with the intact one, example by example."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Unchanged:
    """How far perturbed networks agree with the intact one.

    Attributes:
        shares: The share of each example that stays what it was, in [0, 1], shape (changes, n).
        undefined: Whether a network gives NaN for an example, shape (changes, n).
    """

    shares: NDArray[np.float64]
    undefined: NDArray[np.bool_]
