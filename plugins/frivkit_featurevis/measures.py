"""How much structure the images of layers have, and narrow against wide networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frivkit_featurevis.permutation import Comparison, compare, corrected
from frivkit_featurevis.render import LayerImages
from frivkit_featurevis.total_variation import printed_total_variation, spectra, total_variation

MEASURES = ("pixels", "frequencies", "pixels_as_printed", "frequencies_as_printed")
"""Total variation of the images and of their spectra, as described, and by the printed formula."""


@dataclass(frozen=True, slots=True)
class LayerMeasures:
    """The total variation of the images of a layer.

    Attributes:
        layer: The layer's name.
        values: By the name of a measure, one value for each image.
    """

    layer: str
    values: Mapping[str, tuple[float, ...]]


def layer_measures(found: LayerImages) -> LayerMeasures:
    """Return the total variation of each image of a layer, in shares of the range of the data."""
    frequencies = spectra(found.images)
    values = {
        "pixels": total_variation(found.images),
        "frequencies": total_variation(frequencies),
        "pixels_as_printed": printed_total_variation(found.images),
        "frequencies_as_printed": printed_total_variation(frequencies),
    }
    return LayerMeasures(found.layer, {name: tuple(v.tolist()) for name, v in values.items()})


def comparison_rows(
    narrow: Sequence[LayerMeasures], wide: Sequence[LayerMeasures], seed: int
) -> list[dict[str, Any]]:
    """Return narrow against wide for each layer that both have, JSON types only.

    Each row has ``layer`` and, for each measure, ``p``, ``p_upper``, ``effect``, ``exact`` and
    ``corrected``, the two-sided p corrected for the number of layers.
    """
    others = {each.layer: each for each in wide}
    pairs = [(each, others[each.layer]) for each in narrow if each.layer in others]
    rows: list[dict[str, Any]] = [{"layer": first.layer} for first, _ in pairs]
    for name in MEASURES:
        results = [compare(a.values[name], b.values[name], seed=seed) for a, b in pairs]
        for row, result, adjusted in zip(rows, results, corrected(results), strict=True):
            row[name] = _row(result) | {"corrected": adjusted}
    return rows


def _row(result: Comparison) -> dict[str, Any]:
    return {
        "p": result.p,
        "p_upper": result.upper,
        "effect": result.effect,
        "exact": result.exact,
    }


def table_cells(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return comparisons as the head and the cells of a table."""
    columns = tuple(
        f"{figure} {place}"
        for place in ("pixel", "frequency")
        for figure in ("p", "corrected p", "effect")
    )
    cells = []
    for row in rows:
        own = [str(row["layer"])]
        for name in ("pixels", "frequencies"):
            effect = row[name]["effect"]
            own += [f"{row[name]['p']:.3f}", f"{row[name]['corrected']:.3f}"]
            own.append("–" if effect is None else f"{effect:.3f}")
        cells.append(tuple(own))
    return ("layer", *columns), cells


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return comparisons in the layout of the paper's table 2, as Markdown.

    A p value is bold below 0.025 or above 0.975, as there.
    """
    lines = [
        "| layer | p pixel | effect pixel | p frequency | effect frequency |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row["layer"]).replace("|", "\\|")]
        for name in ("pixels", "frequencies"):
            p, effect = row[name]["p"], row[name]["effect"]
            text = f"{p:.3f}"
            cells.append(f"**{text}**" if p < 0.025 or p > 0.975 else text)
            cells.append("–" if effect is None else f"{effect:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
