"""Torch-Pruning: the torch network is pruned, then written as ONNX by frivkit."""

import copy
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.networks.trained import Network
from frivkit.torch_io.export import exported

Importance = Literal["magnitude", "Taylor", "random"]
BATCH = 50


def prune(
    network: Network,
    ratio: float,
    path: Path,
    *,
    importance: Importance,
    together: bool,
    round_to: int | None = None,
) -> None:
    """Write the file that Torch-Pruning prunes at a ratio, except the last layer.

    Args:
        network: The network, which must be in torch.
        ratio: The share of channels to remove, in [0, 1).
        path: The file.
        importance: The importance of channels; ``"Taylor"`` uses labels and gradients of the
            calibration examples.
        together: Whether channels of all layers are ranked together.
        round_to: The number that widths are rounded down to a multiple of; None for any width.
    """
    import torch_pruning  # type: ignore[import-untyped]  # has none

    x, _ = network.examples
    net = copy.deepcopy(network.net)
    torch.manual_seed(network.seed)
    estimators = {
        "magnitude": torch_pruning.importance.GroupMagnitudeImportance(p=2),
        "Taylor": torch_pruning.importance.GroupTaylorImportance(),
        "random": torch_pruning.importance.RandomImportance(),
    }
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    pruner = torch_pruning.pruner.BasePruner(
        net,
        torch.from_numpy(x[:1]),
        estimators[importance],
        pruning_ratio=ratio,
        global_pruning=together,
        ignored_layers=[head],
        round_to=round_to,
    )
    if importance == "Taylor":
        _add_gradients(net, network)
    pruner.step()
    path.write_bytes(exported(net, x[:2], {}))


def _add_gradients(net: nn.Module, network: Network) -> None:
    """Accumulate the gradients of the loss over the calibration examples, batch by batch."""
    parts = (torch.split(torch.from_numpy(each), BATCH) for each in network.examples)
    for x, y in zip(*parts, strict=True):
        cross_entropy(net(x), y, reduction="sum").backward()
