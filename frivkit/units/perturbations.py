"""Perturbations of a network in a run, other than masks: noise, weight edits, linear replacement.

Noise and weight edits grow with a level; their random numbers depend on the seed, the layer's name
and the repeat alone, so the levels of one repeat differ in size and not in direction.  Noise
depends on the numbers of the example too, not on its index in the data.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Perturbation(Protocol):
    """The properties that the runtime needs of every perturbation, and of every mask."""

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites it acts on, in order."""

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""

    @property
    def digest(self) -> str:
        """A sha256 of all that it does; equal perturbations have equal digests."""


@dataclass(frozen=True, slots=True)
class LevelledPerturbation:
    """A perturbation that grows with a level.

    Attributes:
        layers: Layer names by site name.
        level: Its size, at least 0; 0 changes nothing.
        seed: The user's seed.
        repeat: 0 for the first draw, and so on.
    """

    layers: Mapping[str, str]
    level: float
    seed: int
    repeat: int

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites it acts on, in order."""
        return tuple(self.layers)

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return self.level == 0

    @property
    def digest(self) -> str:
        """A sha256 of all that it does."""
        kind = type(self).__name__
        return _digest(kind, self.level, self.seed, self.repeat, sorted(self.layers.items()))


@dataclass(frozen=True, slots=True)
class Noise(LevelledPerturbation):
    """Gaussian noise added to the activations of sites, independent in every entry.

    The level is the standard deviation of the noise, as a share of the standard deviation of the
    example's own activations in the site, over all their entries.

    Source:
        Perturbation type 3 of the published code of Casper et al., "Frivolous Units", AAAI 2021:
        N(0, (level·σ)²) with σ taken within each example over all axes but the batch.
    """

    def draw(self, site: str, shape: Sequence[int], examples: Sequence[bytes]) -> NDArray[Any]:
        """Return noise of standard deviation 1 for each example.

        Args:
            site: The site.
            shape: The shape of one example's activations there.
            examples: A digest of each example (:func:`example_digests`).

        Returns:
            float32, shape (n, *shape); the same at every level.
        """
        noise = np.empty((len(examples), *shape), np.float32)
        for i, example in enumerate(examples):
            generator = _generator("noise", self.seed, self.layers[site], self.repeat, example)
            generator.standard_normal(dtype=np.float32, out=noise[i])
        return noise


@dataclass(frozen=True, slots=True)
class WeightNoise(LevelledPerturbation):
    """Gaussian noise added to the weights of layers that produce sites; biases stay as they are.

    The level is the standard deviation of the noise, as a share of that of the weight tensor.

    Source:
        Perturbation type 0 of the published code of Casper et al., "Frivolous Units", AAAI 2021,
        which defines it for dense layers and never runs it.
    """

    def edited(self, site: str, name: str, weight: NDArray[Any]) -> NDArray[Any]:
        """Return a weight tensor with noise added.

        Args:
            site: The site whose weight it is.
            name: The weight's name; each weight has noise of its own.
            weight: The weight, any shape.

        Returns:
            A new array of the same shape and type.

        Example:
            >>> noise = WeightNoise({"h": "first"}, level=0.1, seed=0, repeat=0)
            >>> weight = np.ones((2, 2), np.float32)
            >>> bool((noise.edited("h", "w", weight) == weight).all())  # no spread, no noise
            True
        """
        generator = _generator("weights", self.seed, self.layers[site], self.repeat, name.encode())
        size = self.level * weight.std(dtype=np.float64)
        noise = size * generator.standard_normal(weight.shape)
        edited: NDArray[Any] = (weight + noise).astype(weight.dtype)
        return edited


@dataclass(frozen=True, slots=True)
class WeightKnockout(LevelledPerturbation):
    """Entries of the weights of layers that produce sites set to zero; biases stay as they are.

    The level is the share of each weight tensor's entries that is zeroed, rounded to whole entries;
    entries zeroed at a level are zero at all higher levels of the same repeat.

    Source:
        Perturbation type 1 of the published code of Casper et al., "Frivolous Units", AAAI 2021,
        which defines it for dense layers and never runs it.
    """

    def edited(self, site: str, name: str, weight: NDArray[Any]) -> NDArray[Any]:
        """Return a weight tensor with some of its entries set to zero.

        Args:
            site: The site whose weight it is.
            name: The weight's name; each weight has an order of its own.
            weight: The weight, any shape.

        Returns:
            A new array of the same shape and type.

        Example:
            >>> half = WeightKnockout({"h": "first"}, level=0.5, seed=0, repeat=0)
            >>> float(half.edited("h", "w", np.ones((2, 2), np.float32)).sum())
            2.0
        """
        generator = _generator("knockout", self.seed, self.layers[site], self.repeat, name.encode())
        zeroed = generator.permutation(weight.size)[: int(self.level * weight.size + 0.5)]
        edited = weight.copy()
        edited.reshape(-1)[zeroed] = 0
        return edited


WeightEdit = WeightNoise | WeightKnockout


@dataclass(frozen=True, slots=True, eq=False)
class LinearReplacement:
    """Units of sites replaced by linear combinations of others, the same at every position.

    The units ``x`` of a site become ``matrix @ (keep * x) + bias``.

    Attributes:
        maps: For each site, by name, the matrix, shape (units, units), and the bias, shape
            (units,).
        keep: For each site, by name, one flag a unit, False to set it to zero before the map,
            shape (units,).  Sites that are not named keep all units.
    """

    maps: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    keep: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites it acts on, in order."""
        return tuple(self.maps)

    @property
    def idle(self) -> bool:
        """Whether it changes nothing."""
        return all(
            not bias.any() and np.array_equal(matrix, np.eye(len(matrix)))
            for matrix, bias in map(self.map, self.maps)
        )

    @property
    def digest(self) -> str:
        """A sha256 of all that it does."""
        parts = ((name, *(part.tobytes() for part in self.map(name))) for name in self.maps)
        return _digest("fold", *(hashlib.sha256(repr(part).encode()).digest() for part in parts))

    def map(self, site: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the matrix of a site, with the columns of dropped units set to 0, and the bias.

        Example:
            >>> twin = LinearReplacement({"h": (np.array([[1.0, 0.0], [2.0, 0.0]]), np.zeros(2))})
            >>> (twin.map("h")[0] @ [3.0, 5.0]).tolist()
            [3.0, 6.0]
        """
        matrix, bias = self.maps[site]
        keep = self.keep.get(site)
        return (matrix if keep is None else matrix * keep), bias


def example_digests(inputs: Mapping[str, NDArray[Any]]) -> tuple[bytes, ...]:
    """Return a digest of each example's numbers, whatever its index in the data.

    Args:
        inputs: The inputs by name, examples first.

    Returns:
        16 bytes an example; equal examples have equal digests.

    Example:
        >>> a, b, c = example_digests({"x": np.array([[1.0], [2.0], [1.0]])})
        >>> a == c, a == b
        (True, False)
    """
    count = len(next(iter(inputs.values())))
    totals = [hashlib.blake2b(digest_size=16) for _ in range(count)]
    for name in sorted(inputs):
        for total, example in zip(totals, inputs[name], strict=True):
            total.update(name.encode())
            total.update(example.tobytes())
    return tuple(total.digest() for total in totals)


def _generator(kind: str, seed: int, layer: str, repeat: int, extra: bytes) -> np.random.Generator:
    """Return a generator that depends on these arguments alone."""
    key = hashlib.blake2b(digest_size=16, person=kind.encode())
    key.update(f"{seed}\0{repeat}\0{layer}\0".encode() + extra)
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.digest(), "little")))


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
