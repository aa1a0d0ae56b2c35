"""Offers of this plugin: the command ``visualize``, a metric, and figures of the paper."""

from frivkit.hooks.specs import Offer, hookimpl


@hookimpl
def cli_commands() -> list[Offer]:
    """Offer the command that finds images for units."""
    summary = "Find images that excite units most, and measure their structure"
    return [Offer("visualize", "frivkit_featurevis.command:command", summary)]


@hookimpl
def metrics() -> list[Offer]:
    """Offer the structure of these images as a metric."""
    summary = "total variation of the images that excite units most"
    return [Offer("interpretability", "frivkit_featurevis.interpretability:METRIC", summary)]


@hookimpl
def figures() -> list[Offer]:
    """Offer the paper's figures of these images, drawn from the folder of ``visualize``."""
    return [
        Offer("5", "frivkit_featurevis.figures:FIGURE_5", "images of units, thin and wide"),
        Offer("e13", "frivkit_featurevis.figures:FIGURE_E13", "the same with their spectra"),
        Offer("table2", "frivkit_featurevis.figures:TABLE_2", "total variation, thin against wide"),
    ]
