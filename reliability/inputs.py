"""The small models, data and recipe that kills, concurrency, starvation and attacks run on."""

import shutil
from pathlib import Path

import numpy as np
import onnx

from reliability.fuzz.seeds import RECIPE
from reliability.fuzz.table_mutations import as_toml
from tests.handmade import written

INPUTS = ("net.onnx", "x.npz", "recipe.toml")
SIDE = 12
CLASSES = 4


def write_model(path: Path, channels: int = 12) -> Path:
    """Write a network of two convolutions on (1, 12, 12)."""
    model = written(
        f"""g (float[N, 1, {SIDE}, {SIDE}] x) => (float[N, {CLASSES}] logits) {{
          conv1 = Conv <pads = [1, 1, 1, 1]> (x, u)
          a = Relu (conv1)
          conv2 = Conv <pads = [1, 1, 1, 1]> (a, v)
          b = Relu (conv2)
          c = GlobalAveragePool (b)
          d = Flatten (c)
          logits = Gemm <transB = 1> (d, w)
        }}""",
        u=(channels, 1, 3, 3),
        v=(channels, channels, 3, 3),
        w=(CLASSES, channels),
    )
    onnx.save(model, path)
    return path


def write_data(path: Path, examples: int = 400) -> Path:
    """Write an npz of examples of that network, and labels."""
    x = np.random.default_rng(1).normal(size=(examples, 1, SIDE, SIDE)).astype(np.float32)
    np.savez(path, x=x, y=np.arange(examples) % CLASSES)
    return path


def write_recipe(path: Path) -> Path:
    """Write a recipe of three small networks."""
    scales = {"full": {"widths": [0.125], "seeds": [0, 1, 2]}}
    path.write_text(as_toml({**RECIPE, "scales": scales}))
    return path


def write_inputs(folder: Path) -> None:
    """Write all of these into a new folder, under the names of :data:`INPUTS`."""
    folder.mkdir(parents=True)
    write_model(folder / "net.onnx")
    write_data(folder / "x.npz")
    write_recipe(folder / "recipe.toml")


def copy_inputs(written: Path, folder: Path) -> None:
    """Copy them from one folder into another."""
    folder.mkdir(exist_ok=True)
    for name in INPUTS:
        shutil.copy(written / name, folder / name)
