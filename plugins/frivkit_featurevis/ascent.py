"""Gradient ascent on images: each excites one unit of one layer.

Source: Olah et al., "Feature Visualization", Distill 2017, with the settings of Lucid
(``lucid/optvis/render.py``, Apache-2.0): Adam at a rate of 0.05.  The number of steps, 256, is that
of the paper (appendix E).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from frivkit_featurevis.transforms import RandomViews

RATE = 0.05
STEPS = 256

Activations = Callable[[Tensor], Tensor]
"""Maps images (n, channels, h, w) to the activations of a layer, (n, units, ...)."""


@dataclass(frozen=True, slots=True)
class Ascent:
    """How images are found.

    Attributes:
        steps: Number of steps, at least 1.
        position: ``"mean"`` maximises the mean over all positions of a unit, ``"centre"`` the
            position in the middle.
        views: The random views of the images; None shows the images as they are.
    """

    steps: int
    position: str
    views: RandomViews | None


@dataclass(frozen=True, slots=True)
class Found:
    """Images that were found.

    Attributes:
        images: As the model takes them, shape (n, channels, h, w).
        before: The activation of each unit for the image at the start, without random views.
        after: The same for the image at the end.
    """

    images: Tensor
    before: tuple[float, ...]
    after: tuple[float, ...]


def ascend(
    parameterised: torch.nn.Module,
    activations: Activations,
    units: Sequence[int],
    how: Ascent,
    generator: torch.Generator,
    *,
    grey: Tensor,
    stepped: Callable[[], None] = lambda: None,
) -> Found:
    """Find images that excite units.

    Args:
        parameterised: Called without arguments, it returns the images (n, channels, h, w); its
            parameters are changed.
        activations: The layer.
        units: The unit of each image, n of them.
        how: The settings.
        generator: Where the views are drawn; all images see the same view in a step.
        grey: The value around an image in a view, by channel.
        stepped: Called after each step.
    """
    chosen = torch.as_tensor(list(units))
    optimiser = torch.optim.Adam(parameterised.parameters(), lr=RATE)
    with torch.no_grad():
        before = unit_activations(activations(parameterised()), chosen, how.position)
    for _ in range(how.steps):
        optimiser.zero_grad(set_to_none=True)
        images = parameterised()
        if how.views is not None:
            images = how.views(images, grey, generator)
        with RedirectedRelu():
            reached = activations(images)
        loss = -unit_activations(reached, chosen, how.position).sum()
        torch.autograd.backward(loss)
        optimiser.step()
        stepped()
    with torch.no_grad():
        images = parameterised()
        after = unit_activations(activations(images), chosen, how.position)
    return Found(images, tuple(before.tolist()), tuple(after.tolist()))


def unit_activations(activations: Tensor, units: Tensor, position: str) -> Tensor:
    """Return one number for each image: the activation of its unit.

    Args:
        activations: Shape (n, units, ...); the axes after the second are positions.
        units: The unit of each image, shape (n,).
        position: ``"mean"`` or ``"centre"``.

    Example:
        >>> maps = torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> unit_activations(maps, torch.tensor([0]), "centre").item()
        4.0
    """
    own = activations[torch.arange(len(units)), units]
    if position == "centre":
        for axis in range(own.ndim - 1, 0, -1):
            own = own.select(axis, own.shape[axis] // 2)
        return own
    return own.flatten(1).mean(dim=1) if own.ndim > 1 else own


class _RedirectedRelu(torch.autograd.Function):
    """A ReLU that passes gradients at negative inputs if none would pass at all for an image."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return functional.relu(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        gradient = gradients[0]
        usual = gradient * (values > 0)
        # A gradient above 0 would lower a value that is below 0 already.
        redirected = gradient * ~((values < 0) & (gradient > 0))
        stopped = usual.flatten(1).norm(dim=1) == 0
        return torch.where(stopped.reshape(-1, *[1] * (values.ndim - 1)), redirected, usual)


class RedirectedRelu(TorchFunctionMode):
    """A context in which ReLUs pass gradients for images that would get none.

    Source: ``redirected_relu_grad`` of Lucid (``lucid/misc/redirected_relu_grad.py``, Apache-2.0).
    A unit that is silent for the first image has no gradient otherwise.  Lucid redirects in the
    first 16 steps; here it is done in all, since some units take longer to wake.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (functional.relu, torch.relu, Tensor.relu) and args and args[0].ndim > 1:
            return _RedirectedRelu.apply(args[0])  # type: ignore[no-untyped-call]  # torch's own
        return func(*args, **(kwargs or {}))
