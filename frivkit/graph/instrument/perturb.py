"""Copies of a model with perturbations as inputs, so that one session runs every perturbation.

Masks, linear maps and weights are the same for every example, and the names of their inputs begin
with ``RUN``; noise is drawn for each example.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.builder import Builder
from frivkit.graph.layout import SHAPE_ONLY
from frivkit.graph.model import Model, consumed_values, is_constant, remembered
from frivkit.graph.shapes import batch_first
from frivkit.graph.sites.site_map import Site

RUN = "frivkit."
"""Prefix of the names of inputs that are the same for every example."""
MASK = f"{RUN}mask/"
"""Prefix of the names of mask inputs; the tensor's name follows."""
FOLD = f"{RUN}fold/"
"""Prefix of the inputs of linear maps: ``FOLD + tensor + "/matrix"`` and ``"/bias"``."""
WEIGHT = f"{RUN}weight/"
"""Prefix of the names of weights that are inputs; the weight's name follows."""
NOISE = "frivkit-noise/"
"""Prefix of the names of noise inputs, which have the shape of the tensor."""


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A graph to run, and the inputs it takes.

    Attributes:
        ir: The graph; weights are shared with the model that it was made from.
        inputs: Names of its inputs, those of perturbations excepted.
        added: By the name of a perturbed site, the inputs that perturb it.
        outputs: Names of its outputs.
    """

    ir: ir.Model
    inputs: tuple[str, ...]
    added: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...]


Insert = Callable[[Builder, ir.Value, Site], tuple[ir.Value, tuple[str, ...]]]
"""A function that inserts nodes that perturb a tensor, and returns the perturbed tensor and the
names of the added inputs."""


def insert_mask(build: Builder, value: ir.Value, site: Site) -> tuple[ir.Value, tuple[str, ...]]:
    """Insert a product of a tensor and a mask, whose axes are 1 or those of the tensor."""
    name = f"{MASK}{site.name}"
    sizes = ["frivkit.MB", *(f"{name}/{axis}" for axis in range(1, len(site.shape) + 1))]
    mask = build.input(name, sizes, value.dtype or ir.DataType.FLOAT)
    return build.add("Mul", value, mask), (name,)


def insert_noise(build: Builder, value: ir.Value, site: Site) -> tuple[ir.Value, tuple[str, ...]]:
    """Insert noise, which is scaled by the standard deviation of the entries of each example."""
    name, kind = f"{NOISE}{site.name}", value.dtype or ir.DataType.FLOAT
    noise = build.input(name, ["frivkit.N", *site.shape], ir.DataType.FLOAT)
    axes = list(range(1, len(site.shape) + 1))
    entries = build.add("Cast", value, to=ir.DataType.FLOAT.value)
    centered = build.add("Sub", entries, build.reduce("ReduceMean", entries, axes, keepdims=True))
    squares = build.add("Mul", centered, centered)
    deviation = build.add("Sqrt", build.reduce("ReduceMean", squares, axes, keepdims=True))
    perturbed = build.add("Add", entries, build.add("Mul", noise, deviation))
    return build.add("Cast", perturbed, to=kind.value), (name,)


def insert_linear_map(
    build: Builder, value: ir.Value, site: Site
) -> tuple[ir.Value, tuple[str, ...]]:
    """Insert a linear map of the units, the same at every position.

    The matrix has shape (units, units) and the bias shape (units, 1).
    """
    stem, kind = f"{FOLD}{site.name}", value.dtype or ir.DataType.FLOAT
    behind = prod(site.shape[site.axis :])
    matrix = build.input(f"{stem}/matrix", [site.width, site.width], kind)
    bias = build.input(f"{stem}/bias", [site.width, 1], kind)
    columns = build.add("Reshape", value, build.constant([-1, site.width, behind]))
    mapped = build.add("Add", build.add("MatMul", matrix, columns), bias)
    result = build.add("Reshape", mapped, build.add("Shape", value))
    return result, (f"{stem}/matrix", f"{stem}/bias")


def perturbed_whole(
    model: Model,
    sites: Iterable[Site],
    output: str,
    insert: Insert = insert_mask,
    *,
    more: Sequence[str] = (),
) -> Instrumented:
    """Return a whole model with a perturbation of each of some sites.

    Args:
        model: The model.
        sites: The sites.
        output: The first output of the graph.
        insert: The perturbation.
        more: Its other outputs.
    """
    graph = model.graph.clone()
    values = _by_name(graph)
    graph.outputs[:] = [values[name] for name in (output, *more)]
    needed_inputs = tuple(value.name or "" for value in graph.inputs if not value.is_initializer())
    added = {site.name: _insert(model, graph, values[site.name], site, insert) for site in sites}
    return Instrumented(_wrap(model, graph), needed_inputs, added, (output, *more))


def with_outputs(model: Model, tensors: Sequence[str]) -> Instrumented:
    """Return the part of a model that computes some tensors, with these as outputs.

    Args:
        model: The model.
        tensors: The names of the tensors.
    """
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    values = _by_name(model.graph)
    needed = ancestors([values[name] for name in tensors])
    needed_inputs = [value for value in inputs if id(value) in needed]
    graph = ir.convenience.extract(model.graph, needed_inputs, [values[name] for name in tensors])
    names = tuple(value.name or "" for value in needed_inputs)
    return Instrumented(_wrap(model, graph), names, {}, tuple(tensors))


def between(model: Model, given: Collection[str], tensors: Sequence[str]) -> Instrumented:
    """Return the part of a model that computes some tensors from others that are known.

    Its inputs are those of the given tensors and of the model's inputs that are needed.

    Args:
        model: The model.
        given: The names of tensors that are known.
        tensors: The names of the tensors that are wanted, none of them given.
    """
    values = _by_name(model.graph)
    found = ancestors([values[name] for name in tensors], lambda value: value.name not in given)
    inputs = [
        value
        for value in found.values()
        if value.name in given or (value.is_graph_input() and not value.is_initializer())
    ]
    graph = ir.convenience.extract(model.graph, inputs, [values[name] for name in tensors])
    names = tuple(value.name or "" for value in inputs)
    return Instrumented(_wrap(model, graph), names, {}, tuple(tensors))


def suffix(model: Model, site: Site, output: str, insert: Insert = insert_mask) -> Instrumented:
    """Return the part of a model that depends on a site, with a perturbation of it.

    Its inputs are the site's tensor and every other tensor that enters that part (the other branch
    of a residual sum, a skip connection).  Tensors without examples on their first axis (a size
    computed from a shape, tokens on the first axis) are computed again from others.

    Args:
        model: The model.
        site: The site.
        output: The only output of the graph.
        insert: The perturbation.
    """
    inputs = _entry(model, site, output)
    graph = ir.convenience.extract(model.graph, inputs, [_by_name(model.graph)[output]])
    names = tuple(value.name or "" for value in inputs)
    added = {site.name: _insert(model, graph, _by_name(graph)[site.name], site, insert)}
    return Instrumented(_wrap(model, graph), names, added, (output,))


def entry_of(model: Model, site: Site, output: str) -> tuple[str, ...]:
    """Return the names of the inputs of :func:`suffix`.

    Args:
        model: The model.
        site: The site.
        output: The only output.
    """
    return tuple(value.name or "" for value in _entry(model, site, output))


def _entry(model: Model, site: Site, output: str) -> list[ir.Value]:
    tensor = _by_name(model.graph)[site.name]
    others = [value for value in _entering(model, [tensor], output) if value is not tensor]
    return [tensor, *others]


def with_weight_inputs(
    model: Model,
    weights: Mapping[str, Sequence[ir.Value]],
    output: str,
    *,
    more: Sequence[str] = (),
) -> Instrumented:
    """Return the part of a model that depends on weights, with these as inputs.

    With several outputs, not all of which need depend on the weights, it is the whole model.

    Args:
        model: The model.
        weights: By the name of a site, the weights that become inputs, named ``WEIGHT + name``.
        output: The first output of the graph.
        more: Its other outputs.
    """
    changed = list({id(v): v for values in weights.values() for v in values}.values())
    if more:
        inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    else:
        inputs = _entering(model, changed, output)
    ends = [_by_name(model.graph)[name] for name in (output, *more)]
    graph = ir.convenience.extract(model.graph, inputs, ends)
    names = tuple(value.name or "" for value in inputs)
    values = _by_name(graph) | dict(graph.initializers.items())
    for weight in changed:
        old = values[weight.name or ""]
        new = ir.Value(name=f"{WEIGHT}{weight.name}", shape=weight.shape, type=weight.type)
        graph.inputs.append(new)
        ir.convenience.replace_all_uses_with(old, new)
        graph.initializers.pop(weight.name or "", None)
    added = {
        site: tuple(f"{WEIGHT}{value.name}" for value in values) for site, values in weights.items()
    }
    return Instrumented(_wrap(model, graph), names, added, (output, *more))


def _entering(model: Model, changed: Sequence[ir.Value], output: str) -> list[ir.Value]:
    """Return the tensors, no constants, that enter the part of the graph that depends on values."""
    dependent = _descendants(model.graph, changed)
    shapes = _shape_values(model.graph)
    changed_ids = {id(value) for value in changed}

    def is_inside(value: ir.Value) -> bool:
        inside = id(value) in dependent or id(value) in shapes
        inside = inside or not batch_first(value, model.batch)
        return inside and id(value) not in changed_ids

    needed = ancestors([_by_name(model.graph)[output]], is_inside)
    last = [v for v in needed.values() if not is_inside(v) or v.producer() is None]
    return [value for value in last if not is_constant(value)]


def _insert(
    model: Model, graph: ir.Graph, value: ir.Value, site: Site, insert: Insert
) -> tuple[str, ...]:
    """Insert a perturbation of a tensor, and let all its consumers use the perturbed tensor."""
    uses = [(use.node, use.idx) for use in value.uses()]
    following = _following(graph, value.producer())
    opset = model.ir.opset_imports.get("", 17)
    build = Builder(graph, opset, f"frivkit.perturbed/{site.name}", before=following)
    perturbed, added = insert(build, value, site)
    perturbed.shape, perturbed.type = value.shape, value.type
    for consumer, index in uses:
        consumer.replace_input_with(index, perturbed)
    return added


def _following(graph: ir.Graph, node: ir.Node | None) -> ir.Node | None:
    """Return the node that follows another in the graph's order, the first for None."""
    nodes = iter(graph)
    if node is not None:
        next((each for each in nodes if each is node), None)
    return next(nodes, None)


