"""What each kind of perturbation is fed to the graph as: the one place that knows the kinds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.graph.sites.site_map import Site
from frivkit.runtime.binding import unchanging
from frivkit.runtime.session import Feeds
from frivkit.units.masks import Mask
from frivkit.units.perturbations import (
    LinearReplacement,
    Noise,
    WeightEdit,
    WeightKnockout,
    WeightNoise,
)
from frivkit.units.perturbations import example_digests as digests
from frivkit.units.selector import UnitSelector


class PreparedBatch:
    """A batch on its way: what enters the graph, and what it was made of."""

    def __init__(self, entry: Feeds, inputs: Feeds | None = None) -> None:
        """Note the entry, and the inputs it was computed from where they are at hand.

        The entry cannot be written to from here on, so that a device keeps it for all changes.
        """
        self.entry: Feeds = {name: unchanging(array) for name, array in entry.items()}
        self._inputs = inputs
        self._drawn: dict[tuple[str, int, int], NDArray[np.float32]] = {}

    @cached_property
    def examples(self) -> tuple[bytes, ...]:
        """What tells each example from others."""
        if self._inputs is None:
            raise ValueError("noise needs the examples and not only what was kept of them")
        return digests(self._inputs)

    def noise(self, change: Noise, site: Site) -> NDArray[np.float32]:
        """Draw noise, once for all levels of a repeat."""
        key = (site.name, change.seed, change.repeat)
        if key not in self._drawn:
            for other in [other for other in self._drawn if other[1:] != key[1:]]:
                del self._drawn[other]  # repeats come one after the other
            self._drawn[key] = change.draw(site.name, site.shape, self.examples)
        return self._drawn[key]


@dataclass(frozen=True, slots=True)
class Target:
    """The graph that perturbations are fed to.

    Attributes:
        sites: The perturbed sites by name.
        added: The inputs that perturb each of them.
        dtypes: The number type of each site's tensor.
        weights: The weights of each site that became inputs, by name, in the order of ``added``.
        edited: Weights that were edited before, by the edit's digest; an edit serves all batches.
    """

    sites: Mapping[str, Site]
    added: Mapping[str, tuple[str, ...]]
    dtypes: Mapping[str, np.dtype[Any]]
    weights: Mapping[str, tuple[tuple[str, NDArray[Any]], ...]]
    edited: dict[str, Feeds] = field(default_factory=dict)


@singledispatch
def feeds(
    change: object, target: Target, batch: PreparedBatch, selector: UnitSelector | None
) -> Feeds:
    """Return what is fed beside a batch's entry."""
    del target, batch, selector
    raise TypeError(f"no run knows a {type(change).__name__}")


@feeds.register
def _(change: Mask, target: Target, batch: PreparedBatch, selector: UnitSelector | None) -> Feeds:
    del batch
    if selector is None:
        raise ValueError("a mask needs the selector by which its flags are read")
    return {
        target.added[name][0]: selector.mask(target.sites[name], flags)[np.newaxis].astype(
            target.dtypes[name]
        )
        for name, flags in change.keep.items()
    }


@feeds.register
def _(change: Noise, target: Target, batch: PreparedBatch, selector: UnitSelector | None) -> Feeds:
    del selector
    size = np.float32(change.level)
    return {
        target.added[name][0]: size * batch.noise(change, target.sites[name])
        for name in change.sites
    }


@feeds.register
def _(
    change: LinearReplacement, target: Target, batch: PreparedBatch, selector: UnitSelector | None
) -> Feeds:
    del batch, selector
    found = {}
    for name in change.sites:
        matrix, bias = change.map(name)
        to_matrix, to_bias = target.added[name]
        found[to_matrix] = matrix.astype(target.dtypes[name])
        found[to_bias] = bias.astype(target.dtypes[name])[:, np.newaxis]
    return found


@feeds.register(WeightNoise)
@feeds.register(WeightKnockout)
def _(
    change: WeightEdit, target: Target, batch: PreparedBatch, selector: UnitSelector | None
) -> Feeds:
    del batch, selector
    if change.digest not in target.edited:
        target.edited[change.digest] = {
            added: change.edited(site, name, weight)
            for site in change.sites
            for added, (name, weight) in zip(target.added[site], target.weights[site], strict=True)
        }
    return target.edited[change.digest]
