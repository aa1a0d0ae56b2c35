"""The widths of networks of one family, found from their numbers of units."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np

from frivkit.errors import ModelError
from frivkit.graph.sites.site_map import Site

LARGEST_BLOCK = 8
"""Layers are often rounded to multiples of a number, of this one at most."""
SLACK = 0.1
"""The share of a layer's units by which it may miss the common factor."""
APART = 1.02
"""Networks whose factors differ by less than this ratio have the same width."""


@dataclass(frozen=True, slots=True)
class FamilyLayer:
    """A layer of all networks of a family.

    Attributes:
        name: Its name in the narrowest network.
        units: Its number of units in each network.
    """

    name: str
    units: tuple[int, ...]

    @property
    def fixed(self) -> bool:
        """Whether it has the same number of units in all networks."""
        return len(set(self.units)) == 1


@dataclass(frozen=True, slots=True)
class Family:
    """Networks of one architecture at several widths, narrowest first.

    Attributes:
        order: The index of each network in the order in which they were given.
        widths: The width of each network, as a factor on that of the narrowest.
        layers: Their layers, in the order of the network.
    """

    order: tuple[int, ...]
    widths: tuple[float, ...]
    layers: tuple[FamilyLayer, ...]

    @property
    def fixed(self) -> bool:
        """Whether all networks have the same width."""
        return len(set(self.widths)) == 1


def find_family(names: Sequence[str], sites: Sequence[Sequence[Site]]) -> Family:
    """Return the widths of networks that have the same layers with more or fewer units.

    1. The networks must have equally many layers, with the same operators in the same order.
    2. Layers with the same number of units in all networks are fixed.
    3. The width of a network is the median, over the units of its other layers, of the ratio of
       the layer's number of units to that in the narrowest network; it is moved into the range that
       rule 4 allows, since small layers are rounded most.
    4. Every other layer must have a base, such that it has width × base units in each network, up
       to one unit, a tenth of its units, or the block that all numbers of units in rule 3 are
       multiples of (8 at most).
    5. Widths that differ by less than 2 % are one width.

    Args:
        names: The name of each network, for messages.
        sites: Its layers.

    Raises:
        ModelError: the networks are no family; the message names the first layer that differs.

    Example:
        >>> site = Site("h", "fc1", "Gemm", 1, (8,), (), (), ())
        >>> find_family(["a"], [[site]]).layers
        (FamilyLayer(name='fc1', units=(8,)),)
    """
    order = sorted(range(len(sites)), key=lambda i: sum(site.width for site in sites[i]))
    first, *others = order
    for other in others:
        _check_same_layers(names[first], sites[first], names[other], sites[other])
    layers = tuple(
        FamilyLayer(site.layer, tuple(sites[i][k].width for i in order))
        for k, site in enumerate(sites[first])
    )
    growing = [layer for layer in layers if not layer.fixed]
    block = min(LARGEST_BLOCK, gcd(*(units for layer in growing for units in layer.units)))
    widths = [1.0] * len(order)
    for i in range(1, len(order)):
        ratio = _ratio(growing, i, block) if growing else 1.0
        widths[i] = widths[i - 1] if ratio < APART * widths[i - 1] else ratio
    for layer in growing:
        if not _follows(layer, widths, block):
            found = ", ".join(
                f"{units} units in {names[i]}" for units, i in zip(layer.units, order, strict=True)
            )
            raise ModelError(
                f"these models are no family: layer {layer.name} has {found}, and the layers "
                f"together grow by {', '.join(f'{width:.3g}' for width in widths)}; give models "
                "that differ in width alone"
            )
    return Family(tuple(order), tuple(widths), layers)


def _check_same_layers(
    name: str, sites: Sequence[Site], other_name: str, other_sites: Sequence[Site]
) -> None:
    advice = "give models that differ in width alone"
    if len(sites) != len(other_sites):
        raise ModelError(
            f"these models are no family: the layers of {name} are {len(sites)}, those of "
            f"{other_name} {len(other_sites)}; {advice}"
        )
    for site, other in zip(sites, other_sites, strict=True):
        if site.op != other.op:
            raise ModelError(
                f"these models are no family: layer {site.layer} of {name} is a {site.op}, and "
                f"{other.layer} of {other_name} in its place a {other.op}; {advice}"
            )


def _ratio(layers: Sequence[FamilyLayer], network: int, block: int) -> float:
    """Return the width of a network, by rule 3."""
    ratios = np.repeat(
        [layer.units[network] / layer.units[0] for layer in layers],
        [layer.units[network] for layer in layers],
    )
    ratios.sort()
    middle = float(ratios[len(ratios) // 2])
    slacks = [_slack(layer, block) for layer in layers]
    low = max(
        (layer.units[network] - slack[network]) / (layer.units[0] + slack[0])
        for layer, slack in zip(layers, slacks, strict=True)
    )
    high = min(
        (layer.units[network] + slack[network]) / max(layer.units[0] - slack[0], 1e-9)
        for layer, slack in zip(layers, slacks, strict=True)
    )
    return min(max(middle, low), high) if low <= high else middle


def _slack(layer: FamilyLayer, block: int) -> list[float]:
    """Return by how many units a layer may miss its base times the width, in each network."""
    return [max(1, block, SLACK * units) for units in layer.units]


def _follows(layer: FamilyLayer, widths: Sequence[float], block: int) -> bool:
    """Whether there is a base of which the layer has width times as many units, up to rounding."""
    slack = _slack(layer, block)
    low = max((u - s) / w for u, s, w in zip(layer.units, slack, widths, strict=True))
    high = min((u + s) / w for u, s, w in zip(layer.units, slack, widths, strict=True))
    return low <= high + 1e-9