def _wrap(model: Model, graph: ir.Graph) -> ir.Model:
    graph.opset_imports.update(model.ir.opset_imports)
    return ir.Model(graph, ir_version=model.ir.ir_version)


def check_names(model: Model) -> None:
    """Raise an error if a tensor has a name that is reserved for perturbations.

    Raises:
        ModelError: a tensor has such a name.
    """
    taken = next((name for name in _by_name(model.graph) if name.startswith((RUN, NOISE))), None)
    if taken is not None:
        raise ModelError(
            f"{model.path.name} has a tensor named {taken!r}, a name that frivkit keeps for "
            "itself: rename it"
        )


def _by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    stored = (*graph.initializers.values(), *graph.inputs)
    values = {value.name or "": value for value in stored}
    values |= {value.name or "": value for node in graph for value in node.outputs}
    return values


def _descendants(graph: ir.Graph, values: Iterable[ir.Value]) -> set[int]:
    first = {id(value) for value in values}
    reached = set(first)
    for node in graph:
        if any(id(value) in reached for value in consumed_values(node)):
            reached.update(id(value) for value in node.outputs)
    return reached - first


def _shape_values(graph: ir.Graph) -> set[int]:
    """Return the ids of values that are computed from sizes of tensors and from constants alone."""
    return remembered(graph, "values of shapes", lambda: _found_shape_values(graph))


def _found_shape_values(graph: ir.Graph) -> set[int]:
    shape_values: set[int] = set()
    for node in graph:
        consumed = consumed_values(node)
        if node.op_type in SHAPE_ONLY or (
            any(id(value) in shape_values for value in consumed)
            and all(id(value) in shape_values or is_constant(value) for value in consumed)
        ):
            shape_values.update(id(value) for value in node.outputs)
    return shape_values


def ancestors(
    targets: Iterable[ir.Value], is_inside: Callable[[ir.Value], bool] = lambda value: True
) -> dict[int, ir.Value]:
    """Return the values from which targets are computed, by ``id(value)``.

    Args:
        targets: The targets, which are among the values.
        is_inside: Whether the producer of a value is followed.
    """
    seen: dict[int, ir.Value] = {}
    pending = list(targets)
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        node = value.producer()
        if node is not None and is_inside(value):
            pending.extend(consumed_values(node))
    return seen
