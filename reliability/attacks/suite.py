"""The suite ``attacks``: every attack, each in folders of its own."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from reliability.attacks import data, models, surroundings
from reliability.attacks.attempt import attempt
from reliability.running.trials import Trial

GROUPS = {
    "model files": models.ATTACKS,
    "data": data.ATTACKS,
    "recipes, names, surroundings": surroundings.ATTACKS,
}


def trials(seed: int, count: int, at: Path) -> Iterator[Trial]:
    """Yield each attack once; nothing is drawn, so that more of them would be the same."""
    del seed, count, at
    for group, attacks in GROUPS.items():
        for name, attack in attacks.items():
            yield Trial(group, name, partial(attempt, attack=attack))
