"""Write a network of a stack as an ONNX file."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from frivkit.errors import ModelError
from frivkit.files import write_file
from frivkit.torch_io.export import exported
from frivkit_sweep_mlp.data import Data
from frivkit_sweep_mlp.measures import LAYER
from frivkit_sweep_mlp.stack import Networks


def write_net(networks: Networks, net: int, data: Data, path: Path) -> None:
    """Write one network as ONNX; its hidden layer is called ``fc1``.

    Args:
        networks: A stack.
        net: The index of the network in the stack.
        data: Examples on which the file is compared with the network.
        path: The file.

    Raises:
        ModelError: the file cannot be written, or does not compute the same.
    """
    weights = networks.weights(net)
    units, inputs = weights[0].shape
    layers = OrderedDict({LAYER: nn.Linear(inputs, units), "relu": nn.ReLU()})
    network = nn.Sequential(layers | {"output": nn.Linear(units, 2)})
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(weight)
    examples = np.ascontiguousarray(data.parts["test"].inputs[:64, :-1].numpy())
    write_file(path, exported(network, examples, {}), ModelError)
