"""A sheet of panels, and the file that it becomes.

matplotlib is an extra, so it is imported where something is drawn and nowhere else.
"""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from frivkit.errors import PluginError
from frivkit.figure import Drawing
from frivkit_figures.look import SETTINGS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Fill = Callable[["Axes"], None]
"""Draws a panel into its axes."""

_WIDTH, _HEIGHT, _LEGEND = 2.5, 2.4, 1.5  # inches
_STAMPS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib would write into a file of when and by what it was made."""


def sheet(groups: Sequence[Sequence[Fill]], *, beside: bool) -> Drawing:
    """Lay out groups of panels; the panels of a group share a legend, outside of all panels.

    Args:
        groups: At least one, of at least one panel each.
        beside: Whether groups stand side by side with their legends below, and not one below the
            other with their legends to the right.

    Returns:
        A drawing, which gives the same bytes each time.

    Raises:
        PluginError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise PluginError(
            "figures are drawn by matplotlib, which is not installed; "
            "run: pip install frivkit[figures]"
        ) from None

    def drawing(kind: str) -> bytes:
        stream = io.BytesIO()
        with mpl.rc_context(SETTINGS):
            figure = _laid_out(groups, beside)
            figure.savefig(stream, format=kind, metadata=_STAMPS[kind])
        return stream.getvalue()

    return drawing


def _laid_out(groups: Sequence[Sequence[Fill]], beside: bool) -> "Figure":
    from matplotlib.figure import Figure

    most = max(map(len, groups))
    size = (_WIDTH * most + _LEGEND, _HEIGHT * len(groups))
    if beside:
        size = (_WIDTH * sum(map(len, groups)), _HEIGHT + _LEGEND / 2)
    figure = Figure(figsize=size, layout="constrained")
    shape = (1, len(groups)) if beside else (len(groups), 1)
    for part, fills in zip(figure.subfigures(*shape, squeeze=False).flat, groups, strict=True):
        _fill(part, fills, len(fills) if beside else most, beside)
    return figure


def _fill(part: "SubFigure", fills: Sequence[Fill], columns: int, beside: bool) -> None:
    entries: dict[str, Artist] = {}
    for axes, fill in zip(part.subplots(1, columns, squeeze=False)[0], fills, strict=False):
        fill(axes)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    for axes in part.axes[len(fills) :]:
        axes.set_axis_off()
    place: Literal["outside lower center", "outside right center"]
    place = "outside lower center" if beside else "outside right center"
    part.legend(list(entries.values()), list(entries), loc=place)
