"""The optimisers of the paper, and the scope of their weight decay."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from frivkit.errors import UsageError
from frivkit_trainers.settings import LabOptions


class TensorOptimizer(torch.optim.Optimizer):
    """Base of the optimisers that TensorFlow 1 defines differently; updates parameters one by one.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        weight_decay: Factor on the parameters that is added to their gradient.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the parameters by one step; ``closure`` is not called."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad + group["weight_decay"] * weight
                self.update(weight, gradient, self.state[weight], group["lr"])

    def update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: float) -> None:
        """Update a parameter by one step.

        Args:
            weight: The parameter; changed in place.
            gradient: Its gradient, of the same shape, including weight decay.
            state: The state of the optimiser for this parameter; empty at the first step.
            lr: Learning rate.
        """
        raise NotImplementedError


class RMSProp(TensorOptimizer):
    """RMSProp as in TensorFlow 1: epsilon is added before the square root.

    The running mean of squared gradients starts at 1, so that the first steps are small.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        weight_decay: Factor on the parameters that is added to their gradient.

    Source:
        ``tf.train.RMSPropOptimizer`` with its defaults: decay 0.9, no momentum, epsilon 1e-10.

    Example:
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> weight.grad = torch.tensor([0.5])
        >>> RMSProp([weight], lr=0.1).step()
        >>> round(weight.item(), 4)  # 1 - 0.1 x 0.5 / sqrt(0.9 + 0.1 x 0.25)
        0.948
    """

    def update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: float) -> None:
        """Update a parameter by one step."""
        if not state:
            state["square"] = torch.ones_like(weight)
        state["square"].mul_(0.9).addcmul_(gradient, gradient, value=0.1)
        weight.sub_(lr * gradient / (state["square"] + 1e-10).sqrt())


class Ftrl(TensorOptimizer):
    """FTRL-Proximal as in TensorFlow 1, without penalties.

    1. The running sum of squared gradients starts at 0.1, the linear term at 0 for any initial
       weights: the first steps shrink them, to almost 0 if gradients are small.
    2. A weight is proportional to the learning rate, so a falling rate shrinks all weights.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        weight_decay: Factor on the parameters that is added to their gradient.

    Source:
        H. B. McMahan et al. 2013, "Ad Click Prediction: a View from the Trenches", algorithm 1 with
        beta and both lambdas 0; ``tf.train.FtrlOptimizer`` with its defaults.

    Example:
        >>> weight = nn.Parameter(torch.tensor([1.0]))
        >>> weight.grad = torch.tensor([0.5])
        >>> Ftrl([weight], lr=0.1).step()
        >>> round(weight.item(), 4)  # 1 - (sqrt(0.1) + 0.1 x 0.5) / sqrt(0.1 + 0.5 x 0.5)
        0.381
    """

    def update(self, weight: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: float) -> None:
        """Update a parameter by one step."""
        if not state:
            state["squares"] = torch.full_like(weight, 0.1)
            state["linear"] = torch.zeros_like(weight)
        before = state["squares"].sqrt()
        root = state["squares"].addcmul_(gradient, gradient).sqrt()
        state["linear"].add_(gradient - (root - before) / lr * weight)
        weight.copy_(-lr * state["linear"] / root)


def optimiser(network: nn.Module, options: LabOptions) -> torch.optim.Optimizer:
    """Return the optimiser of ``options`` for all trainable parameters.

    With every optimiser, weight decay is added to the gradient: it is the gradient of half the sum
    of squared weights, times ``weight_decay``.

    Raises:
        UsageError: the scope of the weight decay contains no parameter.

    Source:
        Casper et al. 2021, arXiv:1912.04783, table 1; the code published with it for
        ``adagrad``, ``proximal-adagrad`` and ``ftrl``.  Adam is D. P. Kingma and J. Ba,
        arXiv:1412.6980, with its usual settings.  Adagrad is J. Duchi et al. 2011, "Adaptive
        Subgradient Methods", with TensorFlow 1's defaults: the sum of squares starts at 0.1, and
        epsilon is 0.  Proximal Adagrad differs by penalties that are 0 by default.
    """
    decayed = _decayed(network, options.decay_scope)
    if options.weight_decay and not decayed:
        raise UsageError(
            f"option decay_scope={options.decay_scope}: the network has no such parameters; "
            "choose another scope"
        )
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    in_scope = {id(weight) for weight in decayed}
    groups = [
        {
            "params": [weight for weight in trained if (id(weight) in in_scope) is decay],
            "weight_decay": options.weight_decay if decay else 0.0,
        }
        for decay in (True, False)
    ]
    match options.optimiser:
        case "adam":
            return torch.optim.Adam(groups, options.lr)
        case "rmsprop":
            return RMSProp(groups, options.lr)
        case "adagrad" | "proximal-adagrad":
            return torch.optim.Adagrad(groups, options.lr, initial_accumulator_value=0.1, eps=0)
        case "ftrl":
            return Ftrl(groups, options.lr)
        case "momentum":
            return torch.optim.SGD(groups, options.lr, options.momentum)
        case _:
            return torch.optim.SGD(groups, options.lr)


def _decayed(network: nn.Module, scope: str) -> list[Tensor]:
    if scope == "dense":
        dense = [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)]
        return list(dense[:-1])  # as in the code published with the paper
    least = 2 if scope == "weights" else 0  # biases and batch norm have one axis
    return [w for w in network.parameters() if w.requires_grad and w.dim() >= least]
