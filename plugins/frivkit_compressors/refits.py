"""Refits: how what reads units takes over from those that leave."""

from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Refit
from frivkit.compression.plan import Plan, keep_weights, ridge_fits
from frivkit.compression.ridge import Fit
from frivkit_compressors.hybrid import fold_the_redundant
from frivkit_compressors.rounds import refit_in_rounds
from frivkit_compressors.sequential import refit_in_sequence


def _in_rounds(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    return refit_in_rounds(calibration, ridge_fits(calibration, plan))


NONE = Refit(keep_weights, keep_weights)
RIDGE = Refit(ridge_fits)
RELU = Refit(_in_rounds)
SEQUENTIAL = Refit(refit_in_sequence)
HYBRID = Refit(fold_the_redundant, fold_the_redundant)
