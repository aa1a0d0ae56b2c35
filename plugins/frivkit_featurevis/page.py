"""All images on one page that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from frivkit.report import tables
from frivkit.report.format import file_name, readable
from frivkit.report.page import embedded, environment
from frivkit_featurevis.measures import table_cells
from frivkit_featurevis.pictures import picture, small_file, spectrum_picture
from frivkit_featurevis.render import LayerImages


def page(document: Mapping[str, Any], found: Sequence[Sequence[LayerImages]]) -> str:
    """Return the visualisation of one or two models as a page of HTML; names are escaped.

    Args:
        document: ``frivkit.visualization/1``, see ``docs/reference/json.md``.
        found: The images of each model.
    """
    shown = readable(document)
    template = files("frivkit_featurevis").joinpath("visualization.html.j2").read_text("utf-8")
    names = [file_name(model["path"]) for model in shown["models"]]
    columns, rows = table_cells(shown["comparisons"])
    return (
        environment()
        .from_string(template)
        .render(
            file=names[0],
            names=names,
            count=len(found[0]),
            units=sum(len(each.units) for each in found[0]),
            layers=_layers(found, names),
            comparisons=tables.Table(columns, rows, "panel-points"),
            warnings=shown["warnings"],
            settings=[(key, str(value)) for key, value in shown["settings"].items()],
            data=[("source", shown["data"]["spec"])],
            **embedded(document),
            provenance=tables.provenance_facts(
                {
                    "provenance": shown["provenance"],
                    "model": shown["models"][0],
                    "data": shown["data"],
                }
            ),
        )
    )


def _layers(
    found: Sequence[Sequence[LayerImages]], names: Sequence[str]
) -> list[tuple[str, list[tuple[str, list[dict[str, Any]]]]]]:
    """Return, by layer, the name of each model that has it with its units and their pictures."""
    order = dict.fromkeys(each.layer for layers in found for each in layers)
    by_layer: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {layer: [] for layer in order}
    for name, layers in zip(names, found, strict=True):
        for each in layers:
            by_layer[each.layer].append((f"{name}, {each.width} units", _units(each)))
    return [(readable(layer), models) for layer, models in by_layer.items()]


def _units(found: LayerImages) -> list[dict[str, Any]]:
    return [
        {
            "unit": unit,
            "image": _source(small_file(picture(image))),
            "spectrum": _source(small_file(spectrum_picture(image))),
            "after": f"{after:.3g}",
        }
        for unit, image, after in zip(found.units, found.images, found.after, strict=True)
    ]


def _source(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"
