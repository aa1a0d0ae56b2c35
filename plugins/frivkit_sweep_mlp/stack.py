"""Stacks of networks with the same data and width and other learning rates and initial weights.

A network is inputs → ReLU units → 2 outputs.  A stack is cheap to train for three reasons:

1. The inputs are shared, so the first layers of all networks are one matrix product.
2. The two outputs have opposite gradients, so all update rules here change them by opposite steps:
   only their difference, the margin, is stored, and changed by twice the step.
3. If there are more inputs than training examples and the rule is linear, the change of the first
   layer stays in the span of the training inputs.  Then the coefficients are stored instead of the
   weights, and inner products of inputs, which all networks share, replace the inputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frivkit.experiments.train import scaled
from frivkit_sweep_mlp.data import PARTS, Data, truncated
from frivkit_sweep_mlp.optimisers import RULES, UpdateRule
from frivkit_sweep_mlp.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Net:
    """The settings in which the networks of one stack differ.

    Attributes:
        rate: The learning rate of the recipe.
        factor: Factor on the scales of the initial weights.
    """

    rate: float
    factor: float


@dataclass(frozen=True, slots=True)
class Stack:
    """Networks that are trained together.

    Attributes:
        inputs: Inputs of one example.
        examples: The number of training examples.
        optimiser: ``momentum``, ``sgd``, ``adam`` or ``rmsprop``.
        width: Factor on 128 hidden units.
        seed: Seed of data, initial weights, order of the examples and masks.
        nets: The networks.
    """

    inputs: int
    examples: int
    optimiser: str
    width: float
    seed: int
    nets: tuple[Net, ...]

    @property
    def units(self) -> int:
        """Hidden units of one network."""
        return scaled(128, self.width)

    def of(self, nets: Iterable[Net]) -> "Stack":
        """Return the stack with other networks."""
        return replace(self, nets=tuple(nets))


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Initial weights at factor 1; all networks of a stack start from the same draw, scaled.

    Attributes:
        hidden: Shape (inputs + 1, units), float32; the last row is the bias, 0.
        output: Shape (units, 2), float32.
    """

    hidden: NDArray[np.float32]
    output: NDArray[np.float32]


def draw_start(stack: Stack, protocol: Protocol) -> Start:
    """Return initial weights, which depend on the seed, the inputs and the units alone.

    Source:
        Casper et al. 2021, appendix D (Gaussian, s.d. 0.01 by default); ``models/mlp.py`` of the
        published code (truncated, a tenth of the scale in the hidden layer).
    """
    generator = np.random.default_rng([stack.seed, stack.inputs, stack.units, 2])
    hidden = np.zeros((stack.inputs + 1, stack.units), np.float32)
    output = np.empty((stack.units, 2), np.float32)
    for weight, scale in ((hidden[:-1], protocol.hidden), (output, protocol.output)):
        if protocol.truncated:
            weight[:] = truncated(generator, weight.shape, scale)
        else:
            weight[:] = scale * generator.standard_normal(weight.shape, dtype=np.float32)
    return Start(hidden, output)


BLOCK = 256
"""Inputs whose weights are updated together, so that their gradient is still in the cache."""


class Primal:
    """First layers as their weights, shape (inputs + 1, networks, units)."""

    def __init__(self, data: Data, start: Tensor, factors: Tensor, rule: type[UpdateRule]) -> None:
        self.parameter = start[:, None] * factors
        self._inputs = {part: data.parts[part].inputs for part in PARTS}
        self._gradient = torch.empty_like(self.parameter[:BLOCK])
        blocks = [slice(i, i + BLOCK) for i in range(0, len(self.parameter), BLOCK)]
        self._rules = [(block, rule(self.parameter[block])) for block in blocks]

    def preactivations(self, part: str, rows: Tensor | slice) -> Tensor:
        """Return the pre-activations of units, shape (n, networks, units)."""
        inputs = self._inputs[part][rows]
        return (inputs @ self.parameter.flatten(1)).view(len(inputs), *self.parameter.shape[1:])

    def descend(self, rows: Tensor, gradient: Tensor, rates: Tensor) -> None:
        """Update by one step; ``gradient`` is that of the pre-activations of training examples."""
        inputs, gradient = self._inputs["train"][rows].t(), gradient.flatten(1)
        for block, rule in self._rules:
            weight = self.parameter[block]
            of_weight = self._gradient[: len(weight)]
            torch.mm(inputs[block], gradient, out=of_weight.flatten(1))
            rule.descend(weight, of_weight, rates)

    def weight(self, net: int) -> Tensor:
        """Return one network's weights, shape (inputs + 1, units)."""
        return self.parameter[:, net]


