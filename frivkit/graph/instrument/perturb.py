"""Copies of a model with taps, and with what perturbs it as inputs: one session serves every mask.

What a run may change is an input: masks, folds and weights are the same for every example and their
names begin with ``RUN``; noise is drawn for each example and lies beside the model's own inputs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.builder import Builder
from frivkit.graph.layout import SHAPE_ONLY
from frivkit.graph.model import Model, is_constant, reads
from frivkit.graph.shapes import batch_first
from frivkit.graph.sites.site_map import Site

RUN = "frivkit."
"""Prefix of the names of inputs that are the same for every example."""
MASK = f"{RUN}mask/"
"""Prefix of the names of mask inputs; the tensor's name follows."""
FOLD = f"{RUN}fold/"
"""Prefix of the names of the inputs of folds: ``FOLD + tensor + "/matrix"`` and ``"/bias"``."""
WEIGHT = f"{RUN}weight/"
"""Prefix of the names of weights that became inputs; the weight's name follows."""
NOISE = "frivkit-noise/"
"""Prefix of the names of noise inputs, one entry for each of the tensor's."""


@dataclass(frozen=True, slots=True)
class Instrumented:
    """A graph to run, and the inputs it takes.

    Attributes:
        ir: A graph of its own; weights are shared with the model it came from.
        inputs: Names of the tensors that must be fed, those of perturbations excepted.
        added: For each perturbed site by name the inputs that perturb it.
        outputs: Names of the tensors it gives.
    """

    ir: ir.Model
    inputs: tuple[str, ...]
    added: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...]


Insert = Callable[[Builder, ir.Value, Site], tuple[ir.Value, tuple[str, ...]]]
"""Appends nodes that perturb a tensor: gives what is read in its stead, and the added inputs."""


def masked(build: Builder, value: ir.Value, site: Site) -> tuple[ir.Value, tuple[str, ...]]:
    """Multiply a tensor by a mask."""
    name = f"{MASK}{site.name}"
    sizes = ["frivkit.MB", *(f"{name}/{axis}" for axis in range(1, len(site.shape) + 1))]
    mask = build.input(name, sizes, value.dtype or ir.DataType.FLOAT)
    return build.add("Mul", value, mask), (name,)


def noisy(build: Builder, value: ir.Value, site: Site) -> tuple[ir.Value, tuple[str, ...]]:
    """Add noise in units of the standard deviation of each example's entries."""
    name, kind = f"{NOISE}{site.name}", value.dtype or ir.DataType.FLOAT
    noise = build.input(name, ["frivkit.N", *site.shape], ir.DataType.FLOAT)
    axes = list(range(1, len(site.shape) + 1))
    entries = build.add("Cast", value, to=ir.DataType.FLOAT.value)
    about = build.add("Sub", entries, build.reduced("ReduceMean", entries, axes, keepdims=True))
    squares = build.add("Mul", about, about)
    spread = build.add("Sqrt", build.reduced("ReduceMean", squares, axes, keepdims=True))
    changed = build.add("Add", entries, build.add("Mul", noise, spread))
    return build.add("Cast", changed, to=kind.value), (name,)


def folded(build: Builder, value: ir.Value, site: Site) -> tuple[ir.Value, tuple[str, ...]]:
    """Map the units of a tensor by a matrix and a bias, alike at every place."""
    stem, kind = f"{FOLD}{site.name}", value.dtype or ir.DataType.FLOAT
    behind = prod(site.shape[site.axis :])
    matrix = build.input(f"{stem}/matrix", [site.width, site.width], kind)
    bias = build.input(f"{stem}/bias", [site.width, 1], kind)
    columns = build.add("Reshape", value, build.constant([-1, site.width, behind]))
    mapped = build.add("Add", build.add("MatMul", matrix, columns), bias)
    result = build.add("Reshape", mapped, build.add("Shape", value))
    return result, (f"{stem}/matrix", f"{stem}/bias")


def perturbed_whole(
    model: Model, sites: Iterable[Site], output: str, insert: Insert = masked
) -> Instrumented:
    """Return the whole model with a perturbation behind every site of ``sites``."""
    graph = model.graph.clone()
    values = _by_name(graph)
    graph.outputs[:] = [values[output]]
    fed = tuple(value.name or "" for value in graph.inputs if not value.is_initializer())
    added = {site.name: _insert(model, graph, values[site.name], site, insert) for site in sites}
    return Instrumented(_wrap(model, graph), fed, added, (output,))


