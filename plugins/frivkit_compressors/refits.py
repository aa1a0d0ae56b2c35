"""Refits: how the consumers of removed units compensate them."""

from dataclasses import replace

import numpy as np

from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Refit
from frivkit.compression.plan import (
    Plan,
    affected_consumers,
    factorized_fit,
    keep_weights,
    ridge_fits,
    shared_fits,
    whole_fits,
)
from frivkit.compression.ridge import Fit, fit_ridge
from frivkit.compression.stored_matrix import StoredMatrix
from frivkit.compression.unit_kinds import classify_units
from frivkit_compressors.relu import refit_before_relu
from frivkit_compressors.sequential import refit_in_sequence


def fold_redundant(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit consumers to their outputs without the prunable units.

    Prunable units are dropped: they are set to zero without a refit, as in an ablation.  All other
    removed units are folded into the kept ones.  Weights that several nodes read have a ridge fit.

    Source:
        The "promising possibility" of Casper et al., "Frivolous Units", AAAI 2021, section 5: to
        target both kinds of unit in one compression.
    """
    prunable = classify_units(calibration, plan.keep).prunable
    prunable = np.append(prunable, False)  # the last stands for NO_GROUP
    fits = []
    affected = list(affected_consumers(calibration, plan))
    shared = {fit.linear_consumer.consumer.node: fit for fit in shared_fits(calibration, affected)}
    for linear_consumer, columns in affected:
        if linear_consumer.shared is not None:
            fits.append(shared[linear_consumer.consumer.node])
            continue
        dropped = prunable[linear_consumer.group_ids]
        matrix = np.where(dropped[:, np.newaxis], 0.0, linear_consumer.matrix)
        target = replace(linear_consumer, weights=StoredMatrix(matrix, "MatMul"))
        fit = fit_ridge(target, calibration.patch_moments[linear_consumer.source], columns)
        fits.append(factorized_fit(calibration, plan, fit))
    return tuple(fits)


def _relu(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    fits = refit_before_relu(calibration, whole_fits(calibration, plan))
    return tuple(factorized_fit(calibration, plan, fit) for fit in fits)


NONE = Refit(keep_weights, keep_weights, keeps_weights=True)
RIDGE = Refit(ridge_fits)
RELU = Refit(_relu)
SEQUENTIAL = Refit(refit_in_sequence)
DISTIL = Refit(refit_in_sequence, recovers=True)
HYBRID = Refit(fold_redundant, fold_redundant)
