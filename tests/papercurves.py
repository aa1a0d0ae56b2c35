"""The paper's own curves, as a sweep would have written them.

``data/paper/targets.json`` holds what was read from the plots of the notebooks published with
Casper et al. 2021: under ``Y`` the number of units of a kind as a share of those of the widest
network, under ``E`` the standard deviation over trials (0 where it cannot be seen).
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from frivkit.experiments.results import encoded_row

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
TARGETS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data/paper/targets.json").read_text()
)
PANELS = {"prun": "prunable", "red": "redundant"}
LABELS = {
    "imagenet": "3a", "resnet18_layer": "3c", "cifar_rand": "4a", "cifar_reg": "4b",
    "cifar_init": "4c", "mlp_summary": "4d", "inception_layerwise": "e4",
    "inceptionlayer_layerwise": "e5", "cifar_init_unif": "e6", "mlp10_init": "e7",
    "mlp10k_init": "e8", "mlp10k_opt": "e9", "imagenet_bs": "e10", "cifar_k": "e11",
}  # fmt: skip
"""The paper's figure of each plot; the others are not in the paper."""
ACCURACIES = {"acc": "test accuracy", "acctest": "test accuracy", "acctrain": "train accuracy"}
PARAMETERS = {
    "e1a": {
        "MLP, 10 inputs": (418, 834, 1666, 3330, 6658),
        "MLP, 10,000 inputs": (320098, 640194, 1280386, 2560770, 5121538),
    },
    "e1b": {
        "AlexNet": (438746, 1749930, 6989642, 27938442, 111713546),
        "ResNet56": (54518, 215362, 856058, 3413482, 13632458),
    },
    "e1c": {
        "ResNet18": (831513, 3057225, 11694249, 45710697, 180713193),
        "Inception-v3": (2286026, 7571266, 27145970),
        "Inception-v3-layer": (25993598, 26350842, 27145970, 29058786, 34174658),
    },
}
"""Numbers of trainable parameters, as the published notebook plot_numparams has them."""
ABLATION = {
    "2a": (
        (100, 61, 42, 26, 17, 13, 10), (100, 67, 44, 29, 17, 12, 10),
        (100, 80, 59, 48, 28, 14, 10), (100, 84, 74, 62, 33, 12, 10),
        (100, 88, 82, 74, 44, 18, 10),
    ),
    "2b": (
        (100, 47, 32, 16, 12, 13, 11), (100, 60, 36, 23, 18, 13, 10),
        (100, 66, 45, 25, 16, 11, 10), (100, 65, 55, 37, 22, 12, 10),
        (100, 75, 62, 38, 15, 11, 10),
    ),
}  # fmt: skip
"""Percent of labels unchanged at sixths of the units ablated, by width, read from the plots."""
INITS = {"2a": "Glorot", "2b": "He", "2c": "Glorot", "2d": "He"}
CORRELATIONS = {"2c": (0.04, 0.048, 0.048), "2d": (0.095, 0.52, 0.72)}
"""Means of the correlations at widths 1/4, 1 and 4; their distributions are made up."""


def grown(plot: str, series: int) -> bool:
    """Whether the units measured grow with the network; the last two of figure E5 do not."""
    return not (plot.endswith("inceptionlayer_layerwise") and series > 0)


def shares(plot: str, series: int) -> list[tuple[float, ...]]:
    """Return the trials of a series of a plot as shares of the network's own units.

    The mean and standard deviation of three trials made up are those of the plot.
    """
    found = []
    for width, y, deviation in zip(
        WIDTHS,
        TARGETS["plots"][plot]["Y"][series],
        TARGETS["plots"][plot]["E"][series],
        strict=True,
    ):
        scale = 4 / width if grown(plot, series) else 1
        mean = y * scale
        reach = min(deviation * scale * math.sqrt(1.5), mean, 1 - mean)
        found.append(() if math.isnan(mean) else (mean - reach, mean, mean + reach))
    return found


def rows(figure, panel, series, width, trials, **more) -> Iterator[dict[str, Any]]:
    for i, value in enumerate(trials):
        yield {"figure": figure, "panel": panel, "series": series, "width": width, "trial": i,
               "value": value, **more}  # fmt: skip


def unit_rows() -> Iterator[dict[str, Any]]:
    for plot, found in TARGETS["plots"].items():
        kind, _, name = plot.partition("/")
        for i, series in enumerate(found["labels"] if name in LABELS else ()):
            more = {} if grown(plot, i) else {"fixed": True}
            for width, trials in zip(WIDTHS, shares(plot, i), strict=True):
                yield from rows(LABELS[name], PANELS[kind], series, width, trials, **more)


def accuracy_rows() -> Iterator[dict[str, Any]]:
    for plot, found in TARGETS["accuracy"].items():
        kind, _, name = plot.partition("/")
        for i, series in enumerate(found["labels"] if name in LABELS else ()):
            for width, percent in zip(WIDTHS, found["Y"][i], strict=True):
                hidden = kind == "acctrain" and percent < 50  # behind other curves
                trials = [] if hidden or math.isnan(percent) else [min(percent / 100, 1)]
                yield from rows(LABELS[name], ACCURACIES[kind], series, width, trials)


def other_rows() -> Iterator[dict[str, Any]]:
    for label, nets in PARAMETERS.items():
        for series, counts in nets.items():
            for width, count in zip(WIDTHS, counts, strict=False):
                yield from rows(label, "parameters", series, width, [count])
    for label, curves in ABLATION.items():
        for name, curve in zip(("1/4", "1/2", "1", "2", "4"), curves, strict=True):
            for level, percent in enumerate(curve):
                series = f"{INITS[label]}, width {name}"
                yield from rows(label, "unchanged labels", series, level / 6, [percent / 100])
    generator = np.random.default_rng(0)
    for label, means in CORRELATIONS.items():
        for width, mean in zip((0.25, 1, 4), means, strict=True):
            drawn = generator.beta(2, 2 / mean - 2, 300)
            yield from rows(label, "correlation", INITS[label], width, drawn.tolist())


def epoch_rows() -> Iterator[dict[str, Any]]:
    """Return rows that do not change with the epochs, as the paper says of its figure E12."""
    for i, accuracy in enumerate((0.493, 0.624, 0.704, 0.745, 0.761)):
        series = f"width {WIDTHS[i]:g}"
        for epochs in (0, 2, 4, 6, 8):
            yield from rows("e12", "accuracy by epochs", series, epochs, [accuracy])
            for kind, panel in PANELS.items():
                trials = shares(f"{kind}/imagenet", 0)[i][1:2]
                yield from rows("e12", f"{panel} by epochs", series, epochs, trials)


def paper_rows() -> Iterator[dict[str, Any]]:
    """Return every row of ``results.jsonl`` that the paper's figures need."""
    yield from unit_rows()
    yield from accuracy_rows()
    yield from other_rows()
    yield from epoch_rows()


def write_results(folder: Path) -> Path:
    """Write ``results.jsonl`` into a folder and give the folder."""
    (folder / "results.jsonl").write_bytes(b"".join(map(encoded_row, paper_rows())))
    return folder
