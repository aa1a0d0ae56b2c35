"""The points of a figure: the best network of each series, width and seed."""

from collections.abc import Iterable, Iterator, Mapping

from frivkit.experiments.jobs import Row
from frivkit.experiments.train import scaled
from frivkit_sweep_mlp.keys import Key
from frivkit_sweep_mlp.recipe import Recipe, Series
from frivkit_sweep_mlp.stack import Net

SHOWS = {"prunable": "prunability", "redundant": "redundancy"}
"""The measurement of a panel, if its name differs."""


def figure_rows(recipe: Recipe, rows: Iterable[Row]) -> list[Row]:
    """Return the rows of a figure, as many as its networks allow.

    Of the networks of a series, width and seed the one with the best accuracy counts, on the part
    of the data that the protocol names; the first in the recipe's order if several are best.

    Args:
        recipe: The recipe of the figure.
        rows: Rows of trained networks.

    Returns:
        Rows with ``figure``, ``panel``, ``series``, ``width``, ``trial`` (the seed), ``value`` (a
        share of the network's own units, or of examples, in [0, 1]; None where undefined; a number
        of parameters for ``parameters``) and the best network's ``rate`` and ``factor``.
    """
    values: dict[Key, dict[str, float | None]] = {}
    for row in rows:
        if (key := Key.of(row)) is not None:
            values.setdefault(key, {})[row["measurement"]] = row["value"]
    return [
        {
            "figure": recipe.figure,
            "panel": panel,
            "series": series.label,
            "width": width,
            "trial": seed,
            "value": value,
        }
        | best
        for panel in recipe.panels
        for series in recipe.series
        for width in recipe.scale.widths
        for seed in recipe.scale.seeds
        for value, best in _point(recipe, series, (width, seed), panel, values)
    ]


def _point(
    recipe: Recipe,
    series: Series,
    at: tuple[float, int],
    panel: str,
    values: Mapping[Key, Mapping[str, float | None]],
) -> Iterator[tuple[float | None, dict[str, float]]]:
    """Yield the value of one point, at a width and a seed, if a network has been measured."""
    if panel == "parameters":
        yield parameters(series.inputs, at[0]), {}
        return
    grid = (series.inputs, recipe.examples(series), series.optimiser, *at)
    candidates = [
        key
        for factor in series.factors
        for rate in recipe.rates(series)
        if (key := Key(*grid, Net(rate, factor))) in values
    ]
    if candidates:
        best = max(candidates, key=lambda key: values[key][recipe.protocol.chosen] or 0.0)
        shown = values[best][SHOWS.get(panel, panel)]
        yield shown, {"rate": best.net.rate, "factor": best.net.factor}


def parameters(inputs: int, width: float) -> int:
    """Return the number of trainable parameters of a perceptron.

    Args:
        inputs: Inputs of one example.
        width: Factor on 128 hidden units.

    Source:
        Casper et al. 2021, figure E1.

    Example:
        >>> parameters(10, 0.25), parameters(10_000, 4)
        (418, 5121538)
    """
    units = scaled(128, width)
    return (inputs + 1) * units + (units + 1) * 2
