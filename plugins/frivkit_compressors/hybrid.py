"""Both kinds in one plan: prunable units are dropped, redundant ones folded into the rest."""

from dataclasses import replace

import numpy as np

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, readings_under
from frivkit.compression.ridge import Fit, fit
from frivkit.compression.unit_kinds import kinds_of


def fold_the_redundant(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit what reads units that leave, to what it makes without the prunable ones.

    A prunable unit gets no refit: it is set to zero, as an ablation does.  All others are folded.

    Source:
        The "promising possibility" of Casper et al., "Frivolous Units", AAAI 2021, section 5: to
        target both kinds of unit in one compression.
    """
    prunable = np.append(kinds_of(calibration, plan.keep).prunable, False)  # the last: in no group
    found = []
    for reading, columns in readings_under(calibration, plan.keep):
        dropped = prunable[reading.marks]
        matrix = np.where(dropped[:, np.newaxis], 0.0, reading.matrix)
        without = replace(reading, matrix=matrix)
        found.append(fit(without, calibration.sums[reading.source], columns))
    return tuple(found)
