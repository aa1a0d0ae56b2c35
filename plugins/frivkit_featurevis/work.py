"""The work of ``frivkit visualize``: models to images, pictures, comparisons and a page."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frivkit.cache import Cache
from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.files import write_errors, write_file
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, open_study
from frivkit.measure.study import Study
from frivkit.provenance import Clock, provenance
from frivkit.torch_io.threads import torch_threads
from frivkit_featurevis.measures import comparison_rows, layer_measures, table
from frivkit_featurevis.page import page
from frivkit_featurevis.pictures import grid, picture, spectrum_picture
from frivkit_featurevis.render import LayerImages, Settings, render

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class VisualizationJob:
    """What is to be visualised.

    Attributes:
        requests: The model, and the wider one that it is compared with if there is one.
        settings: How images are found.
        folder: Where results go; it is made if it is not there.
        cache: The cache of the studies.
    """

    requests: Sequence[Request]
    settings: Settings
    folder: Path
    cache: Cache


def visualize(job: VisualizationJob, say: Say) -> dict[str, Any]:
    """Find the images, write all files, and return the document ``frivkit.visualization/1``.

    Args:
        job: What to do.
        say: Called with lines for the user, such as the time that the work will take.

    Raises:
        UsageError: two models are to be compared by a single unit of each layer.
        ModelError: a model cannot be read, takes no images, or has no such layer.
        DataError: the data cannot be read, or do not fit.
        FrivkitError: the folder cannot be written to.
    """
    clock = Clock.start()
    if len(job.requests) == 2 and job.settings.units < 2:
        raise UsageError("--against compares units; give --units 2 or more")
    pieces = job.folder / "pieces"
    with write_errors(job.folder):
        pieces.mkdir(parents=True, exist_ok=True)
    opened = [open_study(request, cache=job.cache) for request in job.requests]
    studies = [study for study, _ in opened]
    if len(studies) == 2:
        _check_same_images(*studies)
    warnings = list(dict.fromkeys(text for _, texts in opened for text in texts))
    found: list[list[LayerImages]] = []
    for study in studies:
        with torch_threads(study.execution.threads):
            found.append(_find(study, job.settings, pieces, say))
    names = _file_names(found[0])
    for layers, suffix in zip(found, ("", "-wider"), strict=False):
        for each in layers:
            if each.layer in names:
                _write_pictures(job.folder, f"{names[each.layer]}{suffix}", each)
    document = _document(job, studies, found, warnings, clock)
    write_file(job.folder / "results.json", (json.dumps(document, indent=2) + "\n").encode())
    if document["comparisons"]:
        write_file(job.folder / "table.md", (table(document["comparisons"]) + "\n").encode())
    write_file(job.folder / "index.html", page(document, found).encode())
    return document


def _find(study: Study, settings: Settings, pieces: Path, say: Say) -> list[LayerImages]:
    """Find the images of a model, and say beforehand how long it will take."""

    def foretell(seconds: float) -> None:
        if seconds > 2:
            say(
                f"{study.model.path.name}: {len(study.sites)} layers, {settings.steps} steps each: "
                f"about {_duration(seconds)}"
            )

    return list(render(study, settings, pieces, foretell=foretell))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _check_same_images(narrow: Study, wide: Study) -> None:
    if narrow.model.inputs[0].shape != wide.model.inputs[0].shape:
        raise DataError(
            f"{narrow.model.path.name} takes images of shape {narrow.model.inputs[0].shape} and "
            f"{wide.model.path.name} of {wide.model.inputs[0].shape}; give networks of one input"
        )
    shared = {site.layer for site in narrow.sites} & {site.layer for site in wide.sites}
    if not shared:
        raise FrivkitError(
            f"{narrow.model.path.name} and {wide.model.path.name} have no layer of the same name; "
            "give networks of one family"
        )


def _file_names(layers: Sequence[LayerImages]) -> dict[str, str]:
    """Return names of files for layers, whose own names may hold any character."""
    return {
        each.layer: f"{i:02d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', each.layer)[:60]}"
        for i, each in enumerate(layers, start=1)
    }


def _write_pictures(folder: Path, name: str, found: LayerImages) -> None:
    rows = [[picture(image) for image in found.images]]
    spectra = [spectrum_picture(image) for image in found.images]
    if spectra[0].shape == rows[0][0].shape:  # channels side by side are wider than their spectrum
        rows.append(spectra)
    write_file(folder / f"{name}.png", grid(rows))


def _document(
    job: VisualizationJob,
    studies: Sequence[Study],
    found: Sequence[Sequence[LayerImages]],
    warnings: list[str],
    clock: Clock,
) -> dict[str, Any]:
    measures = [[layer_measures(each) for each in layers] for layers in found]
    comparisons = (
        comparison_rows(measures[0], measures[1], job.settings.seed) if len(found) == 2 else []
    )
    return {
        "schema": "frivkit.visualization/1",
        "models": [
            {"path": str(study.model.path), "sha256": study.model.sha256} for study in studies
        ],
        "data": {"spec": studies[0].data.description, "sha256": studies[0].data.digest},
        "settings": asdict(job.settings),
        "layers": [
            {
                "model": i,
                "layer": each.layer,
                "width": each.width,
                "units": list(each.units),
                "pieces": list(each.files),
                "activation_before": list(each.before),
                "activation_after": list(each.after),
                "total_variation": {name: list(v) for name, v in own.values.items()},
            }
            for i, (layers, all_measures) in enumerate(zip(found, measures, strict=True))
            for each, own in zip(layers, all_measures, strict=True)
        ],
        "comparisons": comparisons,
        "warnings": warnings + _silent(found),
        "provenance": provenance(
            clock, job.settings.seed, installed().versions(), studies[0].execution.ran
        ),
    }


def _silent(found: Sequence[Sequence[LayerImages]]) -> list[str]:
    """Return a warning for each layer with units that no image excites."""
    warnings = []
    for layers in found:
        for each in layers:
            silent = [
                u for u, a, b in zip(each.units, each.before, each.after, strict=True) if b <= a
            ]
            if silent:
                listed = ", ".join(map(str, silent))
                warnings.append(
                    f"{each.layer}: the images of units {listed} do not excite them more than the "
                    "first images do: they may be dead"
                )
    return warnings


def text_of(document: dict[str, Any], folder: Path) -> str:
    """Return a document as text for a terminal."""
    layers = len({row["layer"] for row in document["layers"]})
    lines = [f"{folder / 'index.html'}: images of {layers} layers"]
    if document["comparisons"]:
        lines += ["", table(document["comparisons"])]
    return "\n".join(lines)
