"""Masks: the units that are set to zero in a run, the same for every example."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Units set to exactly zero in a run, without rescaling the others.

    Attributes:
        keep: For each site, by name, one flag a unit, False to set it to zero, shape (units,).
            Sites that are not named stay as they are.
    """

    keep: Mapping[str, NDArray[np.bool_]]

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites it acts on, in order."""
        return tuple(self.keep)

    @property
    def ablated(self) -> int:
        """The number of units set to zero."""
        return sum(int(flags.size - flags.sum()) for flags in self.keep.values())

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return self.ablated == 0

    @property
    def digest(self) -> str:
        """The sha256 of sites and flags; equal masks have equal digests."""
        total = hashlib.sha256()
        for name in sorted(self.keep):
            flags = self.keep[name]
            total.update(f"{name}\0{flags.size}\0".encode())
            total.update(np.packbits(flags).tobytes())
        return total.hexdigest()


def random_order(seed: int, layer: str, repeat: int, units: int) -> NDArray[np.int64]:
    """Return the order in which one repeat ablates the units of one layer.

    It depends on the arguments alone, not on the other layers measured nor on the order of runs.
    The first ``k`` entries are the units ablated at level ``k / units``, so masks are nested.

    Args:
        seed: The user's seed.
        layer: The layer's name.
        repeat: 0 for the first permutation, and so on.
        units: The number of units.

    Returns:
        A permutation of ``range(units)``, shape (units,).

    Example:
        >>> sorted(random_order(0, "fc", 0, 4).tolist())
        [0, 1, 2, 3]
    """
    name = int.from_bytes(hashlib.sha256(layer.encode()).digest()[:8], "big")
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, name, repeat])))
    return generator.permutation(units)


def keep_mask(order: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Return flags that are False for the first ``count`` units of an order.

    Args:
        order: A permutation of the units, shape (units,).
        count: How many to remove, in [0, units].

    Returns:
        True for each unit that is kept, shape (units,).

    Example:
        >>> keep_mask(np.array([2, 0, 1]), 1).tolist()
        [True, True, False]
    """
    keep = np.ones(len(order), dtype=np.bool_)
    keep[order[:count]] = False
    return keep
