"""What an inspection says of labels follows the options by which they are read."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frivkit.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Write a network whose output has shape (n, 3, 5)."""
    weights = np.random.default_rng(0).normal(size=(4, 15)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Reshape", ["h", "shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 5])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.array([-1, 3, 5]), "shape"),
        ],
    )
    opset = helper.make_opsetid("", 17)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "an example has 5 labels: the largest of 3 entries along axis 1 at each position"),
        (["--label-axis", "2"], "an example has 3 labels: the largest of 5 entries along axis 2"),
        (["--label-axis", "-1"], "an example has 3 labels: the largest of 5 entries along axis 2"),
        (
            ["--regression", "0.1"],
            "task regress for 'y': entries are compared, since it was asked for",
        ),
    ],
)
def test_inspection_tells_how_labels_are_read(options, words, model, capsys):
    with pytest.raises(SystemExit) as end:
        main(["inspect", str(model), "--no-progress", *options])
    assert not end.value.code
    assert words in " ".join(capsys.readouterr().out.split())
