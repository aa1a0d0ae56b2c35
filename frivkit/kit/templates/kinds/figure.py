"""A bar for the gain of each series."""

from collections.abc import Sequence
from html import escape

from frivkit.plugin import Drawing, Figure, UsageError, WidthCurve, gain


def draw(curves: Sequence[WidthCurve], protocol: str) -> Drawing:
    """Draw a bar for each gain, 40 points for each unit of it."""
    gains = [(curve.series, gain(curve, protocol).value) for curve in curves]

    def drawing(kind: str) -> bytes:
        if kind != "svg":
            raise UsageError(f"this figure cannot be drawn as {kind}; give a name in .svg")
        bars = "".join(
            f'<rect y="{20 * row}" width="{40 * g:.0f}" height="18" fill="#56B4E9"/>'
            f'<text y="{20 * row + 14}">{escape(series)}: g = {g:.2f}</text>'
            for row, (series, g) in enumerate(gains)
        )
        page = f'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="{20 * len(gains)}">'
        return f"{page}{bars}</svg>".encode()

    return drawing


BARS = Figure(draw, panels=("redundant",))
