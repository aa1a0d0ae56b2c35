"""Torch-Pruning as a side: the torch network is narrowed, then written as ONNX by frivkit."""

import copy
from pathlib import Path
from typing import Literal

import torch
import torch_pruning  # type: ignore[import-untyped]  # has none
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.subjects import Subject
from frivkit.torch_io.export import exported

Importance = Literal["magnitude", "Taylor", "random"]
BATCH = 50


def pruned(
    subject: Subject, ratio: float, path: Path, *, importance: Importance, together: bool
) -> None:
    """Write the file that Torch-Pruning makes at a ratio, all layers but the head.

    Args:
        subject: The network, which must be there in torch.
        ratio: The share of channels to take out, in [0, 1).
        path: The file.
        importance: What ranks channels; ``"Taylor"`` looks at labels and gradients of the
            calibration examples.
        together: Whether channels of all layers are ranked together.
    """
    x, _ = subject.examples
    net = copy.deepcopy(subject.net)
    torch.manual_seed(subject.seed)
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
    )
    if importance == "Taylor":
        _add_gradients(net, subject)
    pruner.step()
    path.write_bytes(exported(net, x[:2], {}))


def _add_gradients(net: nn.Module, subject: Subject) -> None:
    """Add up the gradients of the loss over the calibration examples, as batches of them."""
    parts = (torch.split(torch.from_numpy(each), BATCH) for each in subject.examples)
    for x, y in zip(*parts, strict=True):
        cross_entropy(net(x), y, reduction="sum").backward()
