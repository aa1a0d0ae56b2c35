"""A node between layers that make units and layers that read them, so that units can be removed."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import Model, signature
from frivkit.graph.operators.operator import Operator
from frivkit.testing.conformance.operator_example import RunnableNode

UnitMask = NDArray[np.bool_]

UNITS = 3
"""Units of the layers behind the node."""


@dataclass(frozen=True, slots=True)
class SurroundedNode:
    """A node between the layers that make its inputs and the layers that read its outputs.

    Attributes:
        model: The model.
        proto: The same model for an evaluator.
        axes: For each computed input that a layer makes the axis of its units.
        read: The tensor that each layer behind reads, by the name of the layer's weight.
    """

    model: Model
    proto: onnx.ModelProto
    axes: Mapping[str, int]
    read: Mapping[str, str]

    def zeroed(
        self, rows: Mapping[str, UnitMask], inputs: Mapping[str, UnitMask] | None = None
    ) -> onnx.ModelProto:
        """Return the model with 0 where consumers read units.

        Args:
            rows: The rows of the weights behind the node that are set to 0, by weight.
            inputs: The units that are set to 0 in front of the node, by computed input.
        """
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        for tensor in proto.graph.initializer:
            if tensor.name in rows:
                array = onnx.numpy_helper.to_array(tensor) * ~rows[tensor.name][:, np.newaxis]
                changed = onnx.numpy_helper.from_array(array.astype(np.float32), tensor.name)
                tensor.CopyFrom(changed)
        for name, flags in (inputs or {}).items():
            (producer,) = (node for node in proto.graph.node if name in node.output)
            producer.output[0] = f"{name}-unmasked"
            rank = next(len(spec.shape) for spec in self.model.inputs if spec.name == f"{name}-in")
            shape = [len(flags) if axis == self.axes[name] else 1 for axis in range(rank + 1)]
            mask = (~flags).astype(np.float32).reshape(shape)
            proto.graph.initializer.append(onnx.numpy_helper.from_array(mask, f"{name}-mask"))
            node = onnx.helper.make_node("Mul", [f"{name}-unmasked", f"{name}-mask"], [name])
            proto.graph.node.insert(list(proto.graph.node).index(producer) + 1, node)
        return proto


def surround(
    node: RunnableNode, axes: Mapping[str, int], operator: Operator, name: str
) -> SurroundedNode:
    """Put a node between layers.

    Args:
        node: The node.
        axes: For each computed input by name the axis on which the layer before it makes units:
            the last, or 1 of a tensor of rank 3 to 5.  An input that is not named comes from
            outside.
        operator: What is known of the node's operator.
        name: The operator's name.
    """
    example, generator = node.example, np.random.default_rng(1)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, NDArray[Any]] = {}
    inputs, read = [], {}
    make = onnx.helper.make_node
    for tensor, shape in example.computed.items():
        source = f"{tensor}-in" if tensor in axes else tensor
        inputs.append(
            onnx.helper.make_tensor_value_info(source, onnx.TensorProto.FLOAT, ["N", *shape])
        )
        if tensor not in axes:
            continue
        weight, dense = f"{tensor}-weight", axes[tensor] == len(shape)
        width = shape[axes[tensor] - 1]
        places = () if dense else (1,) * (len(shape) - 1)
        weights[weight] = generator.standard_normal((width, width, *places)) * width**-0.5
        op = "MatMul" if dense else "Conv"
        nodes.append(make(op, [source, weight], [f"{tensor}-sums"], name=f"{tensor}-layer"))
        nodes.append(make("Softplus", [f"{tensor}-sums"], [tensor], name=f"{tensor}-units"))
    nodes.append(node.proto)
    parts = []
    for output, sizes in node.sizes.items():
        known = [size for size in sizes[1:] if size is not None]
        if not known or sizes[0] is not None or len(known) < len(sizes) - 1:
            continue
        wide, weight = prod(known), f"{output}-weight"
        weights[weight] = generator.standard_normal((wide, UNITS)) * wide**-0.5
        read[weight] = f"{output}-flat"
        nodes += [
            make("Cast", [output], [f"{output}-float"], to=onnx.TensorProto.FLOAT),
            make("Flatten", [f"{output}-float"], [f"{output}-flat"]),
            make("MatMul", [f"{output}-flat", weight], [f"{output}-read"], name=f"{output}-behind"),
        ]
        parts.append(f"{output}-read")
    nodes.append(make("Sum", parts, ["scores"]))
    tensors = [
        onnx.numpy_helper.from_array(array.astype(np.float32), key)
        for key, array in weights.items()
    ]
    scores = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", UNITS])
    proto = node.graph_model(nodes, inputs, [scores], tensors)
    proto.graph.value_info.extend(node.typed)
    proto = onnx.shape_inference.infer_shapes(proto)
    graph = ir.from_proto(proto)
    specs, batch = signature(graph.graph, name)
    model = Model(
        graph, Path("<example>"), "onnx", "0" * 64, specs, batch, operators={name: operator}
    )
    return SurroundedNode(model, proto, axes, read)
