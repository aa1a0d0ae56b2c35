"""What a CPU can say of the recipes on ImageNet: one step of each network at its true input size.

``python -m benchmarks.imagenetsteps PAGE`` trains each network of the recipe ``fig3`` for one step
on two random images, writes its checkpoint and its ONNX file, and puts a table into PAGE.
"""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.markdown import table
from frivkit.graph.cost import macs
from frivkit.pipeline import Request, load_model
from frivkit.progress import Silent
from frivkit.sweep.page import BEGIN, END
from frivkit.sweep.recipe import read_recipe
from frivkit.sweep.work import Asked
from frivkit.train import train
from frivkit_netlab.network import NetworkWork
from frivkit_netlab.points import fraction

IMAGES, CLASSES, STEP = 1_281_167, 1001, 2
"""Of the training set; of it, with the background; and of the step made here."""
SUSTAINED = 50e12
"""Floating-point operations a second that a GPU is taken to sustain."""
AUGMENTATION = ("crop", "flip")
"""Options of the recipe that want images; random numbers have no sides."""


class Clock(Silent):
    """Times the training, with the checkpoint that is written behind it."""

    seconds = math.nan

    def start(self, what: str, steps: int) -> None:
        """Begin to count."""
        self._began = time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        """Count what is done."""
        if steps:
            self.seconds = time.perf_counter() - self._began


def works() -> Iterator[NetworkWork]:
    """Give the networks of figure 3, each once."""
    (plan,) = read_recipe("fig3", Asked(data=("imagenet:/",)))
    for work in plan.missing([])[0]:
        if isinstance(work, NetworkWork):
            yield work


def row(work: NetworkWork, folder: Path) -> list[str]:
    """Train a network for a step, and tell what that took."""
    side = 224 if work.architecture == "resnet18" else 299
    random = np.random.default_rng(0)
    images = random.normal(size=(STEP, 3, side, side)).astype(np.float32)
    np.savez(folder / "images.npz", x=images, y=np.array([0, CLASSES - 1]))
    options = {key: value for key, value in work.options.items() if key not in AUGMENTATION}
    options |= {"epochs": "1", "batch": str(STEP), "k": "1", "checkpoint": str(folder / "state")}
    clock = Clock()
    trained = train(
        work.architecture,
        f"npz:{folder / 'images.npz'}",
        folder / "net.onnx",
        test_data=f"npz:{folder / 'images.npz'}",
        width=work.width,
        options={"protocol": "reference", **options},
        trainer="lab",
        trainer_options=work.trainer_options,
        progress=clock,
    )
    (loss,) = trained.record.losses
    assert math.isfinite(loss)  # noqa: S101  # the trainer sees to it
    macs_of_one = macs(load_model(Request(folder / "net.onnx")).graph) or math.nan
    flops = 6 * macs_of_one * IMAGES * int(work.options["epochs"])
    return [
        f"`{work.architecture}`",
        fraction(work.width),
        str(side),
        f"{trained.parameters / 1e6:.1f}",
        f"{macs_of_one / 1e9:.2f}",
        f"{loss:.1f}",
        f"{clock.seconds:.1f}",
        f"{trained.seconds:.0f}",
        f"{flops / SUSTAINED / 3600:.0f}",
    ]


def main(page: Path) -> None:
    """Put the table into a page."""
    rows = []
    for work in works():
        with TemporaryDirectory() as folder:
            rows.append(row(work, Path(folder)))
            print(*rows[-1], flush=True)
    heads = ["network", "width", "pixels a side", "million parameters", "billion multiply-adds"]
    heads += ["loss", "step, s", "with export and check, s", "GPU hours"]
    text = page.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    made = f"{before}{BEGIN}\n\n{table(heads, rows)}\n\n{END}{after}"
    page.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
