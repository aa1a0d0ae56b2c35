"""Train networks of the benchmarks by frivkit's own trainer, each once."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from frivkit.data import open_data
from frivkit.hooks.registry import installed
from frivkit.progress import Silent

Recipe = Mapping[str, float | str]
"""Settings of a trainer."""


def trained(
    name: str,
    build: Callable[[], nn.Module],
    data: str,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    trainer: str = "sgd",
) -> nn.Module:
    """Return a trained network in evaluation mode.

    Args:
        name: The name of its weights' file, followed by the recipe.
        build: A function that returns it with weights drawn from torch's generator.
        data: The training examples, a data spec.
        recipe: The settings of the trainer.
        seed: The seed of the first weights and of the order of the examples.
        folder: The folder of weights, from which a later call reads them.
        trainer: The trainer, an offer of frivkit's ``trainers``.
    """
    torch.manual_seed(seed)
    net = build()
    suffix = "-".join(f"{key}{_text(value)}" for key, value in recipe.items())
    file = folder / f"{name}-{suffix}.pt"
    if file.exists():
        net.load_state_dict(torch.load(file, weights_only=True))
        return net.eval()
    offer = installed().load("trainers", trainer)
    offer.fit(net, open_data(data, None), None, seed, offer.options(**recipe), Silent())
    folder.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    torch.save(net.state_dict(), partial)
    partial.replace(file)
    return net.eval()


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
