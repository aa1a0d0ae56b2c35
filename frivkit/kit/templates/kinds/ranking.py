"""Units that are zero most often are removed first."""

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import LayerGroup, Study


def apoz(layer_group: LayerGroup, study: Study) -> NDArray[np.int64]:
    """Return the groups of units in falling order of their number of zeros."""
    sites = [site for site in study.site_map.sites if site.name in layer_group.sites]
    place = {int(group): i for i, group in enumerate(layer_group.groups)}
    zeros = np.zeros(len(layer_group.groups))
    for _, activations in study.activations(study.units("map"), sites):
        for name, rows in activations.items():
            for unit, group in enumerate(layer_group.members[name]):
                if int(group) in place:
                    zeros[place[int(group)]] += (rows[:, unit] == 0).sum()
    return np.argsort(-zeros, kind="stable")
