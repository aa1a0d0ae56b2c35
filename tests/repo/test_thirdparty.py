"""A third party's plugin, installed beside a broken one, from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

THIRDPARTY = Path(__file__).parents[1] / "data/thirdparty"


@pytest.fixture
def frivkit():
    """Return a function that runs the program with both plugins installed."""
    path = os.pathsep.join(str(THIRDPARTY / name) for name in ("frivkit-echo", "frivkit-broken"))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("FRIVKIT_LOAD_PLUGINS", None)

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "frivkit", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment | variables,
            check=False,
        )

    return run


@pytest.fixture
def model(tmp_path) -> Path:
    """Return a network of one hidden layer whose label is the largest of its four inputs."""
    from onnx import TensorProto, helper, numpy_helper, save

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "weight")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weight"], ["before"]),
            helper.make_node("Relu", ["before"], ["hidden"]),
            helper.make_node("MatMul", ["hidden", "weight"], ["y"]),
        ],
        "largest",
        [x],
        [y],
        [weight],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def data(tmp_path) -> Path:
    """Return 8 examples with labels 0, 0, 0, 0, 1, 1, 2, 3: 1.75 bits."""
    np.savez(tmp_path / "x.npz", x=np.eye(4, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 2, 3]])
    return tmp_path / "x.npz"


def test_metric_of_a_third_party_is_measured(frivkit, model, data, tmp_path):
    cache = ("--cache", tmp_path / "cache")
    run = frivkit(
        "analyze",
        model,
        "--metric",
        "label-entropy",
        "--data",
        f"npz:{data}",
        "--json",
        "-",
        *cache,
    )
    assert run.returncode == 0, run.stderr
    (measured,) = json.loads(run.stdout)["measurements"]
    assert measured["metric"] == "label-entropy"
    assert measured["value"] == pytest.approx(1.75)
    assert measured["examples"] == 8


def test_plugins_are_listed_with_what_they_offer_or_why_not(frivkit):
    run = frivkit("plugins")
    assert run.returncode == 0, run.stderr
    for word in ("frivkit_echo", "0.1.0", "label-entropy", "entropy of the labels, in bits"):
        assert word in run.stdout
    assert "frivkit_broken" in run.stdout
    assert "No module named 'a_package_that_nobody_has'" in run.stdout


def test_asking_for_what_a_broken_plugin_would_offer_is_one_line(frivkit, model):
    run = frivkit("analyze", model, "--metric", "lost", "--data", "gaussian")
    assert (run.returncode, run.stdout) == (2, "")
    (line,) = [line for line in run.stderr.splitlines() if "lost" in line]
    assert "failed to load: frivkit_broken" in line
    assert "Traceback" not in run.stderr


def test_plugin_that_was_not_let_in_is_not_there(frivkit, model):
    run = frivkit("plugins", FRIVKIT_LOAD_PLUGINS="frivkit_onnx")
    assert run.returncode == 0, run.stderr
    assert "frivkit_onnx" in run.stdout
    assert "frivkit_echo" not in run.stdout


def test_misspelt_plugin_to_load_is_refused_in_one_line(frivkit):
    run = frivkit("plugins", FRIVKIT_LOAD_PLUGINS="frivkit_eccho")
    assert (run.returncode, run.stdout) == (2, "")
    assert "FRIVKIT_LOAD_PLUGINS" in run.stderr
    assert "Traceback" not in run.stderr
