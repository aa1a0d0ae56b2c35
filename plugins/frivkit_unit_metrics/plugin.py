"""Offers of this plugin: correlation, similarity, selectivity and dead units."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def metrics() -> list[Offer]:
    """Offer the metrics of single units and of pairs of units."""
    return [
        Offer(
            "correlation",
            "frivkit_unit_metrics.correlation:METRIC",
            "mean absolute Pearson correlation between units of a layer",
        ),
        Offer(
            "similarity",
            "frivkit_unit_metrics.similarity:METRIC",
            "share of a layer's other units that a unit correlates with",
        ),
        Offer(
            "selectivity",
            "frivkit_unit_metrics.selectivity:METRIC",
            "how much more units respond to their favourite class than to the rest",
        ),
        Offer(
            "dead-units",
            "frivkit_unit_metrics.dead:METRIC",
            "share of units that are zero on all examples",
        ),
    ]
