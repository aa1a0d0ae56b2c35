"""Refits: how what reads units takes over from those that leave."""

from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Refit
from frivkit.compression.plan import Plan, cut, fitted
from frivkit.compression.ridge import Fit
from frivkit_compressors.hybrid import fold_the_redundant
from frivkit_compressors.rounds import refit_in_rounds
from frivkit_compressors.sequential import refit_in_sequence


def _in_rounds(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    return refit_in_rounds(calibration, fitted(calibration, plan))


NONE = Refit(cut, cut)
RIDGE = Refit(fitted)
RELU = Refit(_in_rounds)
SEQUENTIAL = Refit(refit_in_sequence)
HYBRID = Refit(fold_the_redundant, fold_the_redundant)
