"""Gradients of a module beside finite differences, along a random direction."""

import copy
from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

STEPS = {torch.float64: (1e-7, 1e-8, 1e-9), torch.float32: (1e-1, 1e-2, 1e-3)}
"""Steps of the central difference.  The best one counts: a larger one crosses the kinks of ReLUs,
and a smaller one drowns in rounding errors."""


def gradient_error(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[float, torch.dtype]:
    """Return how far the derivative along a random direction is from the central difference.

    The direction is one of all parameters and real inputs, the function a random sum of the real
    outputs.  The module is taken in float64 if it can be run so.

    Returns:
        The distance over the norm of the gradient or the value of the function, whichever is
        larger, and the number type.
    """
    for kind in (torch.float64, torch.float32):
        twin = copy.deepcopy(module).to(kind)
        given = [x.to(kind, copy=True) if x.is_floating_point() else x for x in inputs]
        try:
            outputs(twin, given)
        except RuntimeError:
            if kind is torch.float32:
                raise
            continue
        return _error(twin, given, kind), kind
    raise AssertionError


def outputs(module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    found = module(*inputs)
    return list(found if isinstance(found, tuple) else (found,))


def _error(module: nn.Module, inputs: Sequence[Tensor], kind: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(0)

    def drawn(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=kind)

    leaves = [*module.parameters()]
    leaves += [x.requires_grad_() for x in inputs if x.is_floating_point()]
    weights: list[Tensor] = []

    def value() -> Tensor:
        parts = [part for part in outputs(module, inputs) if part.is_floating_point()]
        weights.extend(drawn(part) for part in parts[len(weights) :])
        return sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))

    found = value()
    if not found.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(found, leaves, allow_unused=True)
    pairs = [(leaf, drawn(leaf), g) for leaf, g in zip(leaves, gradients, strict=True)]
    slope = sum((g * d).sum().item() for _, d, g in pairs if g is not None)
    norm = sqrt(sum((g * g).sum().item() for _, _, g in pairs if g is not None))
    apart = []
    for step in STEPS[kind]:
        ends = []
        with torch.no_grad():
            for times in (1, -2, 1):
                for leaf, direction, _ in pairs:
                    leaf.add_(direction, alpha=times * step)
                ends.append(value().item())
        apart.append(abs((ends[0] - ends[1]) / (2 * step) - slope))
    return min(apart) / max(norm, abs(found.item()))
