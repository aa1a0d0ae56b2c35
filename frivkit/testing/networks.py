"""Small networks with labelled data for tests of plugins, and changes of known effect.

Two are built from weights, so that units can be put in another order, copied and switched off.  Any
of :data:`frivkit.testing.tiny_models.TINY_MODELS` can have data, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import signature
from frivkit.testing.tiny_models import HEADER, TINY_MODELS, evaluate, write

Float32Array = NDArray[np.float32]

EXAMPLES = 50
"""Examples of each network; their classes take turns."""
CLASSES = 3


@dataclass(frozen=True, slots=True, eq=False)
class TinyNetwork:
    """Convolutions, then dense layers; each but the last has a ReLU, each convolution max pooling.

    Attributes:
        shape: The shape of an example, channels first.
        layers: For each layer by name, in order, its weight, shape (units, inputs) or (units,
            inputs, 3, 3), and its bias, shape (units,).
    """

    shape: tuple[int, ...]
    layers: Mapping[str, tuple[Float32Array, Float32Array]]

    @property
    def hidden(self) -> tuple[str, ...]:
        """The names of the layers whose units are measured: all but the last."""
        return tuple(self.layers)[:-1]

    def units(self, layer: str) -> int:
        """Return the number of units of a layer, feature maps in a convolution."""
        return len(self.layers[layer][1])

    def rewired(self, layer: str, units: Sequence[int]) -> "TinyNetwork":
        """Return a network that computes the same with other units in a hidden layer.

        Args:
            layer: The layer.
            units: For each new unit the old one whose weights it takes.  Every old one must occur.
                Copies share the weights behind them, so that their sum counts as the old one did.

        Example:
            >>> network = small_mlp()
            >>> weights = network.weights.rewired("second", [5, 0, 1, 2, 3, 4, 5])
            >>> outputs = evaluate(weights.model(), network.x)
            >>> bool(np.allclose(outputs, evaluate(network.model, network.x), atol=1e-5))
            True
        """
        names = list(self.layers)
        reader = names[names.index(layer) + 1]
        old = np.asarray(units)
        weight, bias = self.layers[layer]
        read, read_bias = self.layers[reader]
        share = 1 / np.bincount(old, minlength=len(bias))[old]
        by_unit = read.reshape(len(read), len(bias), -1)[:, old] * share[:, np.newaxis]
        narrowed = by_unit.reshape(len(read), -1, *read.shape[2:]).astype(np.float32)
        changed = {layer: (weight[old], bias[old]), reader: (narrowed, read_bias)}
        return replace(self, layers={**self.layers, **changed})

    def scaled(self, layer: str, factor: float) -> "TinyNetwork":
        """Return a network that computes the same with a hidden layer's units scaled.

        Args:
            layer: The layer.
            factor: What its units are multiplied by, above 0; what reads them is divided by it.

        Example:
            >>> network = small_mlp()
            >>> outputs = evaluate(network.weights.scaled("first", 4.0).model(), network.x)
            >>> bool(np.allclose(outputs, evaluate(network.model, network.x), atol=1e-5))
            True
        """
        names = list(self.layers)
        reader = names[names.index(layer) + 1]
        (weight, bias), (read, read_bias) = self.layers[layer], self.layers[reader]
        by = np.float32(factor)
        changed = {layer: (weight * by, bias * by), reader: (read / by, read_bias)}
        return replace(self, layers={**self.layers, **changed})

    def silenced(self, layer: str, unit: int) -> "TinyNetwork":
        """Return the network with one unit of a hidden layer off, whatever the example.

        Example:
            >>> weights = small_mlp().weights.silenced("first", 2)
            >>> weights.layers["first"][0][2].any(), float(weights.layers["first"][1][2])
            (np.False_, -1.0)
        """
        weight, bias = (array.copy() for array in self.layers[layer])
        weight[unit], bias[unit] = 0, -1
        return replace(self, layers={**self.layers, layer: (weight, bias)})

    def model(self) -> ir.Model:
        """Return it as a graph with input ``x`` and output ``y``; nodes are named after layers."""
        sizes, lines, value = ", ".join(map(str, self.shape)), [], "x"
        flat = len(self.shape) == 1
        for name, (weight, _) in self.layers.items():
            dense, last = weight.ndim == 2, name not in self.hidden
            if dense and not flat:
                lines.append(f"flat = Flatten ({value})")
                value, flat = "flat", True
            op = "Gemm <transB = 1>" if dense else "Conv <pads = [1, 1, 1, 1]>"
            patch_moments = "y" if last else f"{name}_sums"
            lines.append(f"[{name}] {patch_moments} = {op} ({value}, {name}_weight, {name}_bias)")
            if not last:
                lines.append(f"{name}_units = Relu ({name}_sums)")
                value = f"{name}_units"
            if not dense:
                pool = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"
                lines.append(f"{name}_pooled = {pool} ({value})")
                value = f"{name}_pooled"
        weights = [
            ir.tensor(array, name=f"{name}_{what}")
            for name, both in self.layers.items()
            for what, array in zip(("weight", "bias"), both, strict=True)
        ]
        wanted = ", ".join(f"float{list(tensor.shape)} {tensor.name}" for tensor in weights)
        takes = f"float[N, {sizes}] x, {wanted}"
        classes = self.units(list(self.layers)[-1])
        body = "\n".join(lines)
        text = f"{HEADER} small ({takes}) => (float[N, {classes}] y) {{\n{body}\n}}"
        model = ir.from_onnx_text(text, initializers=weights)
        del model.graph.inputs[1:]
        return model


@dataclass(frozen=True, slots=True, eq=False)
class LabelledNetwork:
    """A network with labelled data.

    Attributes:
        name: Its name in messages and files.
        model: The graph, with input ``x`` and output ``y``.
        x: Examples, shape (n, *example).
        y: Their classes, shape (n,).
        weights: The weights it was built from, None for one of the tiny models.
    """

    name: str
    model: ir.Model
    x: Float32Array
    y: NDArray[np.int64]
    weights: TinyNetwork | None = None

    def reordered(self, order: NDArray[np.int64]) -> "LabelledNetwork":
        """Return the same network with the examples in another order."""
        return replace(self, name=f"{self.name}-reordered", x=self.x[order], y=self.y[order])

    def instead(self, how: str, weights: TinyNetwork) -> "LabelledNetwork":
        """Return another network with the same data."""
        name = f"{self.name}-{how}"
        return replace(self, name=name, model=weights.model(), weights=weights)

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``NAME.onnx`` and ``NAME.npz`` (``x`` and ``y``), in place of older files.

        Raises:
            OSError: they cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"{self.name}.npz"
        np.savez(data, x=self.x, y=self.y)
        return write(self.model, folder / f"{self.name}.onnx"), data


@cache
def small_mlp() -> LabelledNetwork:
    """Return a classifier of three classes of points: dense layers of 8, 6 and 3 units."""
    return _fitted("mlp", (6,), {"first": (8, 6), "second": (6, 8)})


@cache
def small_cnn() -> LabelledNetwork:
    """Return two convolutions of 5 and 6 maps and dense layers of 7 and 3 units, on 8x8 images."""
    layers = {"first": (5, 2, 3, 3), "second": (6, 5, 3, 3), "third": (7, 24)}
    return _fitted("cnn", (2, 8, 8), layers)


@cache
def wide_cnn() -> LabelledNetwork:
    """Return convolutions of 32 and 48 maps and dense layers of 16 and 3 units, on 8x8 images."""
    layers = {"first": (32, 2, 3, 3), "second": (48, 32, 3, 3), "third": (16, 192)}
    return _fitted("wide", (2, 8, 8), layers)


@cache
def tiny(name: str) -> LabelledNetwork:
    """Return one of the tiny models by name, with normal data and labels unrelated to them.

    Example:
        >>> tiny("maps").x.shape
        (50, 2, 2, 2)
    """
    model = TINY_MODELS[name]()
    (takes,), _ = signature(model.graph, name)
    sizes = (EXAMPLES, *(size or 1 for size in takes.shape))
    drawn = np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    return LabelledNetwork(name, model, drawn, np.arange(EXAMPLES) % 2)


def _fitted(
    name: str, shape: tuple[int, ...], sizes: Mapping[str, tuple[int, ...]]
) -> LabelledNetwork:
    """Return a network whose hidden units are off half of the time, its last layer fitted."""
    generator = np.random.default_rng(0)
    y = np.arange(EXAMPLES) % CLASSES
    centres = generator.standard_normal((CLASSES, *shape))
    x = (centres[y] + 0.4 * generator.standard_normal((EXAMPLES, *shape))).astype(np.float32)
    layers: dict[str, tuple[Float32Array, Float32Array]] = {}
    for layer, size in sizes.items():
        weight = generator.standard_normal(size).astype(np.float32)
        weight *= np.float32(prod(size[1:]) ** -0.5)
        layers[layer] = (weight, np.zeros(size[0], np.float32))
        patch_moments = np.moveaxis(evaluate(TinyNetwork(shape, layers).model(), x), 1, 0)
        layers[layer] = (weight, -np.median(patch_moments.reshape(size[0], -1), axis=1))
    units = len(patch_moments)
    as_it_is = (np.eye(units, dtype=np.float32), np.zeros(units, np.float32))
    features = evaluate(TinyNetwork(shape, {**layers, "last": as_it_is}).model(), x)
    columns = np.column_stack([features, np.ones(EXAMPLES)])
    fit = np.linalg.lstsq(columns, np.eye(CLASSES)[y], rcond=None)[0].astype(np.float32)
    weights = TinyNetwork(shape, {**layers, "last": (fit[:-1].T.copy(), fit[-1].copy())})
    return LabelledNetwork(name, weights.model(), x, y, weights)
