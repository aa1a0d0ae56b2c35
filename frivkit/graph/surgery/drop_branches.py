"""Leave out branches of residual blocks: a constant, the mean of the branch, is added instead."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import shape_of
from frivkit.graph.names import node_label
from frivkit.graph.sites.branches import ResidualBranch
from frivkit.graph.surgery.constant_edits import NewConstants, drop_unused


def drop_branches(model: ir.Model, means: Mapping[ResidualBranch, NDArray[Any]]) -> ir.Model:
    """Return a model in which branches of residual blocks are replaced by constants.

    What only the branches need is removed.  A constant of zeros is not added: what read the sum
    reads the skip.

    Args:
        model: The model, narrowed, factorized or not; unchanged weights are shared with it.
        means: By branch, what is added in its place, shape (channels,): a number for each channel
            along the branch's axis, the mean over examples and positions say.

    Raises:
        ModelError: the model has no such branch, a mean has another number of channels, or a
            number is not finite.
    """
    copy = model.clone()
    nodes = {node_label(node): node for node in copy.graph}
    constants = NewConstants(copy.graph, copy.ir_version)
    places = {branch: _find(nodes, branch) for branch in means}
    for branch, (add, index) in places.items():
        mean = means[branch]
        old = add.inputs[index]
        sizes = shape_of(old) or ()
        if np.shape(mean) != sizes[branch.axis : branch.axis + 1]:
            raise ModelError(
                f"the branch that {branch.add} adds has shape {sizes}; give a number for each "
                f"channel along axis {branch.axis}, not an array of shape {np.shape(mean)}"
            )
        if not np.isfinite(mean).all():
            raise ModelError(f"a mean of the branch that {branch.add} adds is not finite")
        if np.any(mean):
            dtype = None if old is None else old.dtype
            kind = np.float32 if dtype is None else dtype.numpy()
            shape = [-1 if axis == branch.axis else 1 for axis in range(len(sizes))]
            numbers = np.reshape(mean, shape).astype(kind)
            constant = constants.new_constant(f"{branch.output}/mean", numbers, dtype)
            add.replace_input_with(index, constant)
        else:
            _skip(add, 1 - index)
    drop_unused(copy.graph)
    return copy


def _find(nodes: Mapping[str, ir.Node], branch: ResidualBranch) -> tuple[ir.Node, int]:
    """Return the sum of a branch, and the operand that the branch is."""
    add = nodes.get(branch.add)
    names = [] if add is None else [None if value is None else value.name for value in add.inputs]
    if add is None or len(names) != 2 or branch.output not in names:
        raise ModelError(
            f"no node called {branch.add!r} adds {branch.output!r} to something; give branches of "
            "this model"
        )
    return add, names.index(branch.output)


def _skip(add: ir.Node, index: int) -> None:
    """Let the readers of a sum read one of its operands; an output of the graph keeps its name."""
    kept, total = add.inputs[index], add.outputs[0]
    for use in list(total.uses()):
        use.node.replace_input_with(use.idx, kept)
    add.op_type = "Identity"  # which stays if its output is one of the graph
    add.replace_input_with(0, kept)
    add.resize_inputs(1)
