"""Images of units of thin and of wide networks, and of packaged ones.

``python -m tests.zoo.unit_images`` finds all images and writes ``docs/reproduction/visualization``;
``python -m tests.zoo.unit_images --page`` writes the page from the stored results.  It runs in the
root of the repository, where ``cifar10`` is the folder of CIFAR-10 or a link to it.
"""

import io
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from frivkit.cli import main as frivkit_main
from frivkit.hooks.registry import installed
from frivkit.torch_io.export import exported
from frivkit_featurevis.measures import table_cells
from frivkit_featurevis.pictures import grid, picture
from tests.zoo.gallery import SHOWN
from tests.zoo.packaged import PACKAGED
from tests.zoo.unit_images_text import (
    AFTER_CONTROL,
    CONTROL,
    HEAD,
    PACKAGED_HEAD,
    PAPER_HEAD,
    PICTURES,
)

FOLDER = Path("docs/reproduction/visualization")
NETWORKS = FOLDER / "networks"
BUILD = Path("build/visualization")
"""Where the command writes; a run that was interrupted goes on there."""
SEEDS = (0, 1, 2)
"""Seeds of the untrained networks."""
KEPT = ("frivkit.data", "frivkit.layers")
"""Metadata of a trained network that its untrained one has, too."""
QUALITY = 75
"""The quality of pictures, which keeps the page small; the images themselves are in ``data``."""
README_PICTURE = ("facenet O-Net", ("conv1", "conv3", "dense5"), Path("docs/units.webp"))
"""The network, its layers and the file of the picture in the README."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Pair:
    """A thin (narrow) and a wide network of one series.

    Attributes:
        title: What the page calls the pair.
        narrow: The name of its file.
        wide: The name of the other file.
        layers: Patterns for the layers; empty for all.
    """

    title: str
    narrow: str
    wide: str
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is shown of a packaged network.

    Attributes:
        layers: Its layers.
        units: Units of each.
        examples: Examples that the range of pixels is read from.
    """

    layers: tuple[str, ...]
    units: int
    examples: int


ENDS = ("conv1", "stage*.block3.conv2")
"""The first layer of a ResNet20 and the ends of its stages."""
PAIRS = {
    "ResNet20": Pair(
        "ResNet20, widths 1/8 and 1/4", "ResNet56-1_8-0.onnx", "ResNet56-1_4-0.onnx", ENDS
    ),
    "ResNet20-widest": Pair(
        "ResNet20, widths 1/8 and 1", "ResNet56-1_8-0.onnx", "ResNet56-1-0.onnx", ENDS
    ),
    "AlexNet": Pair("AlexNet, widths 1/16 and 1/4", "All-1_16-0.onnx", "All-1_4-0.onnx"),
}
PACKAGES = {
    "ccexam svhn": Chosen(("features.0.3", "features.1.3", "features.2.3", "classifier.1"), 8, 100),
    "facenet O-Net": Chosen(("conv1", "conv2", "conv3", "conv4", "dense5"), 8, 200),
}


def visualize(out: Path, *arguments: str) -> Json:
    """Run ``frivkit visualize`` and return its results."""
    try:
        frivkit_main(["visualize", *arguments, "--threads", "1", "-o", str(out)])
    except SystemExit as end:
        if end.code:
            raise
    found: Json = json.loads((out / "results.json").read_bytes())
    return found


def untrained(path: Path, seed: int) -> Path:
    """Write the network of a file with other initial weights and no training; return its file."""
    metadata = {each.key: each.value for each in onnx.load(path).metadata_props}
    options = json.loads(metadata["frivkit.recipe"])["architecture"]
    architecture = installed().load("architectures", options.pop("name"))
    width = options.pop("width")
    torch.manual_seed(1000 + seed)  # the trained ones began with small seeds
    network = architecture.build((3, 32, 32), 10, width, architecture.options(**options))
    kept = {key: metadata[key] for key in KEPT if key in metadata}
    written = BUILD / f"{path.stem}-untrained-{seed}.onnx"
    written.write_bytes(exported(network.eval(), np.zeros((2, 3, 32, 32), np.float32), kept))
    return written


def measure_pair(name: str, pair: Pair) -> Json:
    """Find all images of a pair, store those of the trained networks, and return the controls."""
    narrow, wide = NETWORKS / pair.narrow, NETWORKS / pair.wide
    out = BUILD / name

    def compared(first: Path, second: Path) -> Json:
        return visualize(out, str(first), "--against", str(second), *_only(pair.layers))

    found = compared(narrow, wide)
    data = FOLDER / "data" / name
    shutil.rmtree(data, ignore_errors=True)
    (data / "pieces").mkdir(parents=True)
    shutil.copy(out / "results.json", data)
    for layer in found["layers"]:
        for piece in layer["pieces"]:
            shutil.copy(out / "pieces" / piece, data / "pieces")
    for number, row in enumerate(found["comparisons"], 1):
        both = [each for each in found["layers"] if each["layer"] == row["layer"]]
        _write_picture(
            FOLDER / f"pictures/{name}-{number}.webp", [images(out, each) for each in both]
        )
    before = {seed: (untrained(narrow, seed), untrained(wide, seed)) for seed in SEEDS}
    return {
        "untrained": [compared(*both)["comparisons"] for both in before.values()],
        "thin": compared(narrow, before[0][0])["comparisons"],
        "wide": compared(wide, before[0][1])["comparisons"],
    }


