"""The images of the units of layers, found piece by piece; finished pieces are kept and reused."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray

from frivkit.engines.engine import LocalEngine
from frivkit.errors import ModelError
from frivkit.files import write_file
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site
from frivkit.measure.study import Study
from frivkit.runtime.session import Device, Feeds
from frivkit.torch_io.placement import exact_on, torch_device
from frivkit.torch_io.threads import torch_threads
from frivkit_featurevis.ascent import Activations, Ascent, ascend
from frivkit_featurevis.fourier import FourierImages, ValueRange, value_range
from frivkit_featurevis.network import activations_of, images_first
from frivkit_featurevis.phases import PhaseImages, mean_magnitudes
from frivkit_featurevis.pieces import PieceArrays, packed, read_piece
from frivkit_featurevis.transforms import standard_views

VERSION = 1
"""Raised when the same settings would give other images."""
RANGE_IMAGES = 512
"""Images of the data from which the range, colours and magnitudes are read."""
BATCH_PIXELS = 2**19
"""Pixels of all images that are optimised at once: 128 images of 64 × 64, 10 of 224 × 224."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the images of units are found.

    Attributes:
        units: Units of each layer; those of a wider layer are drawn.
        steps: Steps of gradient ascent.
        method: ``"fourier"`` for free Fourier coefficients, ``"phase"`` for free phases with the
            magnitudes of the data.
        position: ``"mean"`` or ``"centre"``: the position of a unit that is maximised.
        seed: Of the choice of units, the first images and the views.
    """

    units: int = 8
    steps: int = 256
    method: str = "fourier"
    position: str = "mean"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LayerImages:
    """The images of a layer.

    Attributes:
        layer: The layer's name.
        width: Its number of units.
        units: The units, in rising order.
        images: As shares of the range of the data, shape (units, channels, h, w), float32.
        before: The activation of each unit for its image at the start.
        after: The same at the end.
        files: The names of the files of finished pieces, in the order of the images.
    """

    layer: str
    width: int
    units: tuple[int, ...]
    images: NDArray[np.float32]
    before: tuple[float, ...]
    after: tuple[float, ...]
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What the images of all layers share."""

    settings: Settings
    pixels: ValueRange
    size: tuple[int, int]
    channels: int
    magnitudes: torch.Tensor | None
    mean: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """Images that are found at once, and kept in one file."""

    site: Site
    units: tuple[int, ...]
    path: Path | None


def render(
    study: Study,
    settings: Settings,
    folder: Path | None = None,
    *,
    foretell: Callable[[float], None] | None = None,
) -> Iterator[LayerImages]:
    """Find images for units of each layer under study, layer by layer.

    The progress of the study's execution is told of every step.

    Args:
        study: The model, its data and the layers.
        settings: How the images are found.
        folder: Where finished pieces are kept, and taken from if the settings, the model and the
            data are the same; None keeps nothing.
        foretell: Called before the work with the seconds that it will take, from four steps of the
            first and of the last piece that are not finished; not called if all are.
            None times nothing.

    Raises:
        ModelError: the model takes other things than images, cannot be converted to torch, or has a
            layer whose activations are not finite.
    """
    canvas = _canvas(study, settings)
    pieces = _pieces(study, canvas, folder)
    kept = [_read(piece) for piece in pieces]
    missing = [piece for piece, arrays in zip(pieces, kept, strict=True) if arrays is None]
    if missing and foretell is not None:
        foretell(_seconds_a_step(study, canvas, missing) * settings.steps * len(missing))
    if missing:
        study.execution.progress.start("images of units", settings.steps * len(missing))
    execution = study.execution
    here = isinstance(execution.engine, LocalEngine)  # else nobody hears of single steps
    steps = execution.progress.advance if here else None
    task = _PieceTask(study.model, _few_inputs(study), canvas, execution.placement, steps)
    made = execution.engine.map(task, missing)
    found: list[tuple[_Piece, PieceArrays]] = []
    for piece, finished in zip(pieces, kept, strict=True):
        arrays = finished
        if arrays is None:
            arrays = next(made)
            if steps is None:
                execution.progress.advance(settings.steps)
            if not all(np.isfinite(part).all() for part in arrays):
                raise ModelError(
                    f"layer {piece.site.layer} of {study.model.path.name} gives numbers that are "
                    "not finite, so its units have no images; leave it out by --layer"
                )
            if piece.path is not None:
                write_file(piece.path, packed(*arrays))
        found.append((piece, arrays))
        if piece.units[-1] == chosen_units(piece.site, settings)[-1]:
            yield _joined(found)
            found = []


