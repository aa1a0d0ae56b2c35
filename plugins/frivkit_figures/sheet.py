"""A sheet of panels, and the file that it becomes.

matplotlib is an extra, so it is imported where something is drawn and nowhere else.
"""

import io
import textwrap
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

_WIDTH, _HEIGHT, _LETTER, _LINE = 2.5, 2.4, 0.07, 0.19
"""Of a panel, and of a letter and a line of a legend, in inches."""
_SMALL_LETTER, _SMALL_LINE, _SMALL = 0.065, 0.13, 7
"""Of a letter and a line of the notes, in inches, and their size in points."""
_STAMPS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""What matplotlib would write into a file of when and by what it was made."""


def sheet(groups: Sequence[Sequence[Fill]], *, beside: bool, notes: Sequence[str] = ()) -> Drawing:
    """Lay out groups of panels; the panels of a group share a legend, outside of all panels.

    Args:
        groups: At least one, of at least one panel each.
        beside: Whether groups stand side by side with their legends below, and not one below the
            other with their legends to the right.
        notes: What stands below all of them, a paragraph each.

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
            _noted(figure, notes)
            figure.savefig(stream, format=kind, metadata=_STAMPS[kind])
        return stream.getvalue()

    return drawing


def _laid_out(groups: Sequence[Sequence[Fill]], beside: bool) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.transforms import ScaledTranslation

    figure = Figure(layout="constrained")
    columns = sum(map(len, groups)) if beside else max(map(len, groups))
    parts = [figure] if beside else figure.subfigures(len(groups), 1, squeeze=False)[:, 0]
    every = [axes for part in parts for axes in part.subplots(1, columns, squeeze=False)[0]]
    longest = most = start = 0
    for i, group in enumerate(groups):
        shown = every[start : start + len(group)]
        start += len(group) if beside else columns
        handles, names = _filled(shown, group)
        longest, most = max(longest, *map(len, names)), max(most, len(names))
        if beside:
            # A legend of the axes, so that panels above legends of any length are as high.
            below = shown[0].transAxes + ScaledTranslation(0, -0.42, figure.dpi_scale_trans)
            place = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below}
            legend = shown[0].legend(handles, names, **place)
        else:
            legend = parts[i].legend(handles, names, loc="outside right center")
        for text in legend.get_texts():
            text.set_parse_math(False)  # a name with dollars in it is no formula
        for axes in every[start - columns + len(group) : start] if not beside else ():
            axes.set_axis_off()
    legend_width, legend_height = 0.5 + _LETTER * longest, 0.1 + _LINE * most
    if beside:
        figure.set_size_inches(columns * max(_WIDTH, 0.5 + legend_width), _HEIGHT + legend_height)
    else:
        height = len(groups) * max(_HEIGHT, legend_height)
        figure.set_size_inches(columns * _WIDTH + legend_width, height)
    return figure


def _noted(figure: "Figure", notes: Sequence[str]) -> None:
    """Make a figure higher, and write notes into the room below."""
    width, height = map(float, figure.get_size_inches())
    lines = [
        line for note in notes for line in textwrap.wrap(note, int((width - 0.3) / _SMALL_LETTER))
    ]
    if not lines:
        return
    room = 0.1 + _SMALL_LINE * len(lines)
    share = room / (height + room)
    figure.set_size_inches(width, height + room)
    figure.set_layout_engine("constrained", rect=(0, share, 1, 1 - share))
    text = figure.text(
        0.1 / width, 0.05 / (height + room), "\n".join(lines), va="bottom", size=_SMALL
    )
    text.set_parse_math(False)
    text.set_in_layout(False)


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
