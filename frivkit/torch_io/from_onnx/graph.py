"""The graph that is translated: constants are initializers, and it ends at the wanted tensors."""

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import (
    LiftConstantsToInitializersPass,
    LiftSubgraphInitializersToMainGraphPass,
)

from frivkit.errors import unknown_name
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model

OLDEST = 4
"""The first version of ONNX's format in which initializers need not be inputs."""

LIFTED = "frivkit.constant"
"""Key, in the ``meta`` of an initializer, of the mark that it was a Constant node."""


def wanted_tensors(model: Model, tensors: Sequence[str] | None) -> list[str]:
    """Return the names of the tensors that a module returns.

    Args:
        model: The model.
        tensors: Names that a user gave; None takes the outputs of the model.

    Raises:
        UsageError: the model computes no tensor of a name, or no name is given.
    """
    if tensors is None:
        return [value.name or "" for value in model.graph.outputs]
    computed = [value.name or "" for node in model.graph for value in node.outputs]
    for name in tensors or [""]:
        if name not in computed:
            raise unknown_name("tensor", name, filter(None, computed))
    return list(tensors)


def part_of(model: Model, tensors: Sequence[str]) -> ir.Model:
    """Return a copy of the part of a model that computes some tensors, with these as outputs."""
    part = with_outputs(model, tensors).ir
    part.metadata_props.update(model.ir.metadata_props)
    return part


def with_lifted_constants(model: ir.Model) -> ir.Model:
    """Return a copy in which the tensors of Constant nodes are initializers of the main graph.

    Those of subgraphs are lifted, too; a Constant that is an output stays what it is.
    """
    copy = model.clone()
    before = {id(value) for graph in copy.graphs() for value in graph.initializers.values()}
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    LiftSubgraphInitializersToMainGraphPass()(copy)
    for value in copy.graph.initializers.values():
        if id(value) not in before:
            value.meta[LIFTED] = True
    copy.ir_version = max(copy.ir_version, OLDEST)
    return copy