def _only(layers: Sequence[str]) -> list[str]:
    """Return the options that choose layers."""
    return [part for layer in layers for part in ("--layer", layer)]


def measure_package(name: str, chosen: Chosen) -> Json:
    """Find the images of a packaged network, draw them, and return what is told of them."""
    out = BUILD / slug(name)
    inputs, _ = SHOWN[name].data(chosen.examples)
    np.savez(BUILD / f"{slug(name)}.npz", x=np.asarray(inputs, np.float32))
    data = ("--data", f"npz:{BUILD / slug(name)}.npz", "--units", str(chosen.units))
    found = visualize(out, str(PACKAGED[name].file(BUILD)), *data, *_only(chosen.layers))
    for number, layer in enumerate(found["layers"], 1):
        _write_picture(FOLDER / f"pictures/{slug(name)}-{number}.webp", [images(out, layer)])
    network, shown, path = README_PICTURE
    if name == network:
        _write_picture(
            path, [images(out, each) for each in found["layers"] if each["layer"] in shown]
        )
    told = ("layer", "width", "units", "activation_before", "activation_after")
    return {
        "layers": [
            {key: layer[key] for key in told}
            | {"pixels": float(np.mean(layer["total_variation"]["pixels"]))}
            for layer in found["layers"]
        ],
        "side": int(inputs.shape[-1]),
        "seconds": found["provenance"]["seconds"],
    }


def images(folder: Path, layer: Json) -> np.ndarray:
    """Return the images of a layer from a folder of ``frivkit visualize``."""
    parts = [np.load(folder / "pieces" / name)["images"] for name in layer["pieces"]]
    return np.concatenate(parts)


