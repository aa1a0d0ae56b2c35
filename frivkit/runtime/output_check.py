"""Whether the rows of an output are those of examples, seen before long work begins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import onnx_ir as ir

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.layout import shape_of
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.shapes import axis_name, batch_symbol
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import rows_per_example
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.perturbed_model import BaselineModel
from frivkit.runtime.session import Session
from frivkit.runtime.varying_rows import varying_axis

COUNTS = (2, 3)
"""Examples of the two runs by which rows are counted."""
TRIED = 8
"""Runs of a file for a fixed number of examples by which rows are counted."""
VARYING = ("NonMaxSuppression", "NonZero", "Unique", "Compress", "If", "Loop")
"""Operators whose outputs have as many entries as their inputs make them have."""


def check_output(model: Model, output: str, execution: Execution, data: Dataset) -> Model:
    """Return the model, with its outputs noted of which examples have different numbers of rows.

    The model is run on a few examples if its graph does not tell.

    Args:
        model: The model, its shapes complete.
        output: The name of the output that counts.
        execution: How to run it.
        data: Its examples.

    Raises:
        ModelError: the number of rows of this output is no multiple of that of examples, or differs
            from example to example otherwise than along one axis, or the model cannot be run.
    """
    model = with_varying(model, partial(_shapes, model, execution, data))
    if output not in model.varying:
        _check_rows(model, output, execution, data)
    return model


def _check_rows(model: Model, output: str, execution: Execution, data: Dataset) -> None:
    """Raise an error if the rows of an output are not those of examples, or vary among them."""
    value = next(value for value in model.graph.outputs if value.name == output)
    rows_per_example(model.graph, value)
    symbol = batch_symbol(model.graph)
    sizes = shape_of(value)
    varying = _varying(value)
    first = None if value.shape is None else value.shape[0]
    by_example = symbol is None or (axis_name(first) or "").split("*")[-1] == symbol
    if by_example and varying is None and sizes is not None and None not in sizes[1:]:
        return
    baseline = BaselineModel(model, output, execution.placement, execution.memory)
    if model.batch is None:
        parts = [(0, min(count, data.examples)) for count in COUNTS]
        parts += [(1, min(3, data.examples))] if varying and data.examples > 1 else []
    else:
        runs = min(TRIED, max(1, data.examples // model.batch))
        parts = [(i * model.batch, (i + 1) * model.batch) for i in range(runs)]
    try:
        seen = {baseline.run(data.read(first, last).inputs).shape[1:] for first, last in parts}
    except ModelError as error:
        if varying is None:
            raise
        raise ModelError(f"{error}; {way_out(model, output)}") from error
    if len(seen) > 1:
        raise ModelError(
            f"output {output!r} of {model.path.name} has other rows for other examples; "
            f"{way_out(model, output)}"
        )


def with_varying(
    model: Model, shapes: Callable[[str], Sequence[tuple[int, ...]]] = lambda output: ()
) -> Model:
    """Return the model, with its outputs noted of which examples have different numbers of rows.

    Args:
        model: The model.
        shapes: Called with the name of an output that may be one, gives its shapes in some runs of
            one example each; none, so that the file's own word counts.
    """
    found: dict[str, int] = {}
    if model.batch not in (None, 1):  # the rows of several examples cannot be told apart
        return model
    for value in model.graph.outputs:
        sizes = _sizes(value, batch_symbol(model.graph))
        if _varying(value) is not None and (not sizes or None in sizes):
            axis = varying_axis(shapes(value.name or ""), sizes)
            found |= {} if axis is None else {value.name or "": axis}
    return replace(model, varying=found) if found else model


def _sizes(value: ir.Value, symbol: str | None) -> list[int | None]:
    """Return the sizes of an output for one example, None for one that is open."""
    known: list[int | None] = []
    for size in () if value.shape is None else value.shape:
        batch = 1 if symbol is not None and axis_name(size) == symbol else None
        known.append(size if isinstance(size, int) else batch)
    return known


def _shapes(
    model: Model, execution: Execution, data: Dataset, output: str
) -> list[tuple[int, ...]]:
    """Return the shapes of an output in runs of one example each; none if it has none."""
    graph = with_outputs(model, [output])
    session = Session(graph.ir, execution.placement)
    found = []
    for i in range(min(TRIED, data.examples)):
        inputs = data.read(i, i + 1).inputs
        feeds = {name: inputs[name] for name in graph.inputs}
        (array,) = run_padded(session, model, feeds, [output], cut=False)
        if not isinstance(array, np.ndarray):
            return []
        found.append(array.shape)
    return found


def _varying(value: ir.Value) -> ir.Node | None:
    """Return the last node before an output that gives as many entries as its inputs ask for."""
    pending, seen = [value], set()
    while pending:
        current = pending.pop(0)
        node = current.producer()
        if node is None or node in seen:
            continue
        if node.op_type in VARYING:
            return node
        seen.add(node)
        pending.extend(each for each in node.inputs if each is not None)
    return None


def way_out(model: Model, output: str) -> str:
    """Return what to do about an output whose rows are not those of examples."""
    value = next(value for value in model.graph.outputs if value.name == output)
    varying = _varying(value)
    others = [value.name or "" for value in model.graph.outputs if value.name != output]
    choose = f"choose another by --output-name: {', '.join(others)}" if others else ""
    if varying is None:
        return choose or "no other output can be chosen: give a file whose output has fixed rows"
    read = ", ".join(value.name or "" for value in varying.inputs[:2] if value is not None)
    cut = f"cut the file before {node_label(varying)}, so that it gives {read}"
    return f"{cut}, or {choose}" if choose else cut
