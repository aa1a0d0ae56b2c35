"""The kinds of panels in the paper's figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from frivkit.experiments.gain import WidthCurve, shown_gain
from frivkit_figures.style import fraction, number, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_APART = 0.035
"""Octaves by which neighbouring series are shifted, so that equal curves are both visible."""


@dataclass(frozen=True, slots=True)
class View:
    """The content of a panel.

    Attributes:
        title: The title above it.
        curves: At least one.
        order: The series of all panels that share a legend; the index decides the colour.
        protocol: The protocol of the gains that are printed.
    """

    title: str
    curves: Sequence[WidthCurve]
    order: Sequence[str]
    protocol: str


def growth(view: View, axes: "Axes") -> None:
    """Draw numbers of units against width, both axes in powers of two.

    Numbers are shares of the units of the widest network.  Bars are standard deviations over the
    trials.  The dashed line is the number of all units; curves with a gain of 2 are parallel to it.
    The least and the largest gain are in the title.
    """
    widths = _power_axis(axes, view.curves)
    if not all(curve.fixed for curve in view.curves):
        ends = np.array([widths[0], widths[-1]])
        axes.plot(ends, ends / ends[1], color="#888888", ls="--", lw=1, label="all units (g = 2)")
    least = 1.0
    for curve in view.curves:
        sizes = np.array(curve.sizes) / (1 if curve.fixed else widths[-1])
        counts = sizes * curve.means
        _line(axes, view, curve, counts, sizes * curve.deviations)
        least = min([least, *counts[counts > 0].tolist()])
    bottom = min(-2, math.floor(math.log2(least)))
    axes.set_yscale("log", base=2)
    axes.set_ylim(2.0**bottom / 1.15, 1.25)
    ticks = [2.0**power for power in range(0, bottom - 1, -1 if bottom >= -6 else -2)]
    axes.set_yticks(ticks, [fraction(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_ylabel("units / those of the widest")
    gains = [shown_gain(curve, view.protocol).value for curve in view.curves]
    defined = [value for value in gains if not math.isnan(value)]
    text = "g is undefined"
    if defined:
        text = f"g min {number(min(defined))}, max {number(max(defined))}"
    axes.set_title(f"{view.title}\n{text}")


def accuracy(view: View, axes: "Axes") -> None:
    """Draw accuracy in percent against width: on test data, and dashed on training data."""
    _power_axis(axes, view.curves)
    for curve in view.curves:
        _line(axes, view, curve, 100 * np.array(curve.means), 100 * np.array(curve.deviations))
    axes.set_ylabel("accuracy, %")
    trained = any(curve.panel == "train accuracy" for curve in view.curves)
    axes.set_title(f"{view.title}\ndashed: on training data" if trained else view.title)


def parameters(view: View, axes: "Axes") -> None:
    """Draw numbers of trainable parameters against width, both on logarithmic axes."""
    _power_axis(axes, view.curves)
    for curve in view.curves:
        _line(axes, view, curve, np.array(curve.means), np.array(curve.deviations))
    axes.set_yscale("log")
    axes.set_ylabel("trainable parameters")
    axes.set_title(view.title)


def ablation(view: View, axes: "Axes") -> None:
    """Draw the percentage of labels unchanged against that of the units ablated."""
    _percent_lines(axes, view, 100)
    axes.set_xlabel("units ablated, %")
    axes.set_ylabel("labels unchanged, %")


def epochs(view: View, axes: "Axes") -> None:
    """Draw shares in percent against epochs of training."""
    _percent_lines(axes, view, 1)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("epochs past convergence")
    accurate = view.curves[0].panel.startswith("accuracy")
    axes.set_ylabel("accuracy, %" if accurate else "share of the units, %")


def violins(view: View, axes: "Axes") -> None:
    """Draw the distribution of the values at each width as a violin, with their mean as a bar."""
    names: list[str] = []
    for curve in view.curves:
        colour = style(view.order.index(curve.series))["color"]
        for width, values in zip(curve.widths, curve.values, strict=True):
            position = len(names)
            if len(set(values)) > 1:  # a density needs two values
                bodies: Any = axes.violinplot(values, [position], widths=0.8, showextrema=False)
                for body in bodies["bodies"]:
                    body.set(facecolor=colour, edgecolor=colour, alpha=0.5)
            if values:
                axes.hlines(float(np.mean(values)), position - 0.3, position + 0.3, color=colour)
                names.append(fraction(width))
        axes.plot([], [], color=colour, lw=6, alpha=0.5, label=curve.series)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 1)
    axes.set_xlabel("width")
    axes.set_ylabel("|correlation| of two units")
    axes.set_title(view.title)


def _line(
    axes: "Axes",
    view: View,
    curve: WidthCurve,
    means: NDArray[np.float64],
    deviations: NDArray[np.float64],
) -> None:
    """Draw a curve on an axis of octaves, shifted a little from the others."""
    index = view.order.index(curve.series)
    shift = 2 ** (_APART * (index - (len(view.order) - 1) / 2))
    defined = ~np.isnan(means)
    train = curve.panel == "train accuracy"
    axes.errorbar(
        shift * np.array(curve.widths)[defined],
        means[defined],
        np.where(deviations > 0, deviations, np.nan)[defined],
        label=None if train else curve.series,
        linestyle="--" if train else "-",
        markerfacecolor="white" if train else None,
        **style(index),
    )


def _percent_lines(axes: "Axes", view: View, across: float) -> None:
    for curve in view.curves:
        deviations = 100 * np.array(curve.deviations)
        axes.errorbar(
            across * np.array(curve.widths),
            100 * np.array(curve.means),
            np.where(deviations > 0, deviations, np.nan),
            label=curve.series,
            **style(view.order.index(curve.series)),
        )
    axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
    axes.set_title(view.title)


def _power_axis(axes: "Axes", curves: Sequence[WidthCurve]) -> list[float]:
    """Make the horizontal axis one of octaves with a tick at each width, and return the widths."""
    widths = sorted({width for curve in curves for width in curve.widths})
    axes.set_xscale("log", base=2)
    axes.set_xticks(widths, [fraction(width) for width in widths])
    axes.minorticks_off()
    axes.set_xlabel("width")
    return widths