def _write_picture(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Write rows of images as one picture."""
    path.parent.mkdir(exist_ok=True)
    drawn = grid([[picture(image) for image in row] for row in rows])
    Image.open(io.BytesIO(drawn)).save(path, "WEBP", quality=QUALITY)


def slug(name: str) -> str:
    """Return the name of a network in names of files."""
    return name.lower().replace(" ", "-")


def page(stored: Mapping[str, Any], pairs: Mapping[str, Json], paper: Json) -> str:
    """Return the page.

    Args:
        stored: The controls of the pairs, and the packaged networks.
        pairs: The results of ``frivkit visualize`` by name of the pair.
        paper: The paper's table.
    """
    parts = [HEAD.rstrip(), ""]
    for name, found in pairs.items():
        parts += [f"### {PAIRS[name].title}", "", *_ours(found), ""]
    parts += [PAPER_HEAD.rstrip(), "", *_paper(paper), "", _counted(pairs, paper), ""]
    parts += [CONTROL.rstrip(), "", *_controls(stored["controls"], pairs), ""]
    parts += [_counted_controls(stored["controls"]), AFTER_CONTROL.rstrip(), ""]
    parts += [PICTURES.rstrip(), ""]
    for name, found in pairs.items():
        for number, row in enumerate(found["comparisons"], 1):
            title = PAIRS[name].title
            parts += [f"### {title}: `{row['layer']}`", ""]
            parts += [f"![Images of units of {row['layer']} of {title}: the thin network above, "]
            parts[-1] += f"the wide one below](pictures/{name}-{number}.webp)"
            parts += [""]
    parts += [PACKAGED_HEAD.rstrip(), ""]
    for name, network in stored["packages"].items():
        parts += _package(name, network)
    return "\n".join([*parts, *_provenance(stored, pairs)]) + "\n"


def _ours(found: Json) -> Iterator[str]:
    """Yield the table of a pair, with the number of units."""
    widths = [
        {each["layer"]: each["width"] for each in found["layers"] if each["model"] == model}
        for model in (0, 1)
    ]
    columns, rows = table_cells(found["comparisons"])
    yield f"| {' | '.join([columns[0], 'units', *columns[1:]])} |"
    yield "|---" * (len(columns) + 1) + "|"
    for layer, *cells in rows:
        units = " / ".join(str(each[layer]) for each in widths)
        for place in (0, 3):
            cells[place] = _bold(float(cells[place]))
        yield f"| {' | '.join([f'`{layer}`', units, *cells])} |"


def _paper(paper: Json) -> Iterator[str]:
    yield f"| {' | '.join(paper['columns'])} |"
    yield "|---" * len(paper["columns"]) + "|"
    for network, layer, p, effect, p_frequency, effect_frequency in paper["rows"]:
        pixel, frequency = (_bold(each) for each in (p, p_frequency))
        cells = (network, layer, pixel, f"{effect:.3f}", frequency, f"{effect_frequency:.3f}")
        yield f"| {' | '.join(cells)} |"


def _bold(p: float) -> str:
    """Return a p value, bold where the paper's table has it so."""
    return f"**{p:.3f}**" if p < 0.025 or p > 0.975 else f"{p:.3f}"


def _counted(pairs: Mapping[str, Json], paper: Json) -> str:
    """Return how many layers differ, in words, here and in the paper."""
    ours = [row for found in pairs.values() for row in found["comparisons"]]
    sentences = []
    for name, column, key in (("pixels", 2, "pixels"), ("frequencies", 4, "frequencies")):
        here = _extremes([row[key]["p"] for row in ours])
        there = _extremes([row[column] for row in paper["rows"]])
        sentences.append(
            f"By {name}, the thin network's images vary less (p < 0.025) in {here[0]} of "
            f"{len(ours)} layers here and in {there[0]} of {len(paper['rows'])} in the paper, and "
            f"more (p > 0.975) in {here[1]} here and in {there[1]} in the paper."
        )
    return "\n".join(sentences)


def _extremes(values: Sequence[float]) -> tuple[int, int]:
    return sum(p < 0.025 for p in values), sum(p > 0.975 for p in values)


def _controls(controls: Mapping[str, Json], pairs: Mapping[str, Json]) -> Iterator[str]:
    """Yield the table of what the measure says without training, and of what training changes."""
    heads = ["network", "layer", "thin / wide, trained"]
    heads += [f"thin / wide, untrained, seed {seed}" for seed in SEEDS]
    heads += ["trained / untrained, thin", "trained / untrained, wide"]
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for name, control in controls.items():
        sides = [pairs[name]["comparisons"], *control["untrained"], control["thin"]]
        for rows in zip(*sides, control["wide"], strict=True):
            cells = [f"{row['pixels']['effect']:.2f} ({_bold(row['pixels']['p'])})" for row in rows]
            layer = rows[0]["layer"]
            yield f"| {' | '.join([PAIRS[name].title, f'`{layer}`', *cells])} |"


def _counted_controls(controls: Mapping[str, Json]) -> str:
    """Return how many layers of untrained networks differ, in words."""
    rows = [row for each in controls.values() for seed in each["untrained"] for row in seed]
    told = []
    for name in ("pixels", "frequencies"):
        less, more = _extremes([row[name]["p"] for row in rows])
        told.append(f"less (p < 0.025) in {less} and more (p > 0.975) in {more} by {name}")
    start = f"In {len(rows)} comparisons of untrained layers, the thin network's images vary"
    return f"{start} {', and '.join(told)}."


def _package(name: str, network: Json) -> Iterator[str]:
    yield f"### {name}"
    yield ""
    what = SHOWN[name].what
    yield f"{what[0].upper()}{what[1:]}; {network['side']} pixels wide."
    yield ""
    for number, layer in enumerate(network["layers"], 1):
        before, after = (np.array(layer[f"activation_{when}"]) for when in ("before", "after"))
        units = ", ".join(map(str, layer["units"]))
        risen = f"{np.sum(after > before)} of {len(after)} rose"
        yield (
            f"`{layer['layer']}`, units {units} of {layer['width']:,}: activations from "
            f"{np.median(before):.2g} to {np.median(after):.2g} (medians); {risen}."
        )
        yield ""
        yield f"![Images of units of {layer['layer']}](pictures/{slug(name)}-{number}.webp)"
        yield ""


def _provenance(stored: Mapping[str, Any], pairs: Mapping[str, Json]) -> Iterator[str]:
    origin = next(iter(pairs.values()))["provenance"]
    packages = ", ".join(f"{key} {value}" for key, value in origin["packages"].items())
    yield "## Provenance"
    yield ""
    yield f"frivkit {origin['frivkit']}, {packages}, seed 0, one thread."


def write() -> None:
    """Write the page from what is stored."""
    (FOLDER / "README.md").write_text(page(*read()), encoding="utf-8")


def read() -> tuple[Json, dict[str, Json], Json]:
    """Return what is stored: controls and packages, the results of pairs, and the paper's table."""
    stored, paper = (
        json.loads((FOLDER / name).read_bytes()) for name in ("results.json", "paper.json")
    )
    pairs = {n: json.loads((FOLDER / f"data/{n}/results.json").read_bytes()) for n in PAIRS}
    return stored, pairs, paper


def main(arguments: Sequence[str]) -> None:
    """Find images of all networks, or of those that are named; then write the page."""
    store = FOLDER / "results.json"
    stored: Json = json.loads(store.read_bytes()) if store.exists() else {}
    if "--page" not in arguments:
        BUILD.mkdir(parents=True, exist_ok=True)
        for kind, networks, measure in (
            ("controls", PAIRS, measure_pair),
            ("packages", PACKAGES, measure_package),
        ):
            kept = stored.setdefault(kind, {})
            for name, what in networks.items():
                if name in arguments or not arguments:
                    kept[name] = measure(name, what)  # type: ignore[operator]
            stored[kind] = {name: kept[name] for name in networks if name in kept}
        store.write_text(json.dumps(stored, indent=1) + "\n")
    write()


if __name__ == "__main__":
    main(sys.argv[1:])
