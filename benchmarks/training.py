"""Networks that the benchmarks train themselves, by frivkit's own trainer, once."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from frivkit.data import open_data
from frivkit.hooks.registry import installed
from frivkit.progress import Silent

Recipe = Mapping[str, float]
"""Settings of the trainer ``sgd``."""


def fitted(
    name: str, build: Callable[[], nn.Module], data: str, recipe: Recipe, *, seed: int, folder: Path
) -> nn.Module:
    """Return a trained network in evaluation mode.

    Args:
        name: What its weights are called, together with the recipe.
        build: Makes it with weights drawn from torch's generator, which was seeded.
        data: The examples to train on, a data spec.
        recipe: How.
        seed: Decides the first weights and the order of the examples.
        folder: Where its weights are kept, and found by the next call.
    """
    torch.manual_seed(seed)
    net = build()
    told = "-".join(f"{key}{value:g}" for key, value in recipe.items())
    kept = folder / f"{name}-{told}.pt"
    if kept.exists():
        net.load_state_dict(torch.load(kept, weights_only=True))
        return net.eval()
    trainer = installed().load("trainers", "sgd")
    trainer.fit(net, open_data(data, None), None, seed, trainer.options(**recipe), Silent())
    folder.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(".partial")
    torch.save(net.state_dict(), partial)
    partial.replace(kept)
    return net.eval()