class Dual:
    """First layers as coefficients of training inputs, shape (examples, networks, units).

    The weights are their initial values plus the training inputs times the coefficients.
    """

    def __init__(self, data: Data, start: Tensor, factors: Tensor, rule: type[UpdateRule]) -> None:
        self._train = data.parts["train"].inputs
        self.parameter = torch.zeros(len(self._train), len(factors), start.shape[1])
        self._products = _products(data)
        self._start, self._factors = start, factors
        self._initial = {part: data.parts[part].inputs @ start for part in PARTS}
        self._rule = rule(self.parameter)

    def preactivations(self, part: str, rows: Tensor | slice) -> Tensor:
        """Return the pre-activations of units, shape (n, networks, units)."""
        products = self._products[part][rows]
        moved = (products @ self.parameter.flatten(1)).view(-1, *self.parameter.shape[1:])
        return moved.addcmul_(self._initial[part][rows][:, None], self._factors)

    def descend(self, rows: Tensor, gradient: Tensor, rates: Tensor) -> None:
        """Update by one step; ``gradient`` is that of the pre-activations of training examples."""
        self._rule.descend(self.parameter, gradient, rates, rows)

    def weight(self, net: int) -> Tensor:
        """Return one network's weights, shape (inputs + 1, units)."""
        return self._start * self._factors[net] + self._train.t() @ self.parameter[:, net]


@lru_cache(maxsize=1)  # stacks of all widths share them
def _products(data: Data) -> dict[str, Tensor]:
    train = data.parts["train"].inputs
    return {part: data.parts[part].inputs @ train.t() for part in PARTS}


class Networks:
    """The weights of a stack.

    Attributes:
        first: The first layers.
        slope: Weights of the margin (second output less first), shape (networks, units).
        offset: Its bias, shape (networks, 1).
    """

    def __init__(self, stack: Stack, protocol: Protocol, data: Data) -> None:
        self._start = draw_start(stack, protocol)
        rule = RULES[stack.optimiser]
        self._factors = torch.tensor([net.factor for net in stack.nets])[:, None]
        self._output = torch.from_numpy(self._start.output)
        layer = Dual if rule.linear and stack.examples < stack.inputs else Primal
        self.first = layer(data, torch.from_numpy(self._start.hidden), self._factors, rule)
        self.slope = self._factors * (self._output[:, 1] - self._output[:, 0])
        self.offset = torch.zeros_like(self._factors)
        self._rules = rule(self.slope), rule(self.offset)

    def hidden(self, part: str, rows: Tensor | slice) -> Tensor:
        """Return the activations of the hidden units, shape (n, networks, units)."""
        return self.first.preactivations(part, rows).clamp_(min=0)

    def margins(self, hidden: Tensor) -> Tensor:
        """Return the second output less the first, shape (n, networks)."""
        return (hidden * self.slope).sum(-1) + self.offset[:, 0]

    def descend(self, rows: Tensor, labels: Tensor, rates: Tensor) -> None:
        """Update all networks by one step on the mean cross-entropy of a batch.

        Args:
            rows: Training examples, shape (n,), int64.
            labels: Their labels, shape (n,), 0 or 1, float32.
            rates: Learning rate of each network, shape (networks, 1).
        """
        hidden = self.hidden("train", rows)
        error = (self.margins(hidden).sigmoid_() - labels[:, None]) / len(rows)
        of_slope = (hidden * error[:, :, None]).sum(0)  # einsum takes ten times as long
        of_offset = error.sum(0)[:, None]
        of_sums = torch.ops.aten.threshold_backward(error[:, :, None] * self.slope, hidden, 0)
        self.first.descend(rows, of_sums, rates)
        self._rules[0].descend(self.slope, of_slope, 2 * rates)
        self._rules[1].descend(self.offset, of_offset, 2 * rates)

    @property
    def parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """All tensors that training changes; networks are the last axis but one of each."""
        return self.first.parameter, self.slope, self.offset

    def weights(self, net: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return one network's weights in the usual form.

        Returns:
            Hidden weights (units, inputs), hidden biases (units,), output weights (2, units) and
            output biases (2,).
        """
        hidden = self.first.weight(net).t()
        sums = self._factors[net] * self._output.sum(1)
        output = torch.stack([sums - self.slope[net], sums + self.slope[net]]) / 2
        biases = torch.cat([-self.offset[net], self.offset[net]]) / 2
        return hidden[:, :-1], hidden[:, -1], output, biases
