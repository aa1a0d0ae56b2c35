"""Which tasks can be compared example by example: their outputs have the examples in front."""

from collections.abc import Mapping, Sequence

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.session import Device, Session
from frivkit.tasks.choose import OutputTask

RUNS = 4
"""Runs that are made to see whether the rows of an output vary from example to example."""
VARIES = "it has other rows for other examples"
"""Why an output is not compared whose number of rows depends on the input."""
TRIED = 7
"""Examples that are run to see along which axis of an output they lie."""


def without_batch(
    model: Model, outputs: Sequence[str], data: Dataset, device: Device
) -> Mapping[str, str]:
    """Return why outputs cannot be compared example by example, by their names.

    Args:
        model: The model.
        outputs: Names of its outputs.
        data: Examples, of which a few are run.
        device: Where to run them.

    Raises:
        ModelError: the model cannot be run.
    """
    varying = any(name in model.varying for name in outputs)
    given = 1 if varying else TRIED if model.batch is None else model.batch
    graph = with_outputs(model, outputs)
    session = Session(graph.ir, device)
    starts = range(0, min(data.examples, RUNS * given), given)
    batches = [data.read(first, min(first + given, data.examples)).inputs for first in starts]
    reasons: dict[str, str] = {}
    for name in outputs:
        shapes = set()
        for batch in batches:
            feeds = {each: batch[each] for each in graph.inputs}
            try:
                (array,) = run_padded(session, model, feeds, [name])
            except ModelError as error:
                reasons[name] = str(error)
                break
            shapes.add(array.shape[1:])
            if array.dtype.kind not in "biuf":
                reasons[name] = "it is no tensor of numbers"
            elif array.size == 0:
                reasons[name] = "it is empty"
        if len(shapes) > 1:
            reasons.setdefault(name, VARIES)
    return reasons


def provable(
    model: Model, tasks: Sequence[OutputTask], data: Dataset, device: Device
) -> tuple[tuple[OutputTask, ...], dict[str, str]]:
    """Return the tasks that can be compared, and why other outputs cannot be, by their names.

    The first task is always among them: it is what the user asks for.

    Args:
        model: The model.
        tasks: Its tasks.
        data: Examples, of which a few are run.
        device: Where to run them.

    Raises:
        ModelError: the model cannot be run.
    """
    known = {name for task in tasks for name in task.outputs}
    reasons = {
        value.name or "": VARIES if value.name in model.varying else "it is no tensor of numbers"
        for value in model.graph.outputs
        if value.name not in known
    }
    if len(tasks) == 1:
        return tuple(tasks), reasons
    others = [name for task in tasks[1:] for name in task.outputs]
    lacking = without_batch(model, others, data, device)
    kept = [tasks[0]]
    for task in tasks[1:]:
        why = [lacking[name] for name in task.outputs if name in lacking]
        if why:
            reasons |= dict.fromkeys(task.outputs, why[0])
        else:
            kept.append(task)
    return tuple(kept), reasons
