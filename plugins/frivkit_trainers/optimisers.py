"""The optimisers of the paper, and which parameters their weight decay is on."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from frivkit.errors import UsageError
from frivkit_trainers.settings import LabOptions


class ByTensor(torch.optim.Optimizer):
    """A rule of TensorFlow 1 that torch has otherwise: each parameter is changed by itself.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        weight_decay: Factor on the parameters that is added to their gradient.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change the parameters by one step; ``closure`` is not called."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                slope = weight.grad + group["weight_decay"] * weight
                self.change(weight, slope, self.state[weight], group["lr"])

    def change(self, weight: Tensor, slope: Tensor, state: dict[str, Tensor], lr: float) -> None:
        """Change a parameter by one step.

        Args:
            weight: The parameter; changed in place.
            slope: Its gradient, of the same shape, weight decay included.
            state: What the rule remembers of it; empty at the first step.
            lr: Learning rate.
        """
        raise NotImplementedError


class RMSProp(ByTensor):
    """RMSProp as TensorFlow 1 has it: the root is taken after the small number is added.

    The running mean of squared gradients starts at 1, so that first steps are short.

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

    def change(self, weight: Tensor, slope: Tensor, state: dict[str, Tensor], lr: float) -> None:
        """Change a parameter by one step."""
        if not state:
            state["square"] = torch.ones_like(weight)
        state["square"].mul_(0.9).addcmul_(slope, slope, value=0.1)
        weight.sub_(lr * slope / (state["square"] + 1e-10).sqrt())


class Ftrl(ByTensor):
    """FTRL-Proximal as TensorFlow 1 has it, without penalties.

    1. The running sum of squared gradients starts at 0.1, the linear term at 0 wherever the
       weights start: the first steps shrink initial weights, to almost 0 where slopes are small.
    2. A weight is a multiple of the learning rate, so one that falls shrinks all weights with it.

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

    def change(self, weight: Tensor, slope: Tensor, state: dict[str, Tensor], lr: float) -> None:
        """Change a parameter by one step."""
        if not state:
            state["squares"] = torch.full_like(weight, 0.1)
            state["linear"] = torch.zeros_like(weight)
        before = state["squares"].sqrt()
        root = state["squares"].addcmul_(slope, slope).sqrt()
        state["linear"].add_(slope - (root - before) / lr * weight)
        weight.copy_(-lr * state["linear"] / root)


def optimiser(network: nn.Module, options: LabOptions) -> torch.optim.Optimizer:
    """Return the optimiser that ``options`` ask for, over all trainable parameters.

    Weight decay adds to the gradient, with every optimiser: it is the slope of half the squared
    weights, times ``weight_decay``, in the loss.

    Raises:
        UsageError: the scope of the weight decay holds no parameter.

    Source:
        Casper et al. 2021, arXiv:1912.04783, table 1; the code published with it for
        ``adagrad``, ``proximal-adagrad`` and ``ftrl``.  Adam is D. P. Kingma and J. Ba,
        arXiv:1412.6980, with its usual settings.  Adagrad is J. Duchi et al. 2011, "Adaptive
        Subgradient Methods", with TensorFlow 1's defaults: squares are summed from 0.1 on, and
        nothing is added to their root.  Its proximal kind differs by penalties that default to 0.
    """
    decayed = _decayed(network, options.decay_scope)
    if options.weight_decay and not decayed:
        raise UsageError(
            f"option decay_scope={options.decay_scope}: the network has no such parameters; "
            "choose another scope"
        )
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    chosen = {id(weight) for weight in decayed}
    groups = [
        {
            "params": [weight for weight in trained if (id(weight) in chosen) is inside],
            "weight_decay": options.weight_decay if inside else 0.0,
        }
        for inside in (True, False)
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
