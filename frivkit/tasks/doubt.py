"""Outputs whose shape does not tell what they are: their numbers are asked.

One number or four numbers an example may be classes as well as a quantity or a box.  What the
network gives for real examples says more than the shape, and is still a guess.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.runtime.padded_runs import examples_at_once, run_padded
from frivkit.runtime.session import Device, Session
from frivkit.tasks.classify import SIGMOIDS
from frivkit.tasks.task import Claim, Evidence, ModelOutput

OutputValues = Callable[[str], NDArray[Any] | None]
"""From the name of an output to what it gives for some examples, shape (n, ...), if known."""
SEEN = 256
"""Examples whose outputs are looked at."""
WIDTHS = (1, 4)
"""Numbers an example that may be classes or a quantity, a box."""
MOST = 0.95
"""The share of rows that must look like a kind of output."""
LARGE = 1000.0
"""What the score of a class does not exceed."""
UNDECIDED = 0.15
"""The mean distance of probabilities from 0 or 1 beyond which they decide nothing."""


def some_outputs(model: Model, data: Dataset, device: Device, name: str) -> NDArray[Any] | None:
    """Return what an output gives for the first examples; None if they cannot be run.

    Args:
        model: The model.
        data: The examples.
        device: Where to run them.
        name: The output.
    """
    graph = with_outputs(model, [name])
    session = Session(graph.ir, device)
    size = examples_at_once(model, [name], 64 << 20)
    parts = []
    try:
        for first in range(0, min(SEEN, data.examples), size):
            inputs = data.read(first, min(first + size, data.examples)).inputs
            feeds = {each: inputs[each] for each in graph.inputs}
            parts += run_padded(session, model, feeds, [name])
    except ModelError:  # which is said when outputs are compared
        return None
    return np.concatenate(parts)


def is_doubtful(output: ModelOutput) -> bool:
    """Whether the shape of an output leaves open whether it holds classes or numbers."""
    shape = output.shape
    if shape is None or not output.is_float or output.rows or output.softmax_axis is not None:
        return False
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return output.operator not in SIGMOIDS
    return len(shape) == 2 and shape[1] in WIDTHS


def claim_of_values(output: ModelOutput, values: NDArray[Any] | None) -> tuple[Claim, str]:
    """Return a claim to a doubtful output, and the name of the task that its numbers speak for.

    Args:
        output: The output.
        values: What it gives for some examples, shape (n,) or (n, numbers); None if that is not
            known, so that its shape alone counts.

    Example:
        >>> y = ModelOutput("y", (None, 4))
        >>> claim_of_values(y, np.array([[10.0, 20.0, 40.0, 90.0], [5.0, 6.0, 9.0, 8.0]]))[1]
        'regress'
        >>> claim_of_values(y, np.array([[-1.0, 2.0, 0.5, -3.0], [4.0, 0.0, -1.0, 1.0]]))[1]
        'classify'
    """
    task, reason, guess = _judged(output, values)
    kind = Evidence.NONE if values is None else Evidence.VALUES
    return Claim((output.name,), kind, reason, guess), task


def _judged(output: ModelOutput, values: NDArray[Any] | None) -> tuple[str, str, bool]:
    """Return a task, what speaks for it, and whether that is a guess."""
    usual = "multilabel" if output.operator in SIGMOIDS else "classify"
    if values is None or not np.isfinite(values).all() or (values == values[0]).all():
        return usual, "its shape says no more", True
    rows = values.reshape(len(values), -1).astype(np.float64)
    if rows.shape[1] > 1 and (_sum_to_one(rows) or _sum_to_one(np.exp(np.minimum(rows, 9.0)))):
        return "classify", "its rows are probabilities", False
    if output.operator in SIGMOIDS:
        distance = float(np.minimum(rows, 1 - rows).mean())
        decided = distance <= UNDECIDED
        word = "close to 0 or 1" if decided else "mostly far from 0 and 1"
        return usual if decided else "regress", f"its numbers are {word}", True
    if float((rows >= 0).all(axis=1).mean()) >= MOST:
        boxes = rows.shape[1] == 4 and float(_ordered(rows).mean()) >= MOST
        reason = "its rows are ordered as corners of boxes" if boxes else "none is negative"
        return "regress", reason, True
    negative = float((rows <= 0).all(axis=1).mean()) >= MOST
    if negative or float(np.abs(rows).max()) > LARGE:
        reason = "none is positive" if negative else "it is larger than scores of classes are"
        return "regress", reason, True
    return usual, "it has both signs, as scores of classes have", True


def _sum_to_one(rows: NDArray[np.float64]) -> bool:
    return bool((rows >= 0).all() and (np.abs(rows.sum(axis=1) - 1) <= 1e-3).all())


def _ordered(rows: NDArray[np.float64]) -> NDArray[np.bool_]:
    right, lower = rows[:, 2] > rows[:, 0], rows[:, 3] > rows[:, 1]
    return np.asarray(right & lower)


def guess_warning(outputs: Sequence[str], task: str, reason: str) -> str:
    """Return a warning that a task is a guess, and how to set it."""
    named = ", ".join(repr(name) for name in outputs)
    return (
        f"output {named} is compared by the task {task}, which is a guess: {reason}; set it by "
        "--task classify, regress or another"
    )
