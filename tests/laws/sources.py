"""Small data of each format that a built-in source reads, and a spec of other content."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from frivkit.data import TensorSpec


@dataclass(frozen=True)
class SourceCase:
    """A spec to open, one of other content, and the inputs of a model."""

    spec: str
    other: str
    inputs: tuple[TensorSpec, ...] = field(default=())


def arrays(seed: int, examples: int = 12) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 256, (examples, 1, 5, 4), dtype=np.uint8)
    return {"x": x, "y": np.arange(examples) % 3}


def npz(folder: Path) -> SourceCase:
    for seed, name in enumerate("ab"):
        np.savez(folder / f"{name}.npz", **arrays(seed))
    return SourceCase(f"npz:{folder / 'a.npz'}", f"npz:{folder / 'b.npz'}")


def npy(folder: Path) -> SourceCase:
    for seed, name in enumerate("ab"):
        np.save(folder / f"{name}.npy", arrays(seed)["x"])
    return SourceCase(f"npy:{folder / 'a.npy'}", f"npy:{folder / 'b.npy'}")


def hdf5(folder: Path) -> SourceCase:
    for seed, name in enumerate("ab"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            for key, array in arrays(seed).items():
                file[key] = array
    return SourceCase(f"hdf5:{folder / 'a.h5'}", f"hdf5:{folder / 'b.h5'}")


def idx(folder: Path) -> SourceCase:
    for seed, prefix in enumerate(("t10k", "train")):
        for what, array in zip(("images", "labels"), arrays(seed).values(), strict=True):
            content = array.reshape(12, 5, 4) if what == "images" else array.astype(np.uint8)
            head = struct.pack(f">{1 + content.ndim}I", 0x0800 + content.ndim, *content.shape)
            path = folder / f"{prefix}-{what}-idx{content.ndim}-ubyte"
            path.write_bytes(head + content.tobytes())
    return SourceCase(f"idx:{folder}", f"idx:{folder}?split=train")


def cifar10(folder: Path) -> SourceCase:
    generator = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = generator.integers(0, 256, (4, 3073), dtype=np.uint8)
        rows[:, 0] %= 10
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    return SourceCase(f"cifar10:{folder}", f"cifar10:{folder}?split=train&validation=4")


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def images(folder: Path) -> SourceCase:
    for seed in range(4):
        draw(folder / "a" / f"{seed % 2}" / f"{seed}.png", seed)
        draw(folder / "b" / f"{seed % 2}" / f"{seed}.png", seed + 4)
    return SourceCase(f"images:{folder / 'a'}", f"images:{folder / 'b'}")


def imagenet(folder: Path) -> SourceCase:
    for seed in range(4):
        draw(folder / "train" / f"n{seed % 2}" / f"{seed}.png", seed)
        draw(folder / "val" / f"n{seed % 2}" / f"{seed}.png", seed + 4)
    return SourceCase(f"imagenet:{folder}", f"imagenet:{folder}?split=train")


INPUT = (TensorSpec("x", "float32", (3, 4)),)
SOURCES: Mapping[str, Callable[[Path], SourceCase]] = {
    "cifar10": cifar10,
    "digits": lambda folder: SourceCase("digits", "digits?split=test"),
    "gaussian": lambda folder: SourceCase("gaussian?n=9", "gaussian?n=9&seed=1", INPUT),
    "hdf5": hdf5,
    "idx": idx,
    "imagenet": imagenet,
    "images": images,
    "npy": npy,
    "npz": npz,
    "teacher": lambda folder: SourceCase("teacher?n=9", "teacher?n=9&seed=1"),
}
