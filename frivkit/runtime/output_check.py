"""Whether the rows of an output are those of examples, seen before long work begins."""

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.shapes import axis_name, batch_symbol
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import rows_per_example
from frivkit.runtime.perturbed_model import BaselineModel

COUNTS = (2, 3)
"""Examples of the two runs by which rows are counted."""


def check_output(model: Model, output: str, execution: Execution, data: Dataset) -> None:
    """Raise an error if the rows of an output are not those of examples.

    The model is run on a few examples if its shapes do not tell.

    Args:
        model: The model, its shapes complete.
        output: The name of the output.
        execution: How to run it.
        data: Its examples.

    Raises:
        ModelError: the number of rows is no multiple of that of examples, or it cannot be run.
    """
    value = next(value for value in model.graph.outputs if value.name == output)
    rows_per_example(model.graph, value)
    symbol = batch_symbol(model.graph)
    first = None if value.shape is None else value.shape[0]
    if symbol is None or (axis_name(first) or "").split("*")[-1] == symbol:
        return
    baseline = BaselineModel(model, output, execution.placement, execution.memory)
    seen = {
        baseline.run(data.read(0, count).inputs).shape[1:2]
        for count in (min(count, data.examples) for count in COUNTS)
    }
    if len(seen) > 1:
        raise ModelError(
            f"output {output!r} of {model.path.name} has other rows for other examples; choose "
            "another by --output-name"
        )
