"""Offers of this plugin: prunability, targeted prunability, frivolity, noise and knock-out."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer the metrics that perturb a network and compare its labels."""
    return [
        Offer(
            "prunability",
            "frivkit_ablation.prunability:METRIC",
            "share of units that random ablation can take before labels change",
        ),
        Offer(
            "targeted-prunability",
            "frivkit_ablation.targeted:METRIC",
            "the same, for a unit and those most correlated with it",
        ),
        Offer(
            "frivolity",
            "frivkit_ablation.frivolity:METRIC",
            "share of units gone with redundant ones folded and others pruned",
        ),
        Offer(
            "activation-noise",
            "frivkit_ablation.noise:ACTIVATION_NOISE",
            "noise on activations, in their s.d., that labels withstand",
        ),
        Offer(
            "weight-noise",
            "frivkit_ablation.noise:WEIGHT_NOISE",
            "noise on weights, in their s.d., that labels withstand",
        ),
        Offer(
            "weight-knockout",
            "frivkit_ablation.noise:WEIGHT_KNOCKOUT",
            "share of weights that can be zeroed at random before labels change",
        ),
    ]
