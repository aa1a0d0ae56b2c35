"""Offers of this plugin: redundancy and predictability."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer the metrics of linear dependence between units."""
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
