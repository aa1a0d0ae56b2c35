"""Colours, markers and labels of figures, also for readers with a colour vision deficiency."""

from fractions import Fraction
from math import isfinite, isnan
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito (2008) without yellow, which is hard to see on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

SETTINGS: Any = {  # matplotlib has a type of its own for this
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text has the same width everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "errorbar.capsize": 2,
    "figure.constrained_layout.w_pad": 0.1,
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "frivkit",  # ids inside the file are made from this, not at random
    "pdf.fonttype": 42,
}


def style(index: int) -> dict[str, Any]:
    """Return the colour and the marker of a series, by its index in the figure.

    The first 56 are distinct.

    Example:
        >>> style(0), style(8)["color"] == style(1)["color"], style(8)["marker"]
        ({'color': '#0072B2', 'marker': 'o'}, True, 'o')
    """
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def fraction(value: float) -> str:
    """Return the label of a tick: a fraction for a power of two, else a decimal number.

    Example:
        >>> fraction(0.25), fraction(4), fraction(0.3), fraction(1 / 512)
        ('1/4', '4', '0.3', '1/512')
    """
    near = Fraction(value).limit_denominator(4096)
    return str(near) if near == value and (near.denominator == 1 or near < 1) else f"{value:g}"


def number(value: float) -> str:
    """Return a gain with two decimals, a dash for NaN.

    Example:
        >>> number(2.128), number(float("inf")), number(float("nan"))
        ('2.13', '∞', '–')
    """
    if isfinite(value):
        return f"{value:.2f}"
    return "–" if isnan(value) else "∞"
