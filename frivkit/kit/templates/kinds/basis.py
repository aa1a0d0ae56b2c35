"""Units removed from the last to the first."""

import numpy as np

from frivkit.plugin import Calibration, Moves, Ranker, Ranking


def last_units(calibration: Calibration, ranker: Ranker) -> Moves:
    """Return the removal of units from the last to the first; the ranking is not used."""
    rankings = []
    for layer_group in calibration.layer_groups:
        order = np.sort(layer_group.groups)[::-1]
        shares = np.arange(1, len(order) + 1) / len(order)
        rankings.append(Ranking(layer_group.sites, order, errors=shares**2))
    return Moves(units=tuple(rankings))