def _pieces(study: Study, canvas: "_Canvas", folder: Path | None) -> list[_Piece]:
    """Return all pieces of the work, in the order of the layers."""
    settings = canvas.settings
    parts = [VERSION, study.model.identity, study.data.digest, asdict(settings), torch.__version__]
    device = study.execution.device
    identity = json.dumps(parts if device == "cpu" else [*parts, device])
    size = max(1, BATCH_PIXELS // (canvas.size[0] * canvas.size[1]))
    pieces = []
    for site in study.sites:
        units = chosen_units(site, settings)
        for i in range(0, len(units), size):
            batch = units[i : i + size]
            digest = hashlib.sha256(f"{identity}{site.name}{batch}".encode()).hexdigest()[:24]
            path = None if folder is None else folder / f"{digest}.npz"
            pieces.append(_Piece(site, batch, path))
    return pieces


def _seconds_a_step(study: Study, canvas: "_Canvas", pieces: Sequence[_Piece]) -> float:
    """Return the mean time of a step of the first and the last of some pieces, in seconds."""
    trial = replace(canvas, settings=replace(canvas.settings, steps=4))
    seconds = []
    for piece in (pieces[0], pieces[-1]):
        times: list[float] = []
        _find(
            activations_of(study.model, piece.site, _few_inputs(study), study.execution.device),
            trial,
            piece,
            lambda times=times: times.append(perf_counter()),  # type: ignore[misc]
        )
        seconds.append(float(np.diff(times).min()))  # the first steps are slower than the others
    return sum(seconds) / len(seconds)


def _few_inputs(study: Study) -> Feeds:
    return study.data.read(0, min(study.model.batch or 2, study.examples)).inputs


class _PieceTask:
    """Finds the images of a piece; the network of the last layer is kept.

    Args:
        model: The model.
        feeds: Inputs on which the network in torch is compared with it.
        canvas: What the images of all layers share.
        placed: The device, and the threads of torch in a worker.
        stepped: Called behind each step; None where nobody is told.
    """

    def __init__(
        self,
        model: Model,
        feeds: Feeds,
        canvas: _Canvas,
        placed: Device,
        stepped: Callable[[], None] | None,
    ) -> None:
        self._model, self._feeds, self._canvas, self._placed = model, feeds, canvas, placed
        self._stepped = stepped or (lambda: None)
        self._network: tuple[str, Activations] | None = None

    def __reduce__(self) -> Any:
        """Return what makes it again in a worker, which tells nobody of steps."""
        return _PieceTask, (self._model, self._feeds, self._canvas, self._placed, None)

    def __call__(self, piece: "_Piece") -> PieceArrays:
        with torch_threads(self._placed.threads), exact_on(torch_device(self._placed.name)):
            if self._network is None or self._network[0] != piece.site.name:
                self._network = None  # two may not fit into memory
                network = activations_of(self._model, piece.site, self._feeds, self._placed.name)
                self._network = piece.site.name, network
            return _find(self._network[1], self._canvas, piece, self._stepped)


def _joined(found: Sequence[tuple[_Piece, PieceArrays]]) -> LayerImages:
    """Return all pieces of a layer as one."""
    site = found[0][0].site
    parts = zip(*(arrays for _, arrays in found), strict=True)
    images, before, after = (np.concatenate(each) for each in parts)
    return LayerImages(
        layer=site.layer,
        width=site.width,
        units=tuple(unit for piece, _ in found for unit in piece.units),
        images=images,
        before=tuple(before.tolist()),
        after=tuple(after.tolist()),
        files=tuple(piece.path.name for piece, _ in found if piece.path is not None),
    )


def chosen_units(site: Site, settings: Settings) -> tuple[int, ...]:
    """Return the units of a layer that images are found for, in rising order."""
    rng = np.random.default_rng([settings.seed, crc32(site.layer.encode())])
    count = min(settings.units, site.width)
    return tuple(sorted(rng.choice(site.width, count, replace=False).tolist()))


def _canvas(study: Study, settings: Settings) -> _Canvas:
    channels_first = images_first(study.model)
    name = study.model.inputs[0].name
    count = min(RANGE_IMAGES, study.examples)
    array = np.asarray(study.data.read(0, count).inputs[name], np.float32)
    images = torch.from_numpy(array if channels_first else np.moveaxis(array, -1, 1).copy())
    if not torch.isfinite(images).all():
        raise ModelError(f"{study.data.description} has values that are not finite")
    pixels = value_range(images)
    height, width = images.shape[2:]
    magnitudes = mean = None
    if settings.method == "phase":
        magnitudes, mean = mean_magnitudes(images, pixels)
    return _Canvas(settings, pixels, (height, width), images.shape[1], magnitudes, mean)


def _find(
    network: Activations, canvas: _Canvas, piece: _Piece, stepped: Callable[[], None]
) -> PieceArrays:
    settings, units, layer = canvas.settings, piece.units, piece.site.layer
    seeds = [settings.seed * 1_000_003 + crc32(f"{layer} {unit}".encode()) for unit in units]
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    if canvas.magnitudes is not None and canvas.mean is not None:
        parameterised: torch.nn.Module = PhaseImages(
            canvas.magnitudes, canvas.mean, canvas.size, canvas.pixels, generators
        )
    else:
        shape = (len(units), canvas.channels, *canvas.size)
        parameterised = FourierImages(shape, canvas.pixels, generators)
    found = ascend(
        parameterised,
        network,
        units,
        Ascent(settings.steps, settings.position, standard_views(*canvas.size)),
        torch.Generator().manual_seed(settings.seed),
        grey=(canvas.pixels.low + canvas.pixels.high) / 2,
        stepped=stepped,
    )
    shares = canvas.pixels.shares(found.images).clamp(0, 1).numpy().astype(np.float32)
    return shares, np.array(found.before), np.array(found.after)


def _read(piece: _Piece) -> PieceArrays | None:
    """Return a finished piece, None if there is none or it is damaged."""
    if piece.path is None:
        return None
    try:
        arrays = read_piece(piece.path)
    except (OSError, ValueError):
        return None
    return arrays if all(len(part) == len(piece.units) for part in arrays) else None
