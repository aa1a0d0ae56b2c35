"""A copy of a model that gives second moments of its sites instead of its outputs.

The Gram of a site is a node beside it, so that no activation leaves the runtime.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site

SHIFT = "frivkit.shift/"
"""Prefix of the inputs that are subtracted from each site; the tensor's name follows."""
OLDEST_IR = 4
"""IR version with which initializers that are no inputs came, as the added ones are."""


@dataclass(frozen=True, slots=True)
class GramGraph:
    """A graph to run, and where its sums come out.

    Attributes:
        ir: The graph.
        inputs: Names of the model's own inputs that must be fed.
        shifts: The shift input of each site, by the site's name.
        grams: The output with the Gram of each site, shape (units, units).
        totals: The output with the sum of each site, shape (units,).
    """

    ir: ir.Model
    inputs: tuple[str, ...]
    shifts: dict[str, str]
    grams: dict[str, str]
    totals: dict[str, str]


def with_grams(
    model: Model, sites: Sequence[Site], axes: Mapping[str, tuple[int, ...]], *, exact: bool
) -> GramGraph:
    """Return the part of a model that computes ``sites``, with their sums as outputs.

    Args:
        model: The model.
        sites: The sites to sum over.
        axes: For each site by name the axes of its tensor whose entries are units, in order; the
            others, the batch among them, are observations.
        exact: Sum in float64 rather than float32.
    """
    part = with_outputs(model, [site.name for site in sites])
    graph = part.ir.graph
    values = {value.name: value for value in graph.outputs}
    build = Builder(graph, model.ir.opset_imports.get("", 17), "frivkit.gram")
    kind = ir.DataType.DOUBLE if exact else ir.DataType.FLOAT
    shifts, grams, totals = {}, {}, {}
    outputs: list[ir.Value] = []
    for site in sites:
        shift, gram, total = _sums(build, values[site.name], site, axes[site.name], kind)
        outputs += [gram, total]
        shifts[site.name] = shift.name or ""
        grams[site.name], totals[site.name] = gram.name or "", total.name or ""
    graph.outputs[:] = outputs
    part.ir.ir_version = max(OLDEST_IR, part.ir.ir_version)
    return GramGraph(part.ir, part.inputs, shifts, grams, totals)


def _sums(
    build: Builder, value: ir.Value, site: Site, units: tuple[int, ...], kind: ir.DataType
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Add the shifted Gram and sum of a tensor; give the shift input and the two outputs."""
    places = tuple(axis for axis in range(1, len(site.shape) + 1) if axis not in units)
    width = prod(site.shape[axis - 1] for axis in units)
    count = prod(site.shape[axis - 1] for axis in places)
    cast = build.add("Cast", value, to=kind.value)
    ordered = (0, *units, *places)
    if ordered != tuple(range(len(ordered))):
        cast = build.add("Transpose", cast, perm=list(ordered))
    rows = build.add("Reshape", cast, build.constant([0, width, count]))
    shift = build.input(f"{SHIFT}{site.name}", [1, width, 1], kind)
    shifted = build.add("Sub", rows, shift)
    total = build.reduce("ReduceSum", shifted, [0, 2])
    if count > width:  # one small product an example, summed: no copy of the activations
        turned = build.add("Transpose", shifted, perm=[0, 2, 1])
        gram = build.reduce("ReduceSum", build.add("MatMul", shifted, turned), [0])
    else:
        flat = shifted
        if count > 1:
            flat = build.add("Transpose", shifted, perm=[0, 2, 1])
        flat = build.add("Reshape", flat, build.constant([-1, width]))
        turned = build.add("Transpose", flat, perm=[1, 0])
        gram = build.add("MatMul", turned, flat)
    for output, sizes in ((gram, [width, width]), (total, [width])):
        output.type, output.shape = ir.TensorType(kind), ir.Shape(sizes)
    return shift, gram, total
