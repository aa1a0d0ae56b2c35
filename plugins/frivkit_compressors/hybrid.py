"""Both kinds in one plan: prunable units are dropped, redundant ones folded into the rest."""

from dataclasses import replace

import numpy as np

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, affected_consumers
from frivkit.compression.ridge import Fit, fit
from frivkit.compression.unit_kinds import unit_kinds_of


def fold_the_redundant(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit what reads units that leave, to what it makes without the prunable ones.

    A prunable unit gets no refit: it is set to zero, as an ablation does.  All others are folded.

    Source:
        The "promising possibility" of Casper et al., "Frivolous Units", AAAI 2021, section 5: to
        target both kinds of unit in one compression.
    """
    prunable = np.append(
        unit_kinds_of(calibration, plan.keep).prunable, False
    )  # the last: in no group
    found = []
    for linear_consumer, columns in affected_consumers(calibration, plan.keep):
        dropped = prunable[linear_consumer.group_ids]
        matrix = np.where(dropped[:, np.newaxis], 0.0, linear_consumer.matrix)
        without = replace(linear_consumer, matrix=matrix)
        found.append(fit(without, calibration.patch_moments[linear_consumer.source], columns))
    return tuple(found)
