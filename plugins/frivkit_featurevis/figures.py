"""Figures of the images of units: the paper's figure 5, figure E13 and table 2.

matplotlib is an optional dependency, so it is imported only when a figure is drawn.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frivkit.digests import split_checksum, warn_unchecked
from frivkit.errors import DataError, PluginError
from frivkit.experiments.figure import Drawing, FolderFigure
from frivkit.files import read_regular
from frivkit_featurevis.pictures import picture, spectrum_picture
from frivkit_featurevis.pieces import read_piece

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    """Shape (units, channels, h, w), shares of the range of the data."""

RESULTS = "results.json"
_SIDE, _NAME = 0.8, 0.28
"""The side of an image and the height of a line of text, in inches."""
_STAMPS: Mapping[str, Mapping[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
_STYLE: Any = {  # matplotlib has a type of its own for this
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "frivkit",
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


def _figure_5(folder: Path) -> Drawing:
    """Draw the images of the first layer that both networks have, thin above wide."""
    document = _read(folder)
    return _drawn(lambda: _image_rows(folder, document, _shared(document)[:1], spectra=False))


def _figure_e13(folder: Path) -> Drawing:
    """Draw images and spectra of the first and the last layer that both networks have."""
    document = _read(folder)
    shared = _shared(document)
    ends = shared[:1] + shared[1:][-1:]
    return _drawn(lambda: _image_rows(folder, document, ends, spectra=True))


def _table_2(folder: Path) -> Drawing:
    """Draw the table of p values and effects."""
    document = _read(folder)
    _shared(document)
    return _drawn(lambda: _table(document))


FIGURE_5 = FolderFigure(_figure_5)
FIGURE_E13 = FolderFigure(_figure_e13)
TABLE_2 = FolderFigure(_table_2)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / RESULTS
    try:
        document, checksum = split_checksum(read_regular(path))
    except OSError:
        raise DataError(
            f"{folder} holds no {RESULTS}; give the folder that frivkit visualize wrote"
        ) from None
    except ValueError:
        document, checksum = {}, "missing"
    if not isinstance(document, dict) or document.get("schema") != "frivkit.visualization/1":
        raise DataError(f"{path} is no result of frivkit visualize; run it again")
    if checksum == "wrong":
        raise DataError(f"{path} is damaged: its checksum is wrong; run frivkit visualize again")
    if checksum == "missing":
        warn_unchecked(path, "it has no checksum")
    return document


def _shared(document: Mapping[str, Any]) -> list[str]:
    """Return the layers that both networks have.

    Raises:
        DataError: the run compared no networks.
    """
    shared = [row["layer"] for row in document["comparisons"]]
    if not shared:
        raise DataError(
            "the results are of one network; run frivkit visualize --against WIDER for this figure"
        )
    return shared


def _drawn(make: "Callable[[], Figure]") -> Drawing:
    try:
        import matplotlib as mpl
    except ImportError:
        raise PluginError(
            "figures are drawn by matplotlib, which is not installed; "
            "run: pip install frivkit[figures]"
        ) from None

    def drawing(kind: str) -> bytes:
        stream = io.BytesIO()
        with mpl.rc_context(_STYLE):
            make().savefig(stream, format=kind, metadata=_STAMPS[kind])
        return stream.getvalue()

    return drawing


def _image_rows(
    folder: Path, document: Mapping[str, Any], layers: Sequence[str], *, spectra: bool
) -> "Figure":
    """Return a figure with a row for each layer of each network, and one for its spectra."""
    from matplotlib.figure import Figure

    rows = []
    for layer in layers:
        for i, name in enumerate(("thin", "wide")):
            own = next(
                each for each in document["layers"] if (each["model"], each["layer"]) == (i, layer)
            )
            images = _images(folder, own)
            mean = np.mean(own["total_variation"]["pixels"])
            title = f"{layer}, {name} ({own['width']} units): mean total variation {mean:.1f}"
            rows.append((title, [picture(image) for image in images]))
            if spectra:
                mean = np.mean(own["total_variation"]["frequencies"])
                title = f"their spectra: mean total variation {mean:.1f}"
                rows.append((title, [spectrum_picture(image) for image in images]))
    columns = max(len(pictures) for _, pictures in rows)
    height = len(rows) * (_SIDE + _NAME)
    figure = Figure(figsize=(columns * _SIDE, height))
    for i, (title, pictures) in enumerate(rows):
        top = height - i * (_SIDE + _NAME)
        text = figure.text(0.05 / columns, (top - 0.7 * _NAME) / height, title)
        text.set_parse_math(False)  # dollars begin no formula
        for j, shown in enumerate(pictures):
            box = (
                (j + 0.03) / columns,
                (top - _NAME - 0.97 * _SIDE) / height,
                0.94 / columns,
                0.94 * _SIDE / height,
            )
            axes = figure.add_axes(box)
            axes.imshow(shown, interpolation="nearest")
            axes.set_axis_off()
    return figure


def _images(folder: Path, layer: Mapping[str, Any]) -> "Images":
    parts = []
    for name in layer["pieces"]:
        path = folder / "pieces" / Path(name).name
        try:
            parts.append(read_piece(path)[0])
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is missing or damaged ({error}); run frivkit visualize again"
            ) from error
    return np.concatenate(parts)


def _table(document: Mapping[str, Any]) -> "Figure":
    from matplotlib.figure import Figure

    from frivkit_featurevis.measures import table_cells

    columns, rows = table_cells(document["comparisons"])
    figure = Figure(figsize=(9, 0.4 + 0.25 * (len(rows) + 1)))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    drawn = axes.table([list(row) for row in rows], colLabels=list(columns), loc="center")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    drawn.auto_set_column_width(list(range(len(columns))))
    for (row, column), cell in drawn.get_celld().items():
        cell.set_linewidth(0.4)
        cell.get_text().set_parse_math(False)
        if row > 0 and columns[column].startswith("p "):
            p = float(rows[row - 1][column])
            if p < 0.025 or p > 0.975:
                cell.get_text().set_fontweight("bold")
    return figure
