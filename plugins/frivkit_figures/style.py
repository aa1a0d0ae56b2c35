"""How figures look: colours and markers that everybody can tell apart, and fractions on axes."""

from fractions import Fraction
from math import isfinite, isnan
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""The palette of Okabe and Ito (2008), but for its yellow, which is lost on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

SETTINGS: Any = {  # matplotlib has a type of its own for this
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text is as wide everywhere
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
    "svg.hashsalt": "frivkit",  # names inside the file are drawn from this and not by chance
    "pdf.fonttype": 42,
}


def style(place: int) -> dict[str, Any]:
    """Return the colour and the marker of the series at a place in its figure, from 0.

    The first 56 differ.

    Example:
        >>> style(0), style(8)["color"] == style(1)["color"], style(8)["marker"]
        ({'color': '#0072B2', 'marker': 'o'}, True, 'o')
    """
    return {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}


def fraction(value: float) -> str:
    """Write a power of two, or any other number, as a tick says it.

    Example:
        >>> fraction(0.25), fraction(4), fraction(0.3), fraction(1 / 512)
        ('1/4', '4', '0.3', '1/512')
    """
    near = Fraction(value).limit_denominator(4096)
    return str(near) if near == value and (near.denominator == 1 or near < 1) else f"{value:g}"


def number(value: float) -> str:
    """Write a gain with two digits behind the point; a dash for none.

    Example:
        >>> number(2.128), number(float("inf")), number(float("nan"))
        ('2.13', '∞', '–')
    """
    if isfinite(value):
        return f"{value:.2f}"
    return "–" if isnan(value) else "∞"
