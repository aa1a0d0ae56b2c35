"""``--task`` on the commands that compare outputs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import frivkit as api
from tests.program import Outcome

Run = Callable[..., Outcome]
DATA = ("--data", "npz:x.npz")


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress", "embed"])
def test_task_is_said_aloud(task: str, files: Path, frivkit: Run) -> None:
    ran = frivkit("analyze", "net.onnx", *DATA, "--task", task, "--no-cache")
    assert ran.code == 0
    assert f"task   {task} of " in ran.out
    ran = frivkit(
        "verify", "net.onnx", "net.onnx", *DATA, "--task", task, "--no-time", "--json", "-"
    )
    document = json.loads(ran.out)
    assert document["task"] == task
    assert document["agreement"]["labels"] == 1
    assert document["outputs"]["each"][0]["reason"] == "it was asked for"


def test_less_than_half_is_said_first(files: Path, frivkit: Run) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(files / "net.onnx")
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(-array, tensor.name))
    onnx.save(model, files / "other.onnx")
    ran = frivkit("verify", "net.onnx", "other.onnx", *DATA, "--task", "regress", "--no-time")
    assert ran.out.startswith("Only ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "clasify"], "no task is named 'clasify'; did you mean"),
        (["--task", "detect"], "the task detect does not fit output"),
        (["--task", "classify", "--regression", "0.1"], "does not go with --task classify"),
    ],
)
def test_task_that_does_not_fit_is_refused(
    options: list[str], words: str, files: Path, frivkit: Run
) -> None:
    ran = frivkit("analyze", "net.onnx", *DATA, *options)
    assert ran.code == 2
    assert words in ran.err


def test_python_takes_a_task(files: Path) -> None:
    x = np.load(files / "x.npz")["x"]
    found = api.verify(files / "net.onnx", files / "net.onnx", data=x, task="embed")
    assert found.document["task"] == "embed"
    assert found.agreement == 1
