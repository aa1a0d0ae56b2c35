"""The best epoch by accuracy, and early stopping."""

from dataclasses import dataclass, field

import torch

from frivkit_trainers.settings import LabOptions

Weights = dict[str, torch.Tensor]


@dataclass(slots=True)
class BestEpoch:
    """The best epoch so far.

    Attributes:
        best: The largest accuracy, in [0, 1]; None before the first.
        epoch: The number of epochs after which it was first reached.
        since: The number of accuracies recorded after it.
        weights: The weights of the best epoch; empty if the last weights are used.
    """

    best: float | None = None
    epoch: int = 0
    since: int = 0
    weights: Weights = field(default_factory=dict)

    def record(self, reached: float, epoch: int, network: torch.nn.Module, *, copy: bool) -> None:
        """Record the accuracy after ``epoch`` epochs; an accuracy equal to the best is not better.

        Args:
            reached: The accuracy, in [0, 1].
            epoch: The number of epochs done.
            network: The network with that accuracy.
            copy: Whether to copy its weights if it is the best.
        """
        if self.best is not None and reached <= self.best:
            self.since += 1
            return
        self.best, self.epoch, self.since = reached, epoch, 0
        if copy:
            self.weights = copied(network)

    def stops_early(self, options: LabOptions) -> bool:
        """Whether the options ``patience`` or ``enough`` end the training."""
        return (0 < options.patience <= self.since) or (
            options.enough > 0 and self.best is not None and self.best >= options.enough
        )


def copied(network: torch.nn.Module) -> Weights:
    """Return a copy of a network's weights and buffers by name, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