def with_outputs(model: Model, tensors: Sequence[str]) -> Instrumented:
    """Return the part of the model that computes ``tensors``, without what lies behind them."""
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    values = _by_name(model.graph)
    needed = _ancestors([values[name] for name in tensors])
    fed = [value for value in inputs if id(value) in needed]
    graph = ir.convenience.extract(model.graph, fed, [values[name] for name in tensors])
    names = tuple(value.name or "" for value in fed)
    return Instrumented(_wrap(model, graph), names, {}, tuple(tensors))


def suffix(model: Model, site: Site, output: str, insert: Insert = masked) -> Instrumented:
    """Return what lies behind a site, with a perturbation on it.

    Its inputs are the site's own tensor and every other tensor that enters the part of the graph
    that depends on the site (the other branch of a residual sum, a skip connection).  What has no
    examples on its first axis (a size computed from a shape, tokens laid first) is computed again
    from what has.
    """
    tensor = _by_name(model.graph)[site.name]
    others = [value for value in _entering(model, [tensor], output) if value is not tensor]
    entries = [tensor, *others]
    graph = ir.convenience.extract(model.graph, entries, [_by_name(model.graph)[output]])
    names = tuple(value.name or "" for value in entries)
    added = {site.name: _insert(model, graph, _by_name(graph)[site.name], site, insert)}
    return Instrumented(_wrap(model, graph), names, added, (output,))


def reweighted(
    model: Model, weights: Mapping[str, Sequence[ir.Value]], output: str
) -> Instrumented:
    """Return what depends on weights, with these as inputs.

    Args:
        model: The model.
        weights: For each site by name the weights that become inputs, ``WEIGHT`` before the name.
        output: The output that is wanted.
    """
    changed = list({id(v): v for values in weights.values() for v in values}.values())
    entries = _entering(model, changed, output)
    graph = ir.convenience.extract(model.graph, entries, [_by_name(model.graph)[output]])
    names = tuple(value.name or "" for value in entries)
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
    return Instrumented(_wrap(model, graph), names, added, (output,))


def _entering(model: Model, changed: Sequence[ir.Value], output: str) -> list[ir.Value]:
    """Return the tensors, no constants, that enter the part of the graph that depends on values."""
    behind = _descendants(model.graph, changed)
    sizes = _sizes(model.graph)
    starts = {id(value) for value in changed}

    def passes(value: ir.Value) -> bool:
        kept = id(value) in behind or id(value) in sizes or not batch_first(value, model.batch)
        return kept and id(value) not in starts

    needed = _ancestors([_by_name(model.graph)[output]], passes)
    last = [v for v in needed.values() if not passes(v) or v.producer() is None]
    return [value for value in last if not is_constant(value)]


def _insert(
    model: Model, graph: ir.Graph, value: ir.Value, site: Site, insert: Insert
) -> tuple[str, ...]:
    """Perturb a tensor and let every reader read the result."""
    readers = [(use.node, use.idx) for use in value.uses()]
    behind = _behind(graph, value.producer())
    opset = model.ir.opset_imports.get("", 17)
    build = Builder(graph, opset, f"frivkit.perturbed/{site.name}", before=behind)
    instead, added = insert(build, value, site)
    instead.shape, instead.type = value.shape, value.type
    for reader, index in readers:
        reader.replace_input_with(index, instead)
    return added


def _behind(graph: ir.Graph, node: ir.Node | None) -> ir.Node | None:
    """Return the node that follows another in the graph's order, the first for None."""
    nodes = iter(graph)
    if node is not None:
        next((each for each in nodes if each is node), None)
    return next(nodes, None)


def _wrap(model: Model, graph: ir.Graph) -> ir.Model:
    graph.opset_imports.update(model.ir.opset_imports)
    return ir.Model(graph, ir_version=model.ir.ir_version)


def check_names(model: Model) -> None:
    """Make sure that no tensor has a name that perturbations take.

    Raises:
        ModelError: one has.
    """
    taken = next((name for name in _by_name(model.graph) if name.startswith((RUN, NOISE))), None)
    if taken is not None:
        raise ModelError(
            f"{model.path.name} has a tensor named {taken!r}, a name that frivkit keeps for "
            "itself: rename it"
        )


def _by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    values = {value.name or "": value for value in graph.inputs}
    values |= {value.name or "": value for node in graph for value in node.outputs}
    return values


def _descendants(graph: ir.Graph, starts: Iterable[ir.Value]) -> set[int]:
    first = {id(value) for value in starts}
    reached = set(first)
    for node in graph:
        read = [value for value in reads(node) if id(value) in reached]
        if read:
            reached.update(id(value) for value in node.outputs)
    return reached - first


def _sizes(graph: ir.Graph) -> set[int]:
    """Return the ids of values that are computed from sizes of tensors and from constants alone."""
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
    """Return what targets are computed from, looking only behind values that ``passes`` lets by."""
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
