"""The trainer ``sgd``: gradient descent with momentum and a falling learning rate."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Literal

import torch
from torch import nn

from frivkit.data import Dataset
from frivkit.errors import UsageError
from frivkit.experiments.train import Trainer, TrainingError, TrainingRecord, accuracy
from frivkit.progress import Progress
from frivkit.torch_io.placement import OnDevice, exact_on, torch_device
from frivkit_trainers.best_epoch import copied
from frivkit_trainers.loaders import ShuffledLoader


@dataclass(frozen=True, slots=True)
class SgdOptions:
    """Settings of :func:`sgd`.

    Attributes:
        epochs: Passes over the data, at least 0.
        lr: Learning rate of the first epoch, above 0.
        decay: Factor on the learning rate after each epoch, in (0, 1].
        momentum: Momentum, in [0, 1).
        batch: Examples per step, at least 2.
        weight_decay: Weight decay: this times the weights is added to their gradient, at least 0.
        device: Device to train on.
    """

    epochs: int = 40
    lr: float = 0.02
    decay: float = 0.95
    momentum: float = 0.9
    batch: int = 128
    weight_decay: float = 0.0
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        for name, allowed, fine in (
            ("epochs", "0 or more", self.epochs >= 0),
            ("lr", "more than 0", self.lr > 0),
            ("decay", "above 0 and at most 1", 0 < self.decay <= 1),
            ("momentum", "at least 0 and below 1", 0 <= self.momentum < 1),
            ("batch", "2 or more", self.batch >= 2),
            ("weight_decay", "0 or more", self.weight_decay >= 0),
        ):
            if not fine:
                raise UsageError(f"option {name}={getattr(self, name)}: it must be {allowed}")


def sgd(  # noqa: PLR0917  # the arguments of every trainer
    network: nn.Module,
    train: Dataset,
    validation: Dataset | None,
    seed: int,
    options: SgdOptions,
    progress: Progress,
) -> TrainingRecord:
    """Train ``network`` in place by momentum SGD on the mean cross-entropy.

    With validation data, the final weights are those of the first epoch with the best accuracy on
    them; without, those of the last epoch.

    Args:
        network: Maps (n, ...) float32 to logits (n, classes).
        train: Labelled examples.
        validation: Labelled examples by which the epoch is chosen, or None.
        seed: Determines the order of the examples.
        options: The settings.
        progress: Updated after each epoch.

    Raises:
        DeviceError: the device does not exist.
        TrainingError: the loss or a weight is no longer finite.

    Source:
        Casper et al. 2021, arXiv:1912.04783, appendix: momentum 0.9, batches of 128, learning rate
        x 0.95 each epoch.  Where we differ: examples are shuffled each epoch; the learning rate
        starts at 0.02, not 0.01, and 40 epochs are the default, not up to 500; weight decay applies
        to every parameter, not only to those of the dense layers.
    """
    device = torch_device(options.device)
    network.to(device)
    step = torch.optim.SGD(
        network.parameters(), options.lr, options.momentum, weight_decay=options.weight_decay
    )
    loader = ShuffledLoader(train, options.batch, seed)
    losses: list[float] = []
    best: float | None = None
    best_weights: dict[str, torch.Tensor] = {}
    progress.start("training", options.epochs)
    for epoch in range(options.epochs):
        with exact_on(device):
            losses.append(_epoch(network, loader, step))
        for group in step.param_groups:
            group["lr"] *= options.decay
        if not isfinite(losses[-1]) or not all(p.isfinite().all() for p in network.parameters()):
            raise TrainingError(
                f"training diverged in epoch {epoch + 1}: the loss is {losses[-1]:g}; the "
                f"learning rate lr={options.lr:g} is too high; give a lower one"
            )
        if validation is not None:
            reached = accuracy(OnDevice(network, options.device), validation)
            if best is None or reached > best:
                best = reached
                best_weights = copied(network)
        progress.advance()
    progress.finish()
    if best_weights:
        network.load_state_dict(best_weights)
    network.to("cpu")
    network.eval()
    return TrainingRecord(options.epochs, tuple(losses), best, asdict(options))


def _epoch(network: nn.Module, loader: ShuffledLoader, step: torch.optim.Optimizer) -> float:
    """Train for one epoch, and return the mean loss over its examples."""
    network.train()
    device = next(network.parameters()).device
    total, seen = 0.0, 0
    for inputs, labels in loader.epoch():
        step.zero_grad()
        loss = nn.functional.cross_entropy(network(inputs.to(device)), labels.to(device))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        step.step()
        total += loss.item() * len(labels)
        seen += len(labels)
    return total / seen


SGD = Trainer(sgd, SgdOptions)
