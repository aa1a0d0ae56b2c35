"""Whether one example fits into memory, found out before anything is run."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx_ir as ir

from frivkit.cache.size import format_size
from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.fold_shapes import fold_shape_arithmetic
from frivkit.graph.shapes import infer_shapes
from frivkit.runtime.memory import live_bytes

SMALLEST = 64 << 20
"""Bytes that are always allowed: the runtime itself takes as much."""
OVERHEAD = 1 << 30
"""Bytes of address space that a run takes beside its activations: code, tables, reserves."""
THREAD = 16 << 20
"""Bytes of address space that a thread of the runtime takes; it has one for each core."""
_STATM = Path("/proc/self/statm")


def check_example_fits(model: Model, memory: int, data: Dataset) -> None:
    """Raise an error if the activations of one example alone do not fit into memory.

    What is counted are the tensors of one example (of a batch, if the model insists on its size)
    that live at once.  Sizes that the model leaves open are those of the first example; a tensor
    whose size depends on values in a way that shape inference does not know counts as nothing.

    Args:
        model: The model.
        memory: Bytes that activations may take.
        data: The examples.

    Raises:
        ModelError: one example does not fit.
    """
    needed = (model.batch or 1) * live_bytes(_sized(model, data))
    if needed > max(memory, SMALLEST):
        what = "one example" if model.batch is None else f"a batch of {model.batch}"
        raise ModelError(
            f"{model.path.name} takes {format_size(needed)} for the activations of {what}, more "
            f"than --memory leaves for them ({format_size(memory)}): give smaller examples, or a "
            "larger --memory if the machine has it"
        )


def _sized(model: Model, data: Dataset) -> ir.Graph:
    """Return the graph, with the sizes of the first example where inputs leave sizes open."""
    is_open = any(None in spec.shape for spec in model.inputs)
    if not is_open:
        return model.graph
    inputs: Mapping[str, object] = data.read(0, 1).inputs
    copy = model.ir.clone()
    for value in copy.graph.inputs:
        shape = getattr(inputs.get(value.name or ""), "shape", None)
        if value.shape is not None and shape is not None and len(shape) == len(value.shape) > 0:
            value.shape = ir.Shape([value.shape[0], *shape[1:]])
    infer_shapes(copy)
    fold_shape_arithmetic(copy)
    return copy.graph


@contextlib.contextmanager
def limited_memory(size: int) -> Iterator[None]:
    """Let the process allocate no more than some bytes while a block runs, on Linux.

    An allocation beyond that fails as if the machine had no more.  Elsewhere nothing is bounded.

    Args:
        size: Bytes beside those that the process has.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(_STATM.read_text().split()[0]) * resource.getpagesize()
    wanted = held + size + OVERHEAD + THREAD * (os.cpu_count() or 1)
    bounds = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *bounds]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
