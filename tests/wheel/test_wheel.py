"""What only an installed wheel can lack: files, requirements, entry points, scripts, plugins."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest

from frivkit.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = PROJECT["project"]["entry-points"]["frivkit"]
ECHO = ROOT / "tests/data/thirdparty/frivkit-echo"
EVERY_TARGET = """
from frivkit.hooks.registry import HOOKS, installed
for plugin in installed().plugins:
    print(plugin.name, plugin.error)
for hook in HOOKS:
    for name in installed().offers(hook):
        assert installed().load(hook, name) is not None
"""


def test_every_module_comes_from_the_wheel(python, environment):
    names = ["frivkit", *PLUGINS]
    code = f"import importlib.util as u\nfor n in {names}: print(u.find_spec(n).origin)"
    places = [Path(line) for line in python(code).splitlines()]
    assert len(places) == len(names)
    assert all(place.is_relative_to(environment) for place in places)
    assert not any(place.is_relative_to(ROOT / "frivkit") for place in places)


def test_it_needs_nothing_that_it_does_not_require(started, python):
    """The tools of the tests are not there, and whatever is there fits together."""
    missing = "import importlib.util as u; print(u.find_spec('pytest'), u.find_spec('hypothesis'))"
    assert python(missing).split() == ["None", "None"]
    checked = started("python", "-m", "pip", "check")
    assert checked.code == 0, checked.out


def test_every_plugin_loads_and_so_does_all_that_it_offers(python):
    assert python(EVERY_TARGET).splitlines() == [f"{name} None" for name in sorted(PLUGINS)]


def test_every_module_can_be_imported(python):
    """Data files of packages, such as recipes and pages, are found, too."""
    code = """
import importlib, importlib.metadata, pkgutil
for entry in importlib.metadata.entry_points(group="frivkit"):
    package = importlib.import_module(entry.value.partition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith((".child", "__main__")):
            importlib.import_module(module.name)
import frivkit
for module in pkgutil.walk_packages(frivkit.__path__, "frivkit."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.jobs import SweepRequest
print(len(read_recipe("fig4a", SweepRequest("smoke"))))
"""
    assert python(code).split() == ["1"]


def test_the_program_and_the_module_are_the_same(frivkit, started):
    version = frivkit("--version")
    assert version.out == started("python", "-m", "frivkit", "--version").out
    assert version.code == 0


RUNS = {  # one of each command, on what the demo wrote
    "inspect": ["digits-cnn.onnx"],
    "analyze": ["digits-cnn.onnx", "--metric", "redundancy", "--examples", "200"],
    "activations": ["digits-cnn.onnx", "--examples", "50", "-o", "a.h5"],
    "compress": ["digits-cnn.onnx", "-o", "half.onnx", "--macs", "0.6", "--examples", "300"],
    "verify": ["digits-cnn.onnx", "digits-thin.onnx", "--examples", "300"],
    "advise": ["digits-cnn.onnx", "--examples", "300"],
    "compare": ["analysis.json", "analysis.json"],
    "train": ["mlp", "--data", "digits", "-o", "mlp.onnx", "--option", "epochs=1"],
    "sweep": ["e1", "--scale", "smoke", "-o", "sweep"],
    "figure": ["e1", "sweep", "-o", "e1.svg"],
    "plugins": [],
    "new-plugin": ["frivkit-none", "--kind", "engine"],
    "cache": ["ls"],
    "doctor": [],
}
WITHOUT_EXTRAS = ("figure",)


def test_each_command_is_run_once():
    assert {*RUNS, "demo"} == {*COMMANDS}


@pytest.mark.parametrize("command", RUNS)
def test_command_runs(command, frivkit, demo):
    arguments = [str(demo / each) if is_file(each) else each for each in RUNS[command]]
    ran = frivkit(command, *arguments)
    if command in WITHOUT_EXTRAS:
        (line,) = ran.err.splitlines()
        assert "pip install frivkit[figures]" in line
    else:
        assert ran.code == 0, ran.err
        assert "Traceback" not in ran.err


def is_file(argument: str) -> bool:
    return argument == "sweep" or argument.endswith((".onnx", ".h5", ".svg", ".json"))


def test_demo_leaves_what_it_says(demo):
    assert {path.name for path in demo.iterdir()} >= {
        "digits-cnn.onnx",
        "digits-thin.onnx",
        "analysis.json",
        "analysis.html",
        "compression.json",
    }
    narrowed, whole = (onnx.load(demo / f"digits-{name}.onnx") for name in ("thin", "cnn"))
    assert narrowed.ByteSize() < whole.ByteSize()


@pytest.fixture
def labelled(tmp_path) -> tuple[str | Path, ...]:
    """Return a model and its data; the labels are 0, 0, 0, 0, 1, 1, 2, 3."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, 4] x) => (float[N, 4] y) <float[4, 4] w> {
          h = MatMul (x, w)
          r = Relu (h)
          y = MatMul (r, w)
        }"""
    )
    weight = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    del model.graph.initializer[:]
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "m.onnx")
    rows = np.eye(4, dtype=np.float32)[[0, 0, 0, 0, 1, 1, 2, 3]]
    np.savez(tmp_path / "x.npz", x=rows)
    return (tmp_path / "m.onnx", "--data", f"npz:{tmp_path / 'x.npz'}", "--json", "-")


def test_third_party_plugin_is_measured(frivkit, labelled):
    """Its metric is the entropy of the labels, 1.75 bits."""
    ran = frivkit("analyze", *labelled, "--metric", "label-entropy", PYTHONPATH=str(ECHO))
    assert ran.code == 0, ran.err
    (measured,) = json.loads(ran.out)["measurements"]
    assert measured["value"] == pytest.approx(1.75)


def test_new_plugin_is_built_installed_and_used(frivkit, started, labelled, tmp_path):
    """Its metric is the share of label 1, two of eight."""
    project, site = tmp_path / "frivkit-tries", tmp_path / "site"
    ran = frivkit("new-plugin", "frivkit-tries", "--kind", "metric", "-o", project)
    assert ran.code == 0, ran.err
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", project]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("frivkit_tries-0.1.0-*.whl")
    installed = started(
        *("python", "-m", "pip", "install", "--no-index", "--no-deps", "--target", site, wheel)
    )
    assert installed.code == 0, installed.err
    ran = frivkit("analyze", *labelled, "--metric", "tries", PYTHONPATH=str(site))
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["measurements"][0]["value"] == 0.25
    assert document["provenance"]["plugins"]["frivkit_tries"] == "0.1.0"
