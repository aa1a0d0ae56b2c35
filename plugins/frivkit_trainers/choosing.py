"""Which epoch's weights are kept, and when training has gone on for long enough."""

from dataclasses import dataclass, field

import torch

from frivkit_trainers.settings import LabOptions

Weights = dict[str, torch.Tensor]


@dataclass(slots=True)
class Choice:
    """The best epoch so far.

    Attributes:
        best: The largest accuracy that was told, in [0, 1]; None before the first.
        epoch: Epochs that were done when it was reached first.
        since: How many were told after it.
        weights: The weights that reached it; empty where the last ones are kept.
    """

    best: float | None = None
    epoch: int = 0
    since: int = 0
    weights: Weights = field(default_factory=dict)

    def tell(self, reached: float, epoch: int, network: torch.nn.Module, *, keep: bool) -> None:
        """Take note of the accuracy after ``epoch`` epochs; only a larger one than all is better.

        Args:
            reached: In [0, 1].
            epoch: Epochs done.
            network: Whose weights reached it.
            keep: Whether to keep these if they are the best.
        """
        if self.best is not None and reached <= self.best:
            self.since += 1
            return
        self.best, self.epoch, self.since = reached, epoch, 0
        if keep:
            self.weights = copied(network)

    def enough(self, options: LabOptions) -> bool:
        """Whether ``patience`` or ``enough`` ends the training."""
        return (0 < options.patience <= self.since) or (
            options.enough > 0 and self.best is not None and self.best >= options.enough
        )


def copied(network: torch.nn.Module) -> Weights:
    """Return a copy of a network's weights and buffers by name, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
