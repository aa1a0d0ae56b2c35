"""Activation functions: ReLU, and the others of the paper's code."""

from typing import Literal

from torch import nn

Activation = Literal["relu", "leaky-relu", "elu", "selu", "sigmoid", "tanh"]
"""The values of the option ``activation``."""


def nonlinearity(activation: Activation, number: int) -> tuple[str, nn.Module]:
    """Return the activation function of a layer, and its name in the network.

    Args:
        activation: The kind.
        number: The number of the layer, from 1.

    Returns:
        The name, and a module that maps any shape to the same shape.

    Source:
        The code published with Casper et al. 2021, arXiv:1912.04783, which uses all six in
        AlexNet, with TensorFlow's defaults: the slope of ``leaky-relu`` below 0 is 0.2 (torch's
        own default is 0.01), ``elu`` tends to -1.

    Example:
        >>> name, leaky = nonlinearity("leaky-relu", 1)
        >>> name, leaky.negative_slope
        ('leaky_relu1', 0.2)
    """
    module: nn.Module
    match activation:
        case "leaky-relu":
            module = nn.LeakyReLU(0.2)
        case "elu":
            module = nn.ELU()
        case "selu":
            module = nn.SELU()
        case "sigmoid":
            module = nn.Sigmoid()
        case "tanh":
            module = nn.Tanh()
        case _:
            module = nn.ReLU()
    return f"{activation.replace('-', '_')}{number}", module
