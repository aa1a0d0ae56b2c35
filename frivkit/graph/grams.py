"""A copy of a model that gives second moments of its sites instead of its outputs.

The Gram of a site is a node beside it, so that no activation leaves the runtime.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from frivkit.graph.instrument import tapped
from frivkit.graph.model import Model
from frivkit.graph.sites import Site

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
    """Give the part of a model that computes ``sites``, with their sums as outputs.

    Args:
        model: The model.
        sites: The sites to sum over.
        axes: For each site by name the axes of its tensor whose entries are units, in order; the
            others, the batch among them, are observations.
        exact: Sum in float64 rather than float32.
    """
    part = tapped(model, [site.name for site in sites])
    graph = part.ir.graph
    values = {value.name: value for value in graph.outputs}
    build = _Builder(graph, model.ir.opset_imports.get("", 17), exact=exact)
    shifts, grams, totals = {}, {}, {}
    for site in sites:
        shifts[site.name], grams[site.name], totals[site.name] = build.sums(
            values[site.name], site, axes[site.name]
        )
    graph.outputs[:] = build.outputs
    part.ir.ir_version = max(OLDEST_IR, part.ir.ir_version)
    return GramGraph(part.ir, part.inputs, shifts, grams, totals)


class _Builder:
    """Appends nodes to a graph, each with one output."""

    def __init__(self, graph: ir.Graph, opset: int, *, exact: bool) -> None:
        self._graph, self._opset = graph, opset
        self._type = ir.DataType.DOUBLE if exact else ir.DataType.FLOAT
        self._made = 0
        self.outputs: list[ir.Value] = []

    def sums(self, value: ir.Value, site: Site, units: tuple[int, ...]) -> tuple[str, str, str]:
        """Add the shifted Gram and sum of a tensor; give the shift input and the two outputs."""
        places = tuple(axis for axis in range(1, len(site.shape) + 1) if axis not in units)
        width = prod(site.shape[axis - 1] for axis in units)
        count = prod(site.shape[axis - 1] for axis in places)
        cast = self._add("Cast", value, attributes={"to": self._type.value})
        ordered = (0, *units, *places)
        if ordered != tuple(range(len(ordered))):
            cast = self._add("Transpose", cast, attributes={"perm": list(ordered)})
        rows = self._add("Reshape", cast, self._constant([0, width, count]))
        shift = ir.Value(
            name=f"{SHIFT}{site.name}",
            shape=ir.Shape([1, width, 1]),
            type=ir.TensorType(self._type),
        )
        self._graph.inputs.append(shift)
        shifted = self._add("Sub", rows, shift)
        total = self._reduced(shifted, [0, 2])
        if count > width:  # one small product an example, summed: no copy of the activations
            turned = self._add("Transpose", shifted, attributes={"perm": [0, 2, 1]})
            gram = self._reduced(self._add("MatMul", shifted, turned), [0])
        else:
            flat = shifted
            if count > 1:
                flat = self._add("Transpose", shifted, attributes={"perm": [0, 2, 1]})
            flat = self._add("Reshape", flat, self._constant([-1, width]))
            turned = self._add("Transpose", flat, attributes={"perm": [1, 0]})
            gram = self._add("MatMul", turned, flat)
        for output, sizes in ((gram, [width, width]), (total, [width])):
            output.type, output.shape = ir.TensorType(self._type), ir.Shape(sizes)
            self.outputs.append(output)
        return shift.name or "", gram.name or "", total.name or ""

    def _reduced(self, value: ir.Value, axes: list[int]) -> ir.Value:
        if self._opset >= 13:  # axes became an input
            return self._add("ReduceSum", value, self._constant(axes), attributes={"keepdims": 0})
        return self._add("ReduceSum", value, attributes={"axes": axes, "keepdims": 0})

    def _constant(self, numbers: list[int]) -> ir.Value:
        tensor = ir.tensor(np.array(numbers, dtype=np.int64))
        name = self._name()
        value = ir.Value(
            name=name,
            const_value=tensor,
            shape=ir.Shape([len(numbers)]),
            type=ir.TensorType(ir.DataType.INT64),
        )
        self._graph.register_initializer(value)
        return value

    def _add(
        self, op: str, *inputs: ir.Value, attributes: Mapping[str, Any] | None = None
    ) -> ir.Value:
        node = ir.node(op, inputs, attributes=attributes or {}, name=self._name())
        node.outputs[0].name = f"{node.name}/out"
        self._graph.append(node)
        return node.outputs[0]

    def _name(self) -> str:
        self._made += 1
        return f"frivkit.gram/{self._made}"
