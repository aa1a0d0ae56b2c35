"""The paper's prunable units: a random order that labels withstand longest."""

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.layer_groups import LayerGroup
from frivkit.measure.study import Study
from frivkit.runtime.labels import UNDEFINED
from frivkit.units.masks import Mask, random_order
from frivkit.units.statistics import KEPT

ORDERS = 3
"""Random orders that are tried, as many as the paper's."""
LEVELS = 7
"""Shares of units from 0 to 1 at which labels are looked at, both included, as in the paper."""


def prunable(layer_group: LayerGroup, study: Study) -> NDArray[np.int64]:
    """Let units leave in the random order of which most can be set to zero with labels unchanged.

    Source:
        Casper et al., "Frivolous Units", AAAI 2021, section 3: random subsets are ablated, and the
        largest that leaves the labels of 80 % of the examples as they are is the prunable one.
        Orders that are equal in that are told apart by the mean share of unchanged labels.
    """
    baseline = study.labels()
    orders = [
        random_order(study.seed, layer_group.layers[0], repeat, len(layer_group.groups))
        for repeat in range(ORDERS)
    ]
    counts = np.unique(np.rint(np.linspace(0, 1, LEVELS)[1:] * len(layer_group.groups)).astype(int))
    masks = [_mask(layer_group, order[:count]) for order in orders for count in counts]
    labels = study.ablate(masks, study.units("map"))
    same = ((labels == baseline) & (labels != UNDEFINED)).mean(axis=(1, 2)).reshape(ORDERS, -1)
    held = np.logical_and.accumulate(same >= KEPT, axis=1).sum(axis=1)
    best = max(range(ORDERS), key=lambda repeat: (held[repeat], same[repeat].mean()))
    return orders[best]


def _mask(layer_group: LayerGroup, places: NDArray[np.int64]) -> Mask:
    gone = layer_group.groups[places]
    return Mask({site: ~np.isin(groups, gone) for site, groups in layer_group.members.items()})
