"""The layout of panels on a page, and the file of it.

matplotlib is an optional dependency, so it is imported only when a figure is drawn.
"""

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from frivkit.errors import PluginError
from frivkit.experiments.figure import Drawing
from frivkit_figures.style import SETTINGS

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Fill = Callable[["Axes"], None]
"""Draws a panel into its axes."""

_WIDTH, _HEIGHT, _LETTER, _LINE = 2.5, 2.4, 0.07, 0.19
"""Width and height of a panel, width of a letter and height of a line of a legend, in inches."""
_NOTE_LETTER, _NOTE_LINE, _NOTE_SIZE = 0.065, 0.13, 7
"""Width of a letter and height of a line of the notes, in inches, and their size in points."""
_STAMPS: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Metadata of time and program that matplotlib would write, by format."""


def page(groups: Sequence[Sequence[Fill]], *, beside: bool, notes: Sequence[str] = ()) -> Drawing:
    """Return the drawing of groups of panels; the panels of a group share a legend beside them.

    Args:
        groups: At least one, of at least one panel each.
        beside: True puts groups side by side with legends below, False one below the other with
            legends to the right.
        notes: Text below all panels, one paragraph each.

    Returns:
        A drawing, which returns the same bytes at each call.

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
            figure = _draw_page(groups, beside)
            _add_notes(figure, notes)
            figure.savefig(stream, format=kind, metadata=_STAMPS[kind])
        return stream.getvalue()

    return drawing


def _draw_page(groups: Sequence[Sequence[Fill]], beside: bool) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.transforms import ScaledTranslation

    figure = Figure(layout="constrained")
    columns = sum(map(len, groups)) if beside else max(map(len, groups))
    parts = [figure] if beside else figure.subfigures(len(groups), 1, squeeze=False)[:, 0]
    all_axes = [axes for part in parts for axes in part.subplots(1, columns, squeeze=False)[0]]
    longest = most = start = 0
    for i, group in enumerate(groups):
        shown = all_axes[start : start + len(group)]
        start += len(group) if beside else columns
        handles, names = _draw_group(shown, group)
        longest, most = max(longest, *map(len, names)), max(most, len(names))
        if beside:
            # A legend of the axes, so that the height of a panel is the same above any legend.
            below = shown[0].transAxes + ScaledTranslation(0, -0.42, figure.dpi_scale_trans)
            location = {"loc": "upper left", "bbox_to_anchor": (0, 0), "bbox_transform": below}
            legend = shown[0].legend(handles, names, **location)
        else:
            legend = parts[i].legend(handles, names, loc="outside right center")
        for text in legend.get_texts():
            text.set_parse_math(False)  # dollars in a name begin no formula
        for axes in all_axes[start - columns + len(group) : start] if not beside else ():
            axes.set_axis_off()
    legend_width, legend_height = 0.5 + _LETTER * longest, 0.1 + _LINE * most
    if beside:
        figure.set_size_inches(columns * max(_WIDTH, 0.5 + legend_width), _HEIGHT + legend_height)
    else:
        height = len(groups) * max(_HEIGHT, legend_height)
        figure.set_size_inches(columns * _WIDTH + legend_width, height)
    return figure


def _add_notes(figure: "Figure", notes: Sequence[str]) -> None:
    """Add room at the bottom of a figure, and write the notes there."""
    width, height = map(float, figure.get_size_inches())
    letters = int((width - 0.3) / _NOTE_LETTER)
    lines = [line for note in notes for line in textwrap.wrap(note, letters)]
    if not lines:
        return
    room = 0.1 + _NOTE_LINE * len(lines)
    share = room / (height + room)
    figure.set_size_inches(width, height + room)
    figure.set_layout_engine("constrained", rect=(0, share, 1, 1 - share))
    text = figure.text(
        0.1 / width, 0.05 / (height + room), "\n".join(lines), va="bottom", size=_NOTE_SIZE
    )
    text.set_parse_math(False)
    text.set_in_layout(False)


def _draw_group(shown: "Sequence[Axes]", group: Sequence[Fill]) -> "tuple[list[Artist], list[str]]":
    """Draw a group of panels, and return the entries of their legend, guides last."""
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
