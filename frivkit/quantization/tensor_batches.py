"""Tensors of a model, batch by batch over the examples."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.data import Batch, Dataset
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import tensor_bytes
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.session import Session

MOST = 64
"""Examples that are run at a time."""


def tensor_batches(
    model: Model, values: Sequence[ir.Value], data: Dataset, execution: Execution, what: str
) -> Iterator[tuple[int, Mapping[str, NDArray[Any]]]]:
    """Yield the tensors of each batch by name, with the number of its first example.

    Args:
        model: The model.
        values: Inputs of the model and tensors that it computes, at least one.
        data: Examples of its inputs.
        execution: How to run it.  All tensors of a batch take half of its memory or less, if those
            of one example do and the model has no fixed batch size.
        what: The name of the task in the display of progress.

    Raises:
        ModelError: the model cannot be run.
    """
    names = [value.name or "" for value in values]
    given = {spec.name for spec in model.inputs}
    computed = [name for name in names if name not in given]
    graph = with_outputs(model, computed or [model.output()])
    session = Session(graph.ir, execution.placement)

    def tensors(batch: Batch) -> tuple[int, Mapping[str, NDArray[Any]]]:
        feeds = {name: batch.inputs[name] for name in graph.inputs}
        arrays = run_padded(session, model, feeds, computed, cut=False) if computed else []
        return batch.first, {**batch.inputs, **dict(zip(computed, arrays, strict=True))}

    example = max(1, sum(tensor_bytes(value) for value in values))
    size = model.batch or max(1, min(MOST, execution.memory // 2 // example))
    yield from execution.runner.map(data, size, tensors, what)
