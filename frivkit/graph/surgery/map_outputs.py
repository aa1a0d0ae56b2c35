"""Put linear maps into the weights of nodes: of their outputs among themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.layout import attribute
from frivkit.graph.model import constant_tensor
from frivkit.graph.names import node_label
from frivkit.graph.sites.consumers import added_bias
from frivkit.graph.sites.shared_weights import LINEAR_CONSUMERS
from frivkit.graph.surgery.constant_edits import NewConstants, drop_unused
from frivkit.graph.surgery.set_weights import set_bias


@dataclass(frozen=True, slots=True, eq=False)
class OutputMap:
    """An affine map of the outputs of a node: new outputs are ``outputs @ matrix + bias``.

    Attributes:
        matrix: Shape (outputs, outputs).
        bias: Shape (outputs,).
    """

    matrix: NDArray[np.float64]
    bias: NDArray[np.float64]

    def then(self, other: "Self") -> "OutputMap":
        """Return the map that applies this one, then another."""
        return OutputMap(self.matrix @ other.matrix, self.bias @ other.matrix + other.bias)


def map_outputs(model: ir.Model, maps: Mapping[str, OutputMap]) -> ir.Model:
    """Return a model in which maps of the outputs of nodes are part of their weights and biases.

    Args:
        model: The model; unchanged weights are shared with it.
        maps: By the label of a MatMul, a Gemm or a convolution in one group, the map.

    Raises:
        ModelError: there is no such node, or its bias is computed.
    """
    copy = model.clone()
    nodes = {node_label(node): node for node in copy.graph if node.op_type in LINEAR_CONSUMERS}
    constants = NewConstants(copy.graph, copy.ir_version)
    for label, output_map in maps.items():
        node = nodes.get(label)
        weight = None if node is None else constant_tensor(node.inputs[1])
        if node is None or weight is None:
            raise ModelError(f"no weighted node is called {label!r}; see 'frivkit inspect'")
        first = node.op_type == "Conv" or attribute(node, "transB", 0)
        array = weight.numpy().astype(np.float64)
        mapped = np.tensordot(output_map.matrix.T, array, 1) if first else array @ output_map.matrix
        bias = _bias(node, len(output_map.bias)) @ output_map.matrix + output_map.bias
        constants.replace_operand(node, 1, mapped.astype(weight.numpy().dtype), weight.dtype)
        if bias.any():
            set_bias(constants, node, bias)
    drop_unused(copy.graph)
    return copy


def _bias(node: ir.Node, outputs: int) -> NDArray[np.float64]:
    """Return the bias of a node, zeros if it has none."""
    value, factor = None, 1.0
    if node.op_type == "MatMul":
        added = added_bias(node)
        value = None if added is None else added[0].inputs[added[1]]
    elif len(node.inputs) > 2:
        value = node.inputs[2]
        beta = node.attributes.get("beta") if node.op_type == "Gemm" else None
        factor = 1.0 if beta is None else beta.as_float()
    tensor = constant_tensor(value)
    if tensor is None:
        return np.zeros(outputs)
    numbers: NDArray[Any] = tensor.numpy().astype(np.float64).ravel() * factor
    return np.broadcast_to(numbers, (outputs,))
