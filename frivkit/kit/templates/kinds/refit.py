"""The means of removed units, added to biases."""

from dataclasses import replace

from frivkit.plugin import Calibration, Fit, Plan, Refit, keep_weights


def means(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Return the weights of the units that stay, and biases with the means of the others."""
    fits = []
    for kept in keep_weights(calibration, plan):
        fit, consumer = kept, kept.linear_consumer
        moments = calibration.patch_moments[consumer.source]
        if consumer.has_bias_freedom and not moments.per_channel:
            removed = ~fit.columns
            lost = moments.whole.mean[removed] @ consumer.matrix[removed]
            fit = replace(fit, bias=consumer.bias + lost)
        fits.append(fit)
    return tuple(fits)


MEANS = Refit(means, quick=means)
