"""Training of a stack: epochs, batches, and the choice of the best weights."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from frivkit.errors import UsageError
from frivkit.progress import Progress
from frivkit_sweep_mlp.data import Data, Part
from frivkit_sweep_mlp.optimisers import rate_in
from frivkit_sweep_mlp.protocol import Protocol
from frivkit_sweep_mlp.stack import Networks, Stack


def train(
    stack: Stack, protocol: Protocol, data: Data, progress: Progress | None = None
) -> Networks:
    """Train the networks of a stack.

    A network whose margins are no longer finite has accuracy 0, so its earlier weights are used if
    the protocol chooses the best.

    Args:
        stack: The networks.
        protocol: How they are trained, and which epoch's weights are used.
        data: The result of :func:`~frivkit_sweep_mlp.data.make_data` for the stack.
        progress: Receives epochs.

    Source:
        ``train.py`` of the code published with Casper et al. 2021, which trains one at a time.
    """
    networks = Networks(stack, protocol, data)
    validation = data.parts["validation"].first(protocol.validated(stack.examples))
    labels = data.parts["train"].labels
    best = BestWeights(networks) if protocol.best else None
    epochs = enumerate(batches(stack.examples, protocol, stack.seed))
    for epoch, rows_of_batches in epochs:
        if protocol.ahead:
            if best is not None:
                best.update(networks, accuracy(networks, "validation", validation))
            if epoch == protocol.epochs - 1 and best is not None:
                break  # the last epoch is never validated
        rates = [
            rate_in(stack.optimiser, net.rate, epoch, decay=protocol.decay, adam=protocol.adam)
            for net in stack.nets
        ]
        for rows in rows_of_batches:
            networks.descend(rows, labels[rows], torch.tensor(rates)[:, None])
        if best is not None and not protocol.ahead:
            best.update(networks, accuracy(networks, "validation", validation))
        if progress is not None:
            progress.advance()
    if best is not None:
        best.restore(networks)
    return networks


def accuracy(networks: Networks, name: str, part: Part) -> Tensor:
    """Return the share of labels that each network predicts, shape (networks,), in [0, 1].

    Args:
        networks: The networks.
        name: The part of the data: ``train``, ``validation`` or ``test``.
        part: Its first examples, those that count.
    """
    margins = networks.margins(networks.hidden(name, slice(len(part.labels))))
    correct = ((margins > 0) == (part.labels > 0.5)[:, None]) & margins.isfinite()
    return correct.to(torch.float64).mean(0)


def batches(examples: int, protocol: Protocol, seed: int) -> Iterator[list[Tensor]]:
    """Yield for each epoch the indices of the examples of each batch to train on.

    Raises:
        UsageError: an epoch has no such batch.

    Example:
        >>> from frivkit_sweep_mlp.protocol import PAPER, REFERENCE
        >>> [[len(rows) for rows in next(batches(300, p, 0))] for p in (PAPER, REFERENCE)]
        [[128, 128, 44], [128]]
        >>> next(batches(300, REFERENCE, 0))[0][0]  # the first batch is read and not used
        tensor(128)
    """
    size = protocol.batch
    count = max(1, examples // size) if protocol.whole else -(-examples // size)
    if count <= protocol.idle:
        raise UsageError(
            f"{examples} examples are {count} batch(es) of {size}, and the protocol trains on none "
            f"of the first {protocol.idle}; give more examples, or a smaller batch"
        )
    generator = np.random.default_rng([seed, examples, 3])
    for epoch in range(protocol.epochs):
        if protocol.shuffled:
            order = torch.from_numpy(generator.permutation(examples))
            cut = [order[size * i : size * (i + 1)] for i in range(count)]
        else:
            stream = torch.arange(epoch * count * size, (epoch + 1) * count * size) % examples
            cut = list(stream.view(count, size))
        yield cut[protocol.idle :]


class BestWeights:
    """The weights with the best validation accuracy so far, for each network."""

    def __init__(self, networks: Networks) -> None:
        self._best = torch.full((len(networks.offset),), -1.0, dtype=torch.float64)
        self._weights = [weight.clone() for weight in networks.parameters]

    def update(self, networks: Networks, accuracies: Tensor) -> None:
        """Store the weights of those networks whose accuracy, shape (networks,), is a new best."""
        better = (accuracies > self._best).nonzero()[:, 0]
        self._best[better] = accuracies[better]
        for stored, weight in zip(self._weights, networks.parameters, strict=True):
            for net in better:
                stored[..., net, :] = weight[..., net, :]

    def restore(self, networks: Networks) -> None:
        """Copy the stored weights into the networks."""
        for stored, weight in zip(self._weights, networks.parameters, strict=True):
            weight.copy_(stored)
