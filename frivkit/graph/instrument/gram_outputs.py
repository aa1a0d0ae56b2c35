"""Copies of a model whose outputs are second moments of its sites.

The Gram matrix of a site is computed by nodes of the graph, so that no activation leaves the
runtime.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.limits import INITIALIZERS_ARE_NO_INPUTS
from frivkit.graph.sites.site_map import Site

SHIFT = "frivkit.shift/"
"""Prefix of the inputs that are subtracted from each site; the tensor's name follows."""


@dataclass(frozen=True, slots=True)
class GramGraph:
    """A graph to run, and its outputs.

    Attributes:
        ir: The graph.
        inputs: Names of the model's own inputs that a run needs.
        shifts: By the name of a site, its shift input, shape (1, units, 1).
        grams: By the name of a site, the output with its Gram matrix, shape (units, units).
        totals: By the name of a site, the output with its sum, shape (units,).
    """

    ir: ir.Model
    inputs: tuple[str, ...]
    shifts: dict[str, str]
    grams: dict[str, str]
    totals: dict[str, str]


def with_grams(
    model: Model, sites: Sequence[Site], axes: Mapping[str, tuple[int, ...]], *, exact: bool
) -> GramGraph:
    """Return the part of a model that computes some sites, with their moments as outputs.

    With observations *x* (one for each example and position) and a shift *s*, the Gram matrix is
    the sum of *(x - s)(x - s)ᵀ* and the total the sum of *x - s*.

    Args:
        model: The model.
        sites: The sites.
        axes: By the name of a site, the axes of its tensor whose entries are units, in order; the
            others, the batch among them, are observations.
        exact: Whether to sum in float64 rather than float32.
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
    part.ir.ir_version = max(INITIALIZERS_ARE_NO_INPUTS, part.ir.ir_version)
    return GramGraph(part.ir, part.inputs, shifts, grams, totals)


def _sums(
    build: Builder, value: ir.Value, site: Site, units: tuple[int, ...], kind: ir.DataType
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Add the nodes of the moments of a tensor, and return the shift, the Gram and the total."""
    spatial = tuple(axis for axis in range(1, len(site.shape) + 1) if axis not in units)
    width = prod(site.shape[axis - 1] for axis in units)
    count = prod(site.shape[axis - 1] for axis in spatial)
    cast = build.add("Cast", value, to=kind.value)
    ordered = (0, *units, *spatial)
    if ordered != tuple(range(len(ordered))):
        cast = build.add("Transpose", cast, perm=list(ordered))
    rows = build.add("Reshape", cast, build.constant([0, width, count]))
    shift = build.input(f"{SHIFT}{site.name}", [1, width, 1], kind)
    shifted = build.add("Sub", rows, shift)
    total = build.reduce("ReduceSum", shifted, [0, 2])
    if count >= width:  # a small product for each example, summed: no copy of the activations
        transposed = build.add("Transpose", shifted, perm=[0, 2, 1])
        gram = build.reduce("ReduceSum", build.add("MatMul", shifted, transposed), [0])
    else:
        flat = shifted
        if count > 1:
            flat = build.add("Transpose", shifted, perm=[0, 2, 1])
        flat = build.add("Reshape", flat, build.constant([-1, width]))
        transposed = build.add("Transpose", flat, perm=[1, 0])
        gram = build.add("MatMul", transposed, flat)
    for output, sizes in ((gram, [width, width]), (total, [width])):
        output.type, output.shape = ir.TensorType(kind), ir.Shape(sizes)
    return shift, gram, total
