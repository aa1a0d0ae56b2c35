"""Fixed stages on the way through a model.

What is in front of a site is computed by way of stages, so that most of it is computed once for
all sites.  The last bits of a tensor depend on the graph that computes it.  So stages depend on the
model alone: whatever is measured, and whatever was kept, a tensor has the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.cost import node_macs
from frivkit.graph.instrument.perturb import ancestors, entry_of
from frivkit.graph.model import Model
from frivkit.graph.operators.table import operators_of
from frivkit.graph.shapes import batch_first
from frivkit.graph.sites.site_map import Site

STEP = 1 / 10
"""Least share of the model's multiply-accumulates from one stage to the next."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Tensors from which all that lies behind a site can be computed.

    Attributes:
        tensors: Their names; inputs of the model are none of them.
        before: The stage from which they are computed, with inputs of the model; None if they are
            computed from these alone.
        macs: The multiply-accumulates of one example from the stage before to this one.
    """

    tensors: tuple[str, ...]
    before: "Stage | None"
    macs: int

    @property
    def path(self) -> "tuple[Stage, ...]":
        """The stages on the way to it, itself last."""
        return (*(self.before.path if self.before else ()), self)


class StagePlan:
    """The stages of a model.

    Args:
        model: The model.
        output: The output on whose way they lie.
        sites: All sites in front of that output, in the order of the graph.

    Attributes:
        stages: The stages, in the order of the sites.
    """

    def __init__(self, model: Model, output: str, sites: Sequence[Site]) -> None:
        operators = operators_of(model)
        self.stages: list[Stage] = []
        self._nodes: list[frozenset[int]] = []
        self._macs = {id(node): node_macs(node, operators) or 0 for node in model.graph}
        self._values = {value.name: value for node in model.graph for value in node.outputs}
        whole, passed = sum(self._macs.values()), 0
        behind: dict[str, int] = {}
        for node in model.graph:
            passed += self._macs[id(node)]
            behind |= {value.name or "": passed for value in node.outputs}
        reached = 0
        for site in sites:
            if behind.get(site.name, 0) - reached < max(1, STEP * whole):  # too near to the last
                continue
            entry = entry_of(model, site, output)
            tensors = tuple(name for name in entry if name in self._values)
            if not all(batch_first(self._values[name], model.batch) for name in tensors):
                continue
            nodes = self._computing(tensors, ())
            macs = self._sum(nodes)
            if macs - reached >= STEP * whole:
                before = self.before(tensors)
                added = self._computing(tensors, before.tensors if before else ())
                self.stages.append(Stage(tensors, before, self._sum(added)))
                self._nodes.append(nodes)
                reached = macs

    def before(self, tensors: Sequence[str]) -> Stage | None:
        """Return the last stage from which tensors can be computed without computing it again.

        Args:
            tensors: Names of tensors that nodes of the graph compute.

        Returns:
            The stage, which may hold these tensors; None if they are computed from the inputs.
        """
        nodes = self._computing(tensors, ())
        for stage, earlier in zip(reversed(self.stages), reversed(self._nodes), strict=True):
            if earlier <= nodes and not self._sum(
                earlier & self._computing(tensors, stage.tensors)
            ):
                return stage
        return None

    def _computing(self, tensors: Sequence[str], given: Sequence[str]) -> frozenset[int]:
        """Return the ids of the nodes that compute tensors from given ones."""
        known = {id(self._values[name]) for name in given}

        def is_computed(value: ir.Value) -> bool:
            return id(value) not in known

        found = ancestors([self._values[name] for name in tensors], is_computed).values()
        producers = (value.producer() for value in found if is_computed(value))
        return frozenset(id(node) for node in producers if node is not None)

    def _sum(self, nodes: frozenset[int]) -> int:
        """Return the multiply-accumulates of nodes; those within subgraphs count with theirs."""
        return sum(self._macs.get(node, 0) for node in nodes)
