"""Large weights that a session reads where they lie: an array, or a file that is mapped.

A graph that is handed over as bytes has every weight twice, and ONNX Runtime makes further copies
when it reads them.  Large weights are handed over by reference instead: the graph only names them.
ONNX Runtime copies these once, in the order in which its kernels read them.

That copy is left out where weights of more than :data:`MAPPED` bytes lie in files of their own:
kernels then read them in the mapped file, so that the network needs no memory for them which the
system could not take back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import external_tensor
from frivkit.graph.onnx_io.limits import LARGEST_INLINE
from frivkit.mapped_pages import place_of

LEAST = 1 << 20
"""Bytes of a weight from which it is handed over by reference."""
MAPPED = 512 << 20
"""Bytes of weights in files of their own from which they are read there; 512 MiB.

Batches of 16 to 64 examples took up to a fifth longer, and opening took no time.
"""
TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16})
"""Number types of such weights, which are the same in numpy and in ONNX."""
READERS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Gather"})
"""Operators whose weights ONNX Runtime does not rewrite under their own name.

It may transpose a constant of others in its place, such as a summand.
"""

Arrays = dict[str, NDArray[np.floating]]


@dataclass(frozen=True, slots=True, eq=False)
class HandedOver:
    """A graph that only names its large weights, and these.

    Attributes:
        model: The graph.
        copied: Weights by their names, which a session copies.
        kept: Those that it reads where they lie.
        folder: The folder of the files that the graph names; None if it names none.
    """

    model: ir.Model
    copied: Arrays = field(default_factory=dict)
    kept: Arrays = field(default_factory=dict)
    folder: Path | None = None


def hand_over(model: ir.Model) -> HandedOver:
    """Return a graph that only names its large weights, and these.

    Args:
        model: The graph, which stays as it is.  It is given back if it has no large weights, or if
            the others are too large for a graph in memory.

    Example:
        >>> values = [ir.Value(name=name) for name in ("small", "large")]
        >>> for value, size in zip(values, (3, 1 << 18)):
        ...     value.const_value = ir.tensor(np.ones(size, np.float32), name=value.name)
        >>> graph = ir.Graph((), (), nodes=(), initializers=values, opset_imports={"": 18})
        >>> found = hand_over(ir.Model(graph, ir_version=9))
        >>> list(found.copied), found.copied["large"].shape, inline_bytes(found.model)
        (['large'], (262144,), 12)
    """
    large = {
        name: value.const_value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
        and value.const_value.nbytes >= LEAST
        and value.const_value.dtype in TYPES
    }
    if not large:
        return HandedOver(model)
    folder, files = _files(large)
    named = model.clone()
    for name, tensor in large.items():
        # A file that is not looked for where the numbers are given.
        file, offset = files.get(name, ("weights", 0))
        named.graph.initializers[name].const_value = ir.ExternalTensor(
            file,
            offset,
            tensor.nbytes,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
        )
    if inline_bytes(named) >= LARGEST_INLINE:
        return HandedOver(model)
    copied = {name: _rows(tensor) for name, tensor in large.items() if name not in files}
    kept = {name: _rows(large[name]) for name in files if _is_only_read(model.graph, name)}
    return HandedOver(named, copied, kept, folder)


def _files(
    weights: dict[str, ir.TensorProtocol],
) -> tuple[Path | None, dict[str, tuple[str, int]]]:
    """Return the folder in which most weights are read where they lie, and their files.

    Returns:
        The folder, and by the name of a weight its file there and where it begins in it; None and
        nothing if weights are to be copied.
    """
    places = {name: _place(tensor) for name, tensor in weights.items()}
    known = {name: place for name, place in places.items() if place is not None}
    folders = {path.parent for path, _ in known.values()}
    total = sum(weights[name].nbytes for name in known)
    if total < MAPPED or len(folders) != 1:
        return None, {}
    return folders.pop(), {name: (path.name, offset) for name, (path, offset) in known.items()}


def _place(tensor: ir.TensorProtocol) -> tuple[Path, int] | None:
    """Return the file that a weight is in, and where it begins there; None if it is in none."""
    external = external_tensor(tensor)
    if external is not None:
        place = Path(external.path).absolute(), external.offset or 0
    else:
        found = place_of(tensor.numpy())
        if found is None:
            return None
        place = found
    path, _ = place
    return place if path.is_file() and not path.is_symlink() else None


def _is_only_read(graph: ir.Graph, name: str) -> bool:
    """Whether all that is done with a weight is to read it in kernels of the main graph."""
    value = graph.initializers[name]
    return not value.is_graph_input() and all(
        node.op_type in READERS and node.graph is graph for node, _ in value.uses()
    )


def _rows(tensor: ir.TensorProtocol) -> NDArray[Any]:
    return np.ascontiguousarray(tensor.numpy())


def held_bytes(models: Iterable[ir.Model]) -> int:
    """Return the bytes that the weights of models and of a session of each take.

    Weights in the mapped files of :func:`hand_over` count as nothing, since their pages go when
    there is no room.  Others count twice, as the graph and the session have them; those in files
    that are copied once.
    """
    total = 0
    for model in models:
        weights = {
            name: value.const_value
            for name, value in model.graph.initializers.items()
            if value.const_value is not None
        }
        large = {k: v for k, v in weights.items() if v.nbytes >= LEAST and v.dtype in TYPES}
        _, files = _files(large)
        for name, tensor in weights.items():
            mapped = external_tensor(tensor) is not None
            total += 0 if name in files else (1 if mapped else 2) * tensor.nbytes
    return total


def weight_bytes(model: ir.Model) -> int:
    """Return the bytes of all weights of a model, wherever they are."""
    weights = (value.const_value for value in model.graph.initializers.values())
    return sum(weight.nbytes for weight in weights if weight is not None)


def inline_bytes(model: ir.Model) -> int:
    """Return the bytes of the weights that a graph holds itself."""
    return sum(
        value.const_value.nbytes
        for value in model.graph.initializers.values()
        if value.const_value is not None and not isinstance(value.const_value, ir.ExternalTensor)
    )
