"""A sheet of panels, and the file that it becomes.

matplotlib is an extra, so it is imported where something is drawn and nowhere else.
"""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from frivkit.errors import PluginError
from frivkit.figure import Drawing
from frivkit_figures.look import SETTINGS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

    if beside:
        size = (_WIDTH * sum(map(len, groups)), _HEIGHT + _LEGEND / 2)
        figure = Figure(figsize=size, layout="constrained")
        every = figure.subplots(1, sum(map(len, groups)), squeeze=False)[0]
        for group in groups:
            shown, every = every[: len(group)], every[len(group) :]
            handles, names = _filled(shown, group)
            # A legend of the axes, so that panels above legends of any length are as high.
            shown[0].legend(handles, names, loc="upper left", bbox_to_anchor=(0, -0.24))
        return figure
    most = max(map(len, groups))
    figure = Figure((_WIDTH * most + _LEGEND, _HEIGHT * len(groups)), layout="constrained")
    parts = figure.subfigures(len(groups), 1, squeeze=False)[:, 0]
    for part, group in zip(parts, groups, strict=True):
        shown = part.subplots(1, most, squeeze=False)[0]
        handles, names = _filled(shown, group)
        part.legend(handles, names, loc="outside right center")
        for axes in shown[len(group) :]:
            axes.set_axis_off()
    return figure


def _filled(shown: "Sequence[Axes]", group: Sequence[Fill]) -> "tuple[list[Artist], list[str]]":
    """Draw a group of panels; give the entries of their legend, guides last."""
    from matplotlib.container import ErrorbarContainer

    series: dict[str, Artist] = {}
    guides: dict[str, Artist] = {}
    for axes, fill in zip(shown, group, strict=False):
        fill(axes)
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            if isinstance(handle, ErrorbarContainer):
                series.setdefault(name, handle.lines[0])
            else:
                guides.setdefault(name, handle)
    entries = series | guides
    return list(entries.values()), list(entries)
