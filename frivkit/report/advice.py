"""Advice for a model: facts to know before it is analysed, and options that deal with them."""

from collections.abc import Iterable, Iterator
from math import prod

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.cost import uncounted
from frivkit.graph.layout import shape_of
from frivkit.graph.model import Model
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.producers import Skip, SkipCause, values_leading_to_output
from frivkit.graph.sites.site_map import SiteMap
from frivkit.report.tasks import task_document, task_line
from frivkit.runtime.labels import LabelOptions, are_labels, rows_per_example, threshold_of
from frivkit.tasks.choose import choose_tasks


def advice(
    model: Model, site_map: SiteMap, output: str, labels: LabelOptions | None = None
) -> list[str]:
    """Return the advice for a model, one line each.

    Args:
        model: The model, as it was inspected.
        site_map: Its sites.
        output: The output whose labels are compared.
        labels: The options for reading labels; None takes the defaults.
    """
    return [
        *_on_reading(model),
        *_on_other_outputs(model, site_map, output),
        *_on_tasks(model, output, labels or LabelOptions()),
        *_on_skipped(site_map.skipped),
        *_on_unknown_operators(site_map),
        *_on_uncounted(model),
    ]


def _on_reading(model: Model) -> Iterator[str]:
    yield from model.changes
    yield from model.notes
    if model.batch is not None:
        yield (
            f"the file insists on batches of {model.batch}: more examples are run at once where "
            "that gives the same, else they take their turns"
        )
    if "frivkit.data" not in model.metadata:
        yield "the file names no data: give real inputs by --data, or noise stands in for them"


def _on_other_outputs(model: Model, site_map: SiteMap, output: str) -> Iterator[str]:
    to_output = values_leading_to_output(model.graph, output)
    measured = {
        value.name for node in model.graph for value in node.outputs if id(value) in to_output
    }
    others = [site.layer for site in site_map.sites if site.name not in measured]
    if others:
        yield (
            f"{len(others)} layers lead to other outputs than {output!r} only: compress can narrow "
            f"them, analyze leaves them out unless --output-name names theirs: {', '.join(others)}"
        )


def _on_tasks(model: Model, output: str, labels: LabelOptions) -> Iterator[str]:
    others = len(model.graph.outputs) - 1
    if others:
        yield (
            f"metrics look at the first of {others + 1} outputs, {output!r}, and layers that lead "
            "to it: another one by --output-name; a compressed file is compared by all"
        )
    try:
        tasks = choose_tasks(model, labels, output)
    except ModelError as error:
        yield str(error)
        return
    for task in tasks:
        if task.name != "classify":
            yield task_line(task_document(task))
        elif output in task.outputs:
            yield from _on_labels(model.graph, output, task.axis or 1, guess=task.guess)


def _on_labels(graph: ir.Graph, output: str, axis: int, *, guess: bool) -> Iterator[str]:
    value = next(each for each in graph.outputs if each.name == output)
    try:
        rows = rows_per_example(graph, value)
    except ModelError as error:
        yield str(error)
        return
    if rows > 1:
        yield f"an example is {rows} rows of the output, each with labels of its own"
        return
    shape = shape_of(value)
    if shape is None or (value.dtype is not None and are_labels(value.dtype.numpy())):
        return
    axis = axis % len(shape) if -len(shape) < axis < len(shape) else 1
    if len(shape) > 2 and shape[axis] != 1:
        others_ = [size for at, size in enumerate(shape) if at not in (0, axis)]
        positions = [size for size in others_ if size is not None]
        count = str(prod(positions)) if len(positions) == len(others_) else "several"
        yield (
            f"an example has {count} labels: the largest of {shape[axis] or 'the'} entries along "
            f"axis {axis} at each position; classes on another axis by --label-axis"
        )
    elif len(shape) < 2 or shape[1] == 1:
        limit = threshold_of(graph, output)
        yield (
            f"the output is one number: the label is whether it exceeds {limit:g}; if it is a "
            "quantity and no score, give --regression 0.1"
        )
    elif guess:
        yield (
            f"the output has {shape[1]} numbers, which may be classes, a box or others: what it "
            "gives for the data decides, or --task"
        )


def _on_skipped(skipped: Iterable[Skip]) -> Iterator[str]:
    causes = [skip.cause for skip in skipped]
    unknown = causes.count(SkipCause.UNKNOWN_SHAPE)
    if unknown:
        yield f"the sizes of {unknown} layers are open: fix them by --input-shape, all axes of it"
    if SkipCause.SUBGRAPH in causes:
        yield (
            "layers inside an If or a Loop are left out: export the network without them, or give "
            "what decides an If by --input or --input-shape"
        )
    if SkipCause.RECURRENT in causes:
        yield "recurrent layers are left out; the layers before and behind them are analysed"
    if SkipCause.OTHER_OUTPUT in causes:
        yield "layers that lead to other outputs only are left out: choose another by --output-name"


def _on_unknown_operators(site_map: SiteMap) -> Iterator[str]:
    names = dict.fromkeys(name for site in site_map.sites for name in site.unknown_operators)
    if names:
        yield (
            f"units are lost at {', '.join(names)}: they are measured but cannot leave; a plugin "
            "can say what such an operator does to them (hook operator_rules)"
        )


def _on_uncounted(model: Model) -> Iterator[str]:
    names = uncounted(model.graph, operators_of(model))
    if names:
        yield f"MACs of {', '.join(names)} are not counted: shares of MACs leave them out"
