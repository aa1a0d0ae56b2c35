"""Random numbers of test modules: the same in each test, whichever ran before it."""

import sys

import numpy as np

_GENERATORS: list[tuple[np.random.Generator, int]] = []


def generator(seed: int) -> np.random.Generator:
    """Return a generator that starts anew with each test."""
    made = np.random.default_rng(seed)
    _GENERATORS.append((made, seed))
    return made


def start_anew() -> None:
    """Put all generators, and torch's own, back to where they start."""
    for made, seed in _GENERATORS:
        made.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
