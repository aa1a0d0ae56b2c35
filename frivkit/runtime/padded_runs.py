"""Runs of one batch of examples, whatever size and layout the model insists on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import RUN
from frivkit.graph.model import Model, remembered
from frivkit.graph.shapes import batch_symbol, examples_axis
from frivkit.runtime.file_session import FileSession
from frivkit.runtime.memory import batch_size
from frivkit.runtime.session import Feeds, Session
from frivkit.runtime.varying_rows import with_rows


def examples_at_once(model: Model, outputs: Sequence[str], memory: int) -> int:
    """Return how many examples a run for some outputs may have: one where their rows vary."""
    if any(name in model.varying for name in outputs):
        return 1
    return batch_size(model.graph, memory, model.batch)


def run_padded(
    session: Session | FileSession,
    model: Model,
    feeds: Feeds,
    wanted: Sequence[str],
    *,
    cut: bool = True,
) -> list[NDArray[Any]]:
    """Run a batch; where the model insists on a size, fill up with the last example.

    Args:
        session: What to run.
        model: The model that the session's graph was made of.
        feeds: At most ``model.batch`` examples of each input, and masks.
        wanted: Names of outputs.
        cut: Give rows of the given examples only; else all that the graph gives, whatever its
            first axis.

    Raises:
        ModelError: the run fails, nothing that is wanted depends on an input, or an output that is
            to be cut has no batch axis in front.

    Returns:
        The arrays, shape (n, ...), examples first wherever they lie in the graph.  Where several
        rows of an output of the model are one example, these have an axis of their own behind the
        examples: (n, rows, ...).  Where their number varies, there must be one example, and they
        are filled up: see ``frivkit.runtime.varying_rows``.
    """
    inputs = {name: array for name, array in feeds.items() if not name.startswith(RUN)}
    if not inputs:
        raise ModelError(
            f"{', '.join(wanted)} of {model.path.name} depends on no input: there is nothing to "
            "measure; choose another output with --output-name"
        )
    given = len(next(iter(inputs.values())))
    missing = 0 if model.batch is None else model.batch - given
    if missing > 0:
        filled = {n: np.concatenate([a, np.repeat(a[-1:], missing, 0)]) for n, a in inputs.items()}
        feeds = {**feeds, **filled}
    arrays = session.run(feeds, wanted)
    if not cut:
        return arrays
    outputs = {value.name for value in model.graph.outputs}
    axes = _axes_of_examples(model, wanted)
    return [
        with_rows(name, array, model.varying[name])
        if name in model.varying
        else by_example(name, _moved(array, axes.get(name)), given + missing, rows=name in outputs)[
            :given
        ]
        for name, array in zip(wanted, arrays, strict=True)
    ]


def _axes_of_examples(model: Model, names: Sequence[str]) -> dict[str, int | None]:
    """Return the axis of examples of tensors, where it is known and not the first."""

    def work_out() -> dict[str, int | None]:
        symbol, wanted = batch_symbol(model.graph), set(names)
        values = [value for node in model.graph for value in node.outputs if value.name in wanted]
        found = {value.name or "": examples_axis(value, symbol) for value in values}
        return {name: axis for name, axis in found.items() if axis}

    return remembered(model.graph, ("axes of examples", *names), work_out)


def _moved(array: Any, axis: int | None) -> Any:
    return array if axis is None else np.moveaxis(array, axis, 0)


def by_example(name: str, array: Any, examples: int, *, rows: bool) -> NDArray[Any]:
    """Return a tensor with examples on its first axis.

    Args:
        name: Its name, for messages.
        array: What a run gave.
        examples: The number of examples that were run.
        rows: Whether several consecutive rows may be one example; they get an axis of their own.

    Raises:
        ModelError: its rows are not those of the examples.

    Example:
        >>> by_example("y", np.zeros((6, 5)), 2, rows=True).shape
        (2, 3, 5)
    """
    shape = getattr(array, "shape", type(array).__name__)
    if isinstance(array, np.ndarray) and array.ndim > 0:
        each, rest = divmod(len(array), examples)
        if each == 1 and not rest:
            return array
        if rows and each > 1 and not rest:
            return array.reshape(examples, each, *array.shape[1:])
    raise ModelError(
        f"tensor {name!r} has shape {shape} for {examples} examples: its first axis must be the "
        "batch, or a multiple of it"
    )
