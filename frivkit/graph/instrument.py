"""Copies of a model with masks and taps: masks are inputs, so one session serves every mask."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import SHAPE_ONLY
from frivkit.graph.model import Model, is_constant, reads
from frivkit.graph.shapes import batch_first
from frivkit.graph.sites import Site

MASK = "frivkit.mask/"
"""Prefix of the names of the mask inputs; the tensor's name follows."""


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A graph to run, and the inputs it takes.

    Attributes:
        ir: A graph of its own; weights are shared with the model it came from.
        inputs: Names of the tensors that must be fed, masks excepted.
        masks: The mask input of each masked site, by the site's name.
        outputs: Names of the tensors it gives.
    """

    ir: ir.Model
    inputs: tuple[str, ...]
    masks: dict[str, str]
    outputs: tuple[str, ...]


def masked_whole(model: Model, sites: Iterable[Site], output: str) -> Instrumented:
    """Give the whole model with a mask behind every site of ``sites``."""
    graph = model.graph.clone()
    values = _by_name(graph)
    _only_outputs(graph, [values[output]])
    masks = {site.name: _insert_mask(graph, values[site.name], site) for site in sites}
    inputs = tuple(value.name or "" for value in graph.inputs if not value.is_initializer())
    fed = tuple(name for name in inputs if not name.startswith(MASK))
    return Instrumented(_wrap(model, graph), fed, masks, (output,))


def tapped(model: Model, tensors: Sequence[str]) -> Instrumented:
    """Give the part of the model that computes ``tensors``, without what lies behind them."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    values = _by_name(model.graph)
    needed = _ancestors([values[name] for name in tensors])
    fed = [value for value in inputs if id(value) in needed]
    graph = ir.convenience.extract(model.graph, fed, [values[name] for name in tensors])
    names = tuple(value.name or "" for value in fed)
    return Instrumented(_wrap(model, graph), names, {}, tuple(tensors))


def suffix(model: Model, site: Site, output: str) -> Instrumented:
    """Give what lies behind a site, with a mask on it.

    Its inputs are the site's own tensor and every other tensor that enters the part of the graph
    that depends on the site (the other branch of a residual sum, a skip connection).  What has no
    examples on its first axis (a size computed from a shape, tokens laid first) is computed again
    from what has.
    """
    values = _by_name(model.graph)
    tensor = values[site.name]
    behind = _descendants(model.graph, tensor)
    sizes = _sizes(model.graph)

    def passes(value: ir.Value) -> bool:
        kept = id(value) in behind or id(value) in sizes or not batch_first(value, model.batch)
        return kept and value is not tensor

    needed = _ancestors([values[output]], passes)
    last = [v for v in needed.values() if not passes(v) or v.producer() is None]
    others = [value for value in last if not is_constant(value)]
    entries = [tensor, *(value for value in others if value is not tensor)]
    graph = ir.convenience.extract(model.graph, entries, [values[output]])
    names = tuple(value.name or "" for value in entries)
    masks = {site.name: _insert_mask(graph, _by_name(graph)[site.name], site)}
    return Instrumented(_wrap(model, graph), names, masks, (output,))


def _insert_mask(graph: ir.Graph, value: ir.Value, site: Site) -> str:
    """Multiply a tensor by a new input and let every reader read the product."""
    name = f"{MASK}{site.name}"
    sizes = ["frivkit.MB", *(f"{name}/{axis}" for axis in range(1, len(site.shape) + 1))]
    mask = ir.Value(
        name=name, shape=ir.Shape(sizes), type=ir.TensorType(value.dtype or ir.DataType.FLOAT)
    )
    masked = ir.Value(name=f"{name}/masked", shape=value.shape, type=value.type)
    readers = [(use.node, use.idx) for use in value.uses()]
    node = ir.Node("", "Mul", [value, mask], outputs=[masked], name=f"{name}/Mul")
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)
    for reader, index in readers:
        reader.replace_input_with(index, masked)
    graph.inputs.append(mask)
    return name


def _wrap(model: Model, graph: ir.Graph) -> ir.Model:
    graph.opset_imports.update(model.ir.opset_imports)
    return ir.Model(graph, ir_version=model.ir.ir_version)


def _by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    values = {value.name or "": value for value in graph.inputs}
    values |= {value.name or "": value for node in graph for value in node.outputs}
    return values


def _only_outputs(graph: ir.Graph, wanted: Sequence[ir.Value]) -> None:
    graph.outputs[:] = list(wanted)


def _descendants(graph: ir.Graph, start: ir.Value) -> set[int]:
    reached = {id(start)}
    for node in graph:
        read = [value for value in reads(node) if id(value) in reached]
        if read:
            reached.update(id(value) for value in node.outputs)
    reached.discard(id(start))
    return reached


def _sizes(graph: ir.Graph) -> set[int]:
    """Give the ids of values that are computed from sizes of tensors and from constants alone."""
    found: set[int] = set()
    for node in graph:
        read = reads(node)
        if node.op_type in SHAPE_ONLY or (
            any(id(value) in found for value in read)
            and all(id(value) in found or is_constant(value) for value in read)
        ):
            found.update(id(value) for value in node.outputs)
    return found


def _ancestors(
    targets: Iterable[ir.Value], passes: Callable[[ir.Value], bool] = lambda value: True
) -> dict[int, ir.Value]:
    """Give what targets are computed from, looking only behind values that ``passes`` lets by."""
    seen: dict[int, ir.Value] = {}
    pending = list(targets)
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        node = value.producer()
        if node is not None and passes(value):
            pending.extend(reads(node))
    return seen
