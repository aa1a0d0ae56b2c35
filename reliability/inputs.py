"""The small models, data and recipe that kills, concurrency, starvation and attacks run on."""

import shutil
from pathlib import Path

import numpy as np

from reliability.fuzz.seeds import RECIPE
from reliability.fuzz.table_mutations import as_toml
from tests.program import write_cnn

INPUTS = ("net.onnx", "wide.onnx", "x.npz", "recipe.toml")
SIDE = 12
CLASSES = 4


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
    write_cnn(folder / "net.onnx", 12, SIDE)
    write_cnn(folder / "wide.onnx", 24, SIDE)
    write_data(folder / "x.npz")
    write_recipe(folder / "recipe.toml")


def copy_inputs(written: Path, folder: Path) -> None:
    """Copy them from one folder into another."""
    folder.mkdir(exist_ok=True)
    for name in INPUTS:
        shutil.copy(written / name, folder / name)
