"""In which order units of each bundle of layers can leave, and what that costs what reads them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.layer_groups import LayerGroup
from frivkit.errors import PluginError
from frivkit.graph.layout import NO_GROUP
from frivkit.units.elimination import errors_along
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The order in which the groups of one bundle leave.

    Attributes:
        sites: The sites of the bundle.
        order: The groups from the first to leave to the last; those that cannot are not in it.
        errors: After each has left, the squared error in what reads the bundle, as a share of the
            variance of what it meets there, summed over readers; growing.
    """

    sites: tuple[str, ...]
    order: NDArray[np.intp]
    errors: Float64Array


def ranked(layer_group: LayerGroup, places: NDArray[np.int64]) -> Ranking:
    """Return the ranking that an order of places makes: what nothing reads leaves first, and free.

    Args:
        layer_group: The bundle.
        places: The places in ``layer_group.groups`` from the first to leave to the last.

    Raises:
        PluginError: the order leaves a group out or has one twice.
    """
    if not np.array_equal(np.sort(places), np.arange(len(layer_group.groups))):
        raise PluginError(
            f"the ranking gave {len(np.unique(places))} of {len(layer_group.groups)} units of "
            f"{layer_group.layers[0]}; it must give each once"
        )
    read = np.zeros(len(layer_group.groups), np.bool_)
    for term in layer_group.terms:
        read[term.groups[term.groups != NO_GROUP]] = True
    first, then = places[~read[places]], places[read[places]]
    errors = np.concatenate(
        [np.zeros(len(first)), errors_along(layer_group.terms, then, layer_group.ridge)]
    )
    return Ranking(layer_group.sites, layer_group.groups[np.concatenate([first, then])], errors)
