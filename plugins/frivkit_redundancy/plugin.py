"""What this plugin offers: redundancy and predictability."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer the meters that read activations."""
    return [
        Offer(
            "redundancy",
            "frivkit_redundancy.redundancy:METRIC",
            "share of units that principal components can do without",
        ),
        Offer(
            "predictability",
            "frivkit_redundancy.predictability:METRIC",
            "share of each unit's variance that the others of its layer predict",
        ),
    ]
