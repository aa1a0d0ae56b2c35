"""One training step of each network for ImageNet, at its true input size, on a CPU.

``python -m benchmarks.parts.imagenet_steps PAGE`` trains each network of the recipe ``fig3`` for
one step on two random images, writes its checkpoint and its ONNX file, and puts a table into PAGE.
"""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.report.markdown import table
from frivkit.experiments.jobs import SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.results_page import BEGIN, END
from frivkit.experiments.train import train
from frivkit.graph.cost import macs
from frivkit.measure.pipeline import Request, load_model
from frivkit.progress import Silent
from frivkit_sweep_networks.network import NetworkJob
from frivkit_sweep_networks.points import fraction

IMAGES, CLASSES, STEP = 1_281_167, 1001, 2
"""Images and classes of the training set, with the background class; images of a step."""
SUSTAINED = 50e12
"""Floating-point operations a second that the estimate assumes of a GPU."""
AUGMENTATION = ("crop", "flip")
"""Options of the recipe that are left out, since the images are random numbers."""


class Clock(Silent):
    """Measures the time of the training and of the checkpoint after it."""

    seconds = math.nan

    def start(self, what: str, steps: int) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def advance(self, steps: int = 1) -> None:
        """Read the clock after a step."""
        if steps:
            self.seconds = time.perf_counter() - self._began


def jobs() -> Iterator[NetworkJob]:
    """Yield the networks of figure 3, each once."""
    (plan,) = read_recipe("fig3", SweepRequest(data=("imagenet:/",)))
    for job in plan.remaining_jobs([])[0]:
        if isinstance(job, NetworkJob):
            yield job


def row(job: NetworkJob, folder: Path) -> list[str]:
    """Train a network for a step, and return its row of the table."""
    side = 224 if job.architecture == "resnet18" else 299
    random = np.random.default_rng(0)
    images = random.normal(size=(STEP, 3, side, side)).astype(np.float32)
    np.savez(folder / "images.npz", x=images, y=np.array([0, CLASSES - 1]))
    options = {key: value for key, value in job.options.items() if key not in AUGMENTATION}
    options |= {"epochs": "1", "batch": str(STEP), "k": "1", "checkpoint": str(folder / "state")}
    clock = Clock()
    trained = train(
        job.architecture,
        f"npz:{folder / 'images.npz'}",
        folder / "net.onnx",
        test_data=f"npz:{folder / 'images.npz'}",
        width=job.width,
        options={"protocol": "reference", **options},
        trainer="lab",
        trainer_options=job.trainer_options,
        progress=clock,
    )
    (loss,) = trained.record.losses
    assert math.isfinite(loss)  # noqa: S101  # the trainer raises an error otherwise
    macs_of_one = macs(load_model(Request(folder / "net.onnx")).graph) or math.nan
    flops = 6 * macs_of_one * IMAGES * int(job.options["epochs"])
    return [
        f"`{job.architecture}`",
        fraction(job.width),
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
    for job in jobs():
        with TemporaryDirectory() as folder:
            rows.append(row(job, Path(folder)))
            print(*rows[-1], flush=True)
    heads = ["network", "width", "pixels a side", "million parameters", "billion multiply-adds"]
    heads += ["loss", "step, s", "with export and check, s", "GPU hours"]
    text = page.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    made = f"{before}{BEGIN}\n\n{table(heads, rows)}\n\n{END}{after}"
    page.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
