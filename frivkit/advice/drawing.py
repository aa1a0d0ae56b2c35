"""The figure of an advice, drawn by the figure ``widths`` that a plugin offers."""

from frivkit.advice.growth import Advice
from frivkit.experiments.figure import Drawing, Figure
from frivkit.experiments.gain import ANY_WIDTHS
from frivkit.hooks.registry import installed

MOST_LAYERS = 6
"""Layers with a curve of their own; the colours of more cannot be told apart."""


def drawing(advice: Advice) -> Drawing:
    """Return the figure of both kinds of units against the width, of the network and its layers.

    Of a network with more than six layers, six are drawn, evenly spread over its depth.

    Raises:
        PluginError: nothing offers the figure, or matplotlib is not installed.
    """
    figure: Figure = installed().load("figures", ANY_WIDTHS)
    return figure.draw(figure.choose(advice.curves(MOST_LAYERS)), "paper")
