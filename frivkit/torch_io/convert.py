"""Write a network as ONNX, and compare the two."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
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
from frivkit.torch_io.export import TOLERANCE
from frivkit.torch_io.network import Network, output_names, reason_of

SIZES = (2, 3)
"""Batch sizes at which the two are compared where any will do."""

Made = TypeVar("Made")


def convert(network: Network, examples: Mapping[str, Array], batch: int, path: Path) -> None:
    """Write a network as an ONNX file, after a comparison of their outputs on the examples.

    Args:
        network: What torch runs.
        examples: For each input an array of examples, shape (n, ...), n at least 1; few are made
            more by noise, or where they are whole numbers taken over again.
        batch: The batch size to write where the network does not take any.
        path: Where to, in a folder that holds nothing else.

    Raises:
        ModelError: the network does not run on the examples, cannot be written as ONNX, or gives
            other outputs there, by more than 1e-5 of the largest (of 1 at least).
    """
    examples = {name: _varied(array) for name, array in examples.items()}
    with _quiet():
        sizes, made = _tried(network, examples, batch)
        names = output_names(len(made[0]), examples)
        free = _free(examples, names, made, sizes)
        arrays = _taken(examples, sizes[0])
        graph = _or_reason(
            lambda: network.graph(arrays, names, free, path.parent),
            "it cannot be written as ONNX",
        )
        _or_reason(lambda: _write(graph, path), "what was made of it is not valid ONNX")
        _compare(path, names, [_fed(examples, size) for size in sizes], made)


def _tried(
    network: Network, examples: Mapping[str, Array], batch: int
) -> tuple[tuple[int, ...], list[list[Array]]]:
    """Return the batch sizes to compare at, and the outputs at each.

    There is one size where the network takes no other, as one that was traced for it.
    """
    try:
        made = [network.run(_taken(examples, size)) for size in SIZES]
        again = network.run(_taken(examples, SIZES[0]))
    except FrivkitError:
        raise
    except Exception:  # torch raises what it likes
        made = []
    if made and any(_follow(parts, SIZES) for parts in zip(*made, strict=True)):
        sizes: tuple[int, ...] = SIZES
    else:
        sizes = (batch,)
        shapes = ", ".join(
            f"{name} {'x'.join(map(str, (batch, *array.shape[1:])))} {array.dtype}"
            for name, array in examples.items()
        )
        fixed = _taken(examples, batch)
        made = [_or_reason(lambda: network.run(fixed), f"it cannot be run on {shapes}")]
        again = network.run(fixed)
    if any(_distance(a, b) > 0 for a, b in zip(made[0], again, strict=True)):
        raise ModelError(
            "it gives other outputs each time, perhaps because it was traced or exported in "
            "training mode: call .eval() first"
        )
    return sizes, made


def _follow(parts: Sequence[Array], sizes: Sequence[int]) -> bool:
    """Whether the first axis of an output is as long as the batch."""
    return all(part.shape[:1] == (size,) for part, size in zip(parts, sizes, strict=True))


def _free(
    examples: Mapping[str, Array],
    names: Sequence[str],
    made: Sequence[Sequence[Array]],
    sizes: Sequence[int],
) -> list[str]:
    if len(sizes) == 1:
        return []
    outputs = zip(names, zip(*made, strict=True), strict=True)
    return [*examples, *(name for name, parts in outputs if _follow(parts, sizes))]


def _varied(array: Array) -> Array:
    """Add noise to few examples, which are often zeros and would prove little alone."""
    missing = max(SIZES) - len(array)
    if missing <= 0 or array.dtype.kind != "f":
        return array
    noise = np.random.default_rng(0).standard_normal((missing, *array.shape[1:]))
    return np.concatenate([array, noise.astype(array.dtype)])


def _taken(examples: Mapping[str, Array], size: int) -> list[Array]:
    return [np.resize(array, (size, *array.shape[1:])) for array in examples.values()]


def _fed(examples: Mapping[str, Array], size: int) -> dict[str, Array]:
    return dict(zip(examples, _taken(examples, size), strict=True))


def _write(model: ir.Model, path: Path) -> None:
    ClearMetadataAndDocStringPass()(model)  # it tells where on whose disk the network was written
    weights = (value.const_value for value in model.graph.initializers.values())
    apart = sum(weight.nbytes for weight in weights if weight is not None) > LARGEST_INLINE
    ir.save(model, path, external_data=f"{path.name}.data" if apart else None)
    onnx.checker.check_model(str(path), full_check=True)


def _compare(
    path: Path,
    names: Sequence[str],
    feeds: Sequence[Mapping[str, Array]],
    made: Sequence[Sequence[Array]],
) -> None:
    session = Session(path, Device())
    for fed, expected in zip(feeds, made, strict=True):
        found = session.run(fed, names)
        for name, a, b in zip(names, expected, found, strict=True):
            bound = _bound(a)
            distance = _distance(a, b)
            if not distance <= bound:
                raise ModelError(
                    f"as ONNX it gives an {name} that is {distance:.2g} away from torch's, more "
                    f"than {bound:.2g}; it is not used"
                )


def _bound(expected: Array) -> float:
    finite = np.abs(expected[np.isfinite(expected)].astype(np.float64))
    share = TOLERANCE
    if expected.dtype == np.float16:  # whose last digit is 1e-3 of the number
        share = 8 * float(np.finfo(np.float16).eps)
    return share * max(1.0, float(finite.max(initial=0)))


def _distance(a: Array, b: Array) -> float:
    """Return the largest distance between outputs; infinite where they are of other shapes."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0))


def _or_reason(do: Callable[[], Made], what: str) -> Made:
    try:
        return do()
    except FrivkitError:
        raise
    except Exception as error:  # torch and onnx share no error class
        raise ModelError(f"{what}: {reason_of(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to ourselves what torch says on the way; what matters is found by the comparison."""
    log = logging.getLogger("torch.onnx")
    was = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(was)
