"""The figures of the paper: their panels, and the rows that these show.

Source: Casper et al., "Frivolous Units", AAAI 2021, figures 1 to 4 and E1 to E12.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from frivkit.experiments.figure import Drawing, Figure
from frivkit.experiments.gain import UNITS, WidthCurve
from frivkit_figures import panels
from frivkit_figures.page import Fill, page
from frivkit_figures.panels import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PRUNABLE, REDUNDANT = UNITS[:2]
TEST, TRAIN = "test accuracy", "train accuracy"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel of a figure.

    Attributes:
        title: The title above it.
        shows: The panels of the curves that it shows.
        labels: The figures of these curves; of several the first that has any counts.
        draw: Draws it.
    """

    title: str
    shows: tuple[str, ...]
    labels: tuple[str, ...]
    draw: Callable[[View, "Axes"], None] = panels.growth

    def choose(self, curves: Sequence[WidthCurve]) -> list[WidthCurve]:
        """Return the curves that it shows."""
        for label in self.labels:
            of_figure = [curve for curve in curves if curve.figure.lower() == label]
            shown = [curve for curve in of_figure if curve.panel in self.shows]
            if shown:
                return shown
        return []


def _draw(
    curves: Sequence[WidthCurve], protocol: str, groups: Sequence[Sequence[Panel]], beside: bool
) -> Drawing:
    """Return the drawing of the panels that have curves; the panels of a group share a legend."""
    filled: list[list[Fill]] = []
    figures_of: dict[str, dict[str, None]] = {}
    for group in groups:
        chosen = [(panel, shown) for panel in group if (shown := panel.choose(curves))]
        for curve in (curve for _, shown in chosen for curve in shown if curve.note):
            figures_of.setdefault(curve.note, {})[curve.figure] = None
        order = list(dict.fromkeys(curve.series for _, shown in chosen for curve in shown))
        if chosen:
            filled.append(
                [
                    partial(panel.draw, View(panel.title, shown, order, protocol))
                    for panel, shown in chosen
                ]
            )
    return page(filled, beside=beside, notes=_notes(figures_of))


def _notes(figures_of: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the text of each note, after its figures if there are several notes."""
    if len(figures_of) < 2:
        return list(figures_of)
    return [f"{', '.join(figures)}: {note}" for note, figures in figures_of.items()]


def _figure(*groups: Sequence[Panel], beside: bool = False) -> Figure:
    every = [panel for group in groups for panel in group]
    labels = dict.fromkeys(label for panel in every for label in panel.labels)
    shows = dict.fromkeys(name for panel in every for name in panel.shows)
    return Figure(partial(_draw, groups=groups, beside=beside), tuple(labels), tuple(shows))


def _frivolous(label: str, letters: str = "") -> list[Panel]:
    """Return the panels of frivolous units, with the letters of the panels if there are any."""
    a, b = [f"({letter}) " for letter in letters] or ["", ""]
    return [
        Panel(f"{a}prunable", (PRUNABLE,), (label,)),
        Panel(f"{b}redundant", (REDUNDANT,), (label,)),
    ]


def _others(label: str, letters: str) -> list[Panel]:
    return [
        Panel(f"({letter}) {name}", (name,), (label,))
        for letter, name in zip(letters, UNITS[2:], strict=True)
    ]


def _trends(label: str) -> Figure:
    accuracy = Panel("(a) accuracy", (TEST, TRAIN), (label,), panels.accuracy)
    return _figure([accuracy, *_frivolous(label, "bc")])


def _each(draw: Callable[[View, "Axes"], None], shows: str, *titles: tuple[str, str]) -> Figure:
    """Return a figure of panels side by side, each with its own label, title and legend."""
    return _figure(
        *([Panel(title, (shows,), (label,), draw)] for label, title in titles), beside=True
    )


FIGURE_1 = _figure(
    [Panel("(a) ImageNet", (TEST,), ("1a", "3a"), panels.accuracy)],
    [Panel("(b) CIFAR-10", (TEST,), ("1b", "4a"), panels.accuracy)],
    [Panel("(c) initialisations", (TEST,), ("1c", "4c"), panels.accuracy)],
    beside=True,
)
FIGURE_2 = _figure(
    [Panel("(a) ablation", ("unchanged labels",), ("2a",), panels.ablation)],
    [Panel("(b) ablation", ("unchanged labels",), ("2b",), panels.ablation)],
    [Panel("(c) correlation", ("correlation",), ("2c",), panels.violins)],
    [Panel("(d) correlation", ("correlation",), ("2d",), panels.violins)],
    beside=True,
)
FIGURE_3 = _figure(_frivolous("3a", "ab"), _frivolous("3c", "cd"))
FIGURE_4A = _figure(_frivolous("4a"))
FIGURE_4B = _figure(_frivolous("4b"))
FIGURE_4C = _figure(_frivolous("4c"))
FIGURE_4D = _figure(_frivolous("4d"))
FIGURE_E1 = _each(
    panels.parameters,
    "parameters",
    ("e1a", "(a) MLPs"),
    ("e1b", "(b) CIFAR-10"),
    ("e1c", "(c) ImageNet"),
)
FIGURE_E2 = _figure(_others("3a", "ab"), _others("3c", "cd"))
FIGURE_E3 = _figure(*(_others(f"4{letter}", letter * 2) for letter in "abcd"))
FIGURE_E4 = _figure(_frivolous("e4", "ab"))
FIGURE_E5 = _figure(_frivolous("e5", "ab"))
FIGURE_E6 = _trends("e6")
FIGURE_E7 = _trends("e7")
FIGURE_E8 = _trends("e8")
FIGURE_E9 = _trends("e9")
FIGURE_E10 = _trends("e10")
FIGURE_E11 = _trends("e11")
FIGURE_E12 = _figure(
    [
        Panel(f"({letter}) {name}", (f"{name} by epochs",), ("e12", "cifar epochs"), panels.epochs)
        for letter, name in (("a", "accuracy"), ("b", PRUNABLE), ("c", REDUNDANT))
    ]
)
FIGURE_WIDTHS = _figure(_frivolous("widths"))
