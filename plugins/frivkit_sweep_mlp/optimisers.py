"""Update rules of optimisers for many networks at once, each with its own learning rate.

A rule updates one weight of shape (..., networks, k), with rates of shape (networks, 1).
"""

from math import sqrt
from typing import ClassVar, Protocol

import torch
from torch import Tensor


class UpdateRule(Protocol):
    """The update of a weight.

    Attributes:
        linear: Whether the sum of all steps is a linear combination of the gradients, so that the
            coefficients determine the weight.
    """

    linear: ClassVar[bool]

    def __init__(self, weight: Tensor) -> None: ...

    def descend(
        self, weight: Tensor, gradient: Tensor, rates: Tensor, rows: Tensor | None = None
    ) -> None:
        """Update ``weight`` by one step in place; ``gradient`` may be overwritten.

        Args:
            weight: Shape (..., networks, k).
            gradient: The same shape; with ``rows``, only the rows that are not 0.
            rates: Learning rate of each network, shape (networks, 1).
            rows: Indices of the rows of ``gradient``, shape (rows,), int64; only if ``linear``.
        """


class Sgd:
    """Plain gradient descent."""

    linear: ClassVar[bool] = True

    def __init__(self, weight: Tensor) -> None:
        del weight  # it has no state

    def descend(
        self, weight: Tensor, gradient: Tensor, rates: Tensor, rows: Tensor | None = None
    ) -> None:
        """Update the weight by one step."""
        if rows is None:
            weight.addcmul_(gradient, -rates)
        else:
            weight.index_add_(0, rows, gradient.mul_(-rates))


class Momentum:
    """Gradient descent with momentum 0.9, without Nesterov's correction."""

    linear: ClassVar[bool] = True

    def __init__(self, weight: Tensor) -> None:
        self._velocity = torch.zeros_like(weight)

    def descend(
        self, weight: Tensor, gradient: Tensor, rates: Tensor, rows: Tensor | None = None
    ) -> None:
        """Update the weight by one step."""
        self._velocity.mul_(0.9)
        if rows is None:
            self._velocity.add_(gradient)
        else:
            self._velocity.index_add_(0, rows, gradient)
        weight.addcmul_(self._velocity, -rates)


class Adam:
    """Adam with β₁ 0.9, β₂ 0.999 and ε 1e-8.

    Source:
        Kingma and Ba 2015, arXiv:1412.6980, section 2, the reordered form that TensorFlow 1 uses.
    """

    linear: ClassVar[bool] = False

    def __init__(self, weight: Tensor) -> None:
        self._mean, self._square, self._steps = (
            torch.zeros_like(weight),
            torch.zeros_like(weight),
            0,
        )

    def descend(
        self, weight: Tensor, gradient: Tensor, rates: Tensor, rows: Tensor | None = None
    ) -> None:
        """Update the weight by one step."""
        del rows
        self._steps += 1
        self._mean.lerp_(gradient, 0.1)
        self._square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        torch.sqrt(self._square, out=gradient).add_(1e-8)
        torch.div(self._mean, gradient, out=gradient)
        correction = sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        weight.addcmul_(gradient, rates * -correction)


class RmsProp:
    """RMSProp with decay 0.9, no momentum, ε 1e-10, and mean squares that start at 1.

    Source:
        ``tf.train.RMSPropOptimizer`` of TensorFlow 1, which the published code calls.
    """

    linear: ClassVar[bool] = False

    def __init__(self, weight: Tensor) -> None:
        self._square, self._root = torch.ones_like(weight), torch.empty_like(weight)

    def descend(
        self, weight: Tensor, gradient: Tensor, rates: Tensor, rows: Tensor | None = None
    ) -> None:
        """Update the weight by one step."""
        del rows
        self._square.mul_(0.9).addcmul_(gradient, gradient, value=0.1)
        torch.add(self._square, 1e-10, out=self._root).sqrt_()
        weight.addcmul_(gradient.div_(self._root), -rates)


RULES: dict[str, type[UpdateRule]] = {
    "momentum": Momentum,
    "sgd": Sgd,
    "adam": Adam,
    "rmsprop": RmsProp,
}


def rate_in(optimiser: str, rate: float, epoch: int, *, decay: float, adam: float) -> float:
    """Return the learning rate of an epoch.

    1. ``momentum`` and ``sgd``: the rate, times ``decay`` after each epoch.
    2. ``adam``: ``adam`` if that is not 0, else the rate; constant.
    3. ``rmsprop``: a tenth of the rate; constant.

    Source:
        ``train.py`` of the code published with Casper et al. 2021.

    Example:
        >>> rate_in("sgd", 1.0, 1, decay=0.95, adam=0.001)
        0.95
    """
    match optimiser:
        case "adam":
            return adam or rate
        case "rmsprop":
            return rate / 10
        case _:
            return rate * decay**epoch
