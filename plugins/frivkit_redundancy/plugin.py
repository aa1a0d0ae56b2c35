"""What this plugin offers: redundancy."""

from frivkit.hookspecs import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer the meters that read activations."""
    return [
        Offer(
            "redundancy",
            "frivkit_redundancy.redundancy:METRIC",
            "share of units that principal components can do without",
        )
    ]
