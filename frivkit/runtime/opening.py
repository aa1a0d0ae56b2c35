"""The rewrites of a model that was read, in the order in which they are applied.

Each pass takes a model and returns one.  Passes that keep the file's graph are all that commands
may use which write a file made from it (``compress``) or compare files (``verify``); whatever only
looks at a model (``inspect``, ``analyze``, ``activations``) uses all of them.  What is rewritten
while a file is read, before anything can be run, stands in ``frivkit.graph.onnx_io.passes``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from frivkit.data import Dataset
from frivkit.graph.model import Model
from frivkit.graph.sites.batch_first import move_batch_first
from frivkit.runtime.example_memory import check_example_fits
from frivkit.runtime.execution import Execution
from frivkit.runtime.free_batch import free_batch_size
from frivkit.runtime.shape_probe import infer_shapes_by_running


@dataclass(frozen=True, slots=True)
class Opening:
    """What the passes may use.

    Attributes:
        execution: How to run the model.
        data: Examples to run it on; None if there are none, and noise stands in for them.
        output: The output whose labels are compared; None takes the first.
    """

    execution: Execution = field(default_factory=Execution)
    data: Dataset | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class OpeningPass:
    """One rewrite.

    Attributes:
        name: A name for messages and documents.
        apply: From the model to the rewritten one, or to the same one if there is nothing to do.
        keeps_file: Whether the graph computes the same nodes as the file, so that a file can be
            written from it.
    """

    name: str
    apply: Callable[[Model, Opening], Model]
    keeps_file: bool


def _check_memory(model: Model, opening: Opening) -> Model:
    if opening.data is not None:  # else nothing is run but the probe, which is bounded
        check_example_fits(model, opening.execution.memory, opening.data)
    return model


def _complete_shapes(model: Model, opening: Opening) -> Model:
    execution = opening.execution
    return infer_shapes_by_running(
        model, execution.placement, opening.data, memory=execution.memory
    )


def _free_batch(model: Model, opening: Opening) -> Model:
    if opening.data is None:
        return model
    execution, output = opening.execution, model.output(opening.output)
    freed = free_batch_size(model, output, execution.placement, opening.data, execution.memory)
    return model if freed is model else _complete_shapes(freed, opening)


def _batch_first(model: Model, opening: Opening) -> Model:
    del opening
    return move_batch_first(model)


PASSES = (
    OpeningPass("memory of an example", _check_memory, keeps_file=True),
    OpeningPass("shapes by running", _complete_shapes, keeps_file=True),
    OpeningPass("memory with all shapes", _check_memory, keeps_file=True),
    OpeningPass("free batch size", _free_batch, keeps_file=False),
    OpeningPass("batch first", _batch_first, keeps_file=False),
)
"""All passes, in order."""


def prepare_model(model: Model, opening: Opening, *, keep_file: bool = False) -> Model:
    """Return a model ready to be analysed: its shapes known, its examples first.

    Args:
        model: A model as it was read.
        opening: What the passes may use.
        keep_file: Apply only passes that keep the file's graph.

    Raises:
        ModelError: the model cannot be run on the data, or an example does not fit into memory.
    """
    for each in PASSES:
        if each.keeps_file or not keep_file:
            model = each.apply(model, opening)
    return model
