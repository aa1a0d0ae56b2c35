"""Tensors with other amounts of numbers than their shapes say are refused by name."""

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from frivkit.errors import ModelError
from frivkit.graph.onnx_io.tensor_data import check_tensors

RAW = {"data_type": TensorProto.FLOAT, "dims": [2, 3], "raw_data": bytes(24)}
TYPED = {"data_type": TensorProto.INT64, "dims": [4], "int64_data": [1, 2, 3, 4]}
PACKED = {"data_type": TensorProto.INT4, "dims": [3], "raw_data": bytes(2)}
PAIRS = {"data_type": TensorProto.COMPLEX64, "dims": [2], "float_data": [1, 2, 3, 4]}
EMPTY = {"data_type": TensorProto.FLOAT, "dims": [0, 3]}


def holding(where: str, fields: dict[str, object]) -> ir.Model:
    """Return a model that has a tensor as an initializer, in a Constant node, or in a branch."""
    tensor = TensorProto(name="w", **fields)
    constant = onnx.NodeProto(op_type="Constant", output=["w"], name="w")
    constant.attribute.append(onnx.AttributeProto(name="value", type=4, t=tensor))
    output = helper.make_empty_tensor_value_info("w")
    graph = helper.make_graph([], "g", [], [output])
    if where == "initializer":
        graph.initializer.append(tensor)
    elif where == "constant":
        graph.node.append(constant)
    else:
        inner = helper.make_graph([constant], "inner", [], [output])
        graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner))
    return ir.from_proto(helper.make_model(graph))


@pytest.mark.parametrize("where", ["initializer", "constant", "branch"])
@pytest.mark.parametrize("fields", [RAW, TYPED, PACKED, PAIRS, EMPTY])
def test_whole_tensors_pass(where, fields):
    check_tensors(holding(where, fields), "net.onnx")


@pytest.mark.parametrize("where", ["initializer", "constant", "branch"])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({**RAW, "raw_data": bytes(23)}, r"of shape \[2, 3\] takes 24 bytes, and .* holds 23;"),
        ({**RAW, "raw_data": bytes(28)}, "takes 24 bytes, and the file holds 28;"),
        ({**RAW, "dims": [2, -3]}, r"has the shape \[2, -3\]; give a whole file"),
        ({**TYPED, "int64_data": [1, 2, 3]}, "takes 4 numbers, and the file holds 3;"),
        ({**TYPED, "dims": [2**40]}, "takes 1099511627776 numbers, and the file holds 4;"),
        ({**PACKED, "raw_data": bytes(1)}, "takes 2 bytes, and the file holds 1;"),
        ({**PAIRS, "float_data": [1, 2]}, "takes 4 numbers, and the file holds 2;"),
    ],
)
def test_other_amounts_are_refused_by_name(where, fields, reason):
    with pytest.raises(ModelError, match=rf"net.onnx: tensor 'w' .*{reason}"):
        check_tensors(holding(where, fields), "net.onnx")
