"""Write a network as ONNX, and compare its outputs in torch and in ONNX Runtime."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from frivkit.data import Array
from frivkit.errors import FrivkitError, ModelError
from frivkit.graph.onnx_io.limits import LARGEST_INLINE
from frivkit.runtime.session import Device, Session
from frivkit.torch_io.difference import allowed_difference, difference
from frivkit.torch_io.export import TOLERANCE, TRACING
from frivkit.torch_io.network import Network, output_names, reason_of

SIZES = (2, 3)
"""Batch sizes of the comparison, for networks that take any batch size."""

Result = TypeVar("Result")


def convert(
    network: Network,
    examples: Mapping[str, Array],
    batch: int,
    path: Path,
    fixed: Mapping[str, Array] | None = None,
) -> None:
    """Write a network as an ONNX file, and compare its outputs with those of torch on examples.

    Args:
        network: The network in torch.
        examples: For each input an array of examples, shape (n, ...), n at least 1.  If there are
            fewer than three, noise is added to floats, and integers are repeated.
        batch: The batch size to write if the network does not take any batch size.
        path: The file to write, in a folder without other files.
        fixed: Arrays of the inputs that have no axis for examples, the same in every run.

    Raises:
        ModelError: the network does not run on the examples, cannot be written as ONNX, or its
            outputs differ by more than 1e-5 of the largest (of 1 at least).
    """
    examples = {name: _varied(array) for name, array in examples.items()}
    feeds = BatchFeeds(network.inputs, examples, fixed or {})
    with _quiet():
        sizes, outputs = _torch_outputs(network, feeds, batch)
        names = output_names(len(outputs[0]), network.inputs)
        free = _free(examples, names, outputs, sizes)
        arrays = feeds.in_order(sizes[0])
        graph = _or_reason(
            lambda: network.graph(arrays, names, free, path.parent),
            "it cannot be written as ONNX",
        )
        _or_reason(lambda: _write(graph, path), "torch wrote it as invalid ONNX")
        _compare(path, names, [feeds.by_name(size) for size in sizes], outputs)


@dataclass(frozen=True, slots=True, eq=False)
class BatchFeeds:
    """What a network is fed, at any batch size.

    Attributes:
        names: The inputs in order.
        examples: Arrays of examples, shape (n, ...), repeated or cut to the batch size.
        fixed: Arrays that are the same at any batch size.
    """

    names: Sequence[str]
    examples: Mapping[str, Array]
    fixed: Mapping[str, Array]

    def by_name(self, size: int) -> dict[str, Array]:
        """Return the arrays for a batch size by input."""
        return {
            name: self.fixed[name] if name in self.fixed else _resized(self.examples[name], size)
            for name in self.names
        }

    def in_order(self, size: int) -> list[Array]:
        """Return the arrays for a batch size in the order of the inputs."""
        return list(self.by_name(size).values())


def _torch_outputs(
    network: Network, feeds: BatchFeeds, batch: int
) -> tuple[tuple[int, ...], list[list[Array]]]:
    """Return the batch sizes of the comparison, and the outputs of torch at each.

    There is one size only if the network takes no other, because it was traced at that size.
    """
    try:
        outputs = [network.run(feeds.in_order(size)) for size in SIZES]
        again = network.run(feeds.in_order(SIZES[0]))
    except FrivkitError:
        raise
    except Exception:  # torch may raise anything
        outputs = []
    if outputs and any(_follow(parts, SIZES) for parts in zip(*outputs, strict=True)):
        sizes: tuple[int, ...] = SIZES
    else:
        sizes = (batch,)
        shapes = ", ".join(
            f"{name} {'x'.join(map(str, array.shape)) or 'one number'} {array.dtype}"
            for name, array in feeds.by_name(batch).items()
        )
        arrays = feeds.in_order(batch)
        outputs = [_or_reason(lambda: network.run(arrays), f"it cannot be run on {shapes}")]
        again = network.run(arrays)
    if any(difference(a, b) > 0 for a, b in zip(outputs[0], again, strict=True)):
        raise ModelError(
            "its outputs change from run to run, perhaps because it was traced or exported in "
            "training mode: call .eval() first"
        )
    return sizes, outputs


def _follow(parts: Sequence[Array], sizes: Sequence[int]) -> bool:
    """Whether the first axis of an output has the size of the batch, at each batch size."""
    return all(part.shape[:1] == (size,) for part, size in zip(parts, sizes, strict=True))


def _free(
    examples: Mapping[str, Array],
    names: Sequence[str],
    outputs: Sequence[Sequence[Array]],
    sizes: Sequence[int],
) -> list[str]:
    if len(sizes) == 1:
        return []
    by_name = zip(names, zip(*outputs, strict=True), strict=True)
    return [*examples, *(name for name, parts in by_name if _follow(parts, sizes))]


def _varied(array: Array) -> Array:
    """Return at least three examples of floats: noise is added, as examples are often zeros."""
    missing = max(SIZES) - len(array)
    if missing <= 0 or array.dtype.kind != "f":
        return array
    noise = np.random.default_rng(0).standard_normal((missing, *array.shape[1:]))
    return np.concatenate([array, noise.astype(array.dtype)])


def _resized(array: Array, size: int) -> Array:
    return np.resize(array, (size, *array.shape[1:]))


def _write(model: ir.Model, path: Path) -> None:
    ClearMetadataAndDocStringPass()(model)  # it contains paths of the computer that wrote it
    weights = (value.const_value for value in model.graph.initializers.values())
    apart = sum(weight.nbytes for weight in weights if weight is not None) > LARGEST_INLINE
    ir.save(model, path, external_data=f"{path.name}.data" if apart else None)
    onnx.checker.check_model(str(path), full_check=True)


def _compare(
    path: Path,
    names: Sequence[str],
    inputs: Sequence[Mapping[str, Array]],
    outputs: Sequence[Sequence[Array]],
) -> None:
    session = Session(path, Device())
    for arrays, expected in zip(inputs, outputs, strict=True):
        actual = session.run(arrays, names)
        for name, a, b in zip(names, expected, actual, strict=True):
            bound = allowed_difference(a, TOLERANCE)
            distance = difference(a, b)
            if not distance <= bound:
                raise ModelError(
                    f"its {name} in ONNX Runtime differs from torch's by {distance:.2g}, more than "
                    f"{bound:.2g}; it is not used"
                )


def _or_reason(do: Callable[[], Result], what: str) -> Result:
    try:
        return do()
    except FrivkitError:
        raise
    except Exception as error:  # torch and onnx share no error class
        raise ModelError(f"{what}: {reason_of(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress messages and warnings of torch; the comparison shows what matters."""
    log = logging.getLogger("torch.onnx")
    with TRACING:  # the settings are those of all threads
        level = log.level
        log.setLevel(logging.CRITICAL)
        try:
            with warnings.catch_warnings(), redirect_stdout(StringIO()):
                warnings.simplefilter("ignore")
                yield
        finally:
            log.setLevel(level)
