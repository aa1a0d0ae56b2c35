"""Offers of this plugin: the command ``visualize`` and a metric."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def cli_commands() -> list[Offer]:
    """Offer the command that finds images for units."""
    summary = "Find images that excite units most, and measure their structure."
    return [Offer("visualize", "frivkit_featurevis.command:command", summary)]


@hookimpl
def metrics() -> list[Offer]:
    """Offer the structure of these images as a metric."""
    summary = "total variation of the images that excite units most"
    return [Offer("interpretability", "frivkit_featurevis.interpretability:METRIC", summary)]
