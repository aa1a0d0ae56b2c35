"""What this plugin offers: prunability."""

from frivkit.hookspecs import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer the meters that ablate units."""
    return [
        Offer(
            "prunability",
            "frivkit_ablation.prunability:METRIC",
            "share of units that random ablation can take before labels change",
        )
    ]
