"""Agreement and accuracy of compressed networks before and after finetuning.

``python -m benchmarks.parts.finetune [--cifar10 FOLDER]`` prints the table of ``docs/finetune.md``.
"""

import argparse
import copy
from collections.abc import Callable
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

import frivkit
from benchmarks.measuring.scoring import THREADS, score
from benchmarks.networks.trained import CIFAR_PREPARED, Examples, Network, timed_networks
from frivkit.data import open_data

EPOCHS = {"digits 64-256-256-128-10": 40, "MNIST net": 20}
"""Passes over the calibration examples."""
TRAINING = 10_000
"""Training images of CIFAR-10, over which there is one pass."""
LEVELS = {
    "digits 64-256-256-128-10": 0.05,
    "MNIST net": 0.05,
    "six convolutions, CIFAR-10": 0.25,
    "inverted residuals, CIFAR-10": 0.5,
}
"""The share of multiply-accumulates that is left, by network."""
HEAD = """| network | examples | MACs left | | agreement | accuracy | CPU s |
|---|---|---|---|---|---|---|"""

Loss = Callable[[Tensor, Tensor], Tensor]
"""From the outputs for a batch, and the numbers of its examples, to the loss."""


def finetuned(module: nn.Module, x: Tensor, loss: Loss, *, epochs: int, lr: float) -> nn.Module:
    """Return a trained copy of a module: Adam, a cosine of one period, batches of 50."""
    module = copy.deepcopy(module)
    optimizer = torch.optim.Adam(module.parameters(), lr)
    steps = epochs * ceil(len(x) / 50)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(50):
            optimizer.zero_grad()
            loss(module(x[batch]), batch).backward()
            optimizer.step()
            schedule.step()
    return module


def rows(network: Network, examples: Examples, epochs: int, folder: Path) -> list[str]:
    """Return the rows of a network: compressed, and after each kind of finetuning.

    Args:
        network: The network.
        examples: The inputs and labels that it is finetuned on.
        epochs: The passes over them.
        folder: The folder of files.
    """
    x, y = (torch.from_numpy(part) for part in examples)
    level, lr = LEVELS[network.name], 1e-3 if epochs > 1 else 3e-4
    start = process_time()
    thin_file, data = folder / "thin.onnx", f"npz:{network.calibration}"
    compressed = frivkit.compress(network.model, thin_file, data=data, macs=level, threads=THREADS)
    spent = process_time() - start
    with torch.no_grad():
        wanted = torch.cat([frivkit.to_torch(network.model)(part) for part in x.split(50)])
    spread = wanted.var()
    losses: dict[str, Loss] = {
        "with labels": lambda outputs, batch: functional.cross_entropy(outputs, y[batch]),
        "without labels": lambda outputs, batch: (
            functional.mse_loss(outputs, wanted[batch]) / spread
        ),
    }
    whole = score(network, network.model)
    found = [_row("whole", whole, None), _row("compressed", score(network, thin_file), spent)]
    for name, loss in losses.items():
        start = process_time()
        trained = finetuned(compressed.module, x, loss, epochs=epochs, lr=lr)
        spent = process_time() - start
        path = frivkit.save(trained, folder / "finetuned.onnx")
        found.append(_row(f"finetuned {name}", score(network, path), spent))
    start = f"| {network.name} | {len(x):,} | {level:g} |"
    return [f"{start if number == 0 else '| | | |'} {row}" for number, row in enumerate(found)]


def training_images(cifar10: Path) -> Examples:
    """Return the first training images of CIFAR-10."""
    data = open_data(f"cifar10:{cifar10}?split=train&validation=0&{CIFAR_PREPARED}", None)
    batch = data.read(0, TRAINING)
    (x,) = batch.inputs.values()
    return x, np.asarray(batch.labels)


def _row(name: str, scored: dict[str, float], seconds: float | None) -> str:
    spent = "" if seconds is None else f"{seconds:.0f}"
    return f"{name} | {scored['agreement']:.4f} | {scored['accuracy']:.4f} | {spent} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts.finetune")
    parser.add_argument("--cifar10", type=Path, help="folder of CIFAR-10, for two more networks")
    cifar10 = parser.parse_args().cifar10
    torch.set_num_threads(THREADS)
    print(HEAD)
    with threadpool_limits(THREADS):
        for kind in timed_networks(cifar10):
            if kind.name in LEVELS:
                with TemporaryDirectory() as folder:
                    network = kind.network(Path(folder), 0, small=False)
                    epochs = EPOCHS.get(kind.name, 1)
                    examples = network.examples if epochs > 1 else training_images(cifar10)
                    lines = rows(network, examples, epochs, Path(folder))
                    print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
