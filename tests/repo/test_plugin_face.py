"""The names for plugin authors: all there, and none loaded before it is used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import frivkit.plugin
from frivkit.hooks.specs import Offer, hookimpl

HEAVY = {"numpy", "torch", "onnx", "onnx_ir", "onnxruntime", "scipy", "sklearn", "h5py"}
SOURCE = ast.parse(Path(frivkit.plugin.__file__).read_text())


def typed() -> dict[str, str]:
    """Return the module of each name that type checkers see."""
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    return {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", frivkit.plugin.__all__)
def test_name_resolves(name):
    found = getattr(frivkit.plugin, name)
    if name not in ("Offer", "hookimpl"):
        assert found is getattr(import_module(typed()[name]), name)


def test_names_that_are_typed_are_those_that_are_there():
    assert typed() == frivkit.plugin._MODULE_OF
    assert {*typed(), "Offer", "hookimpl"} == set(frivkit.plugin.__all__)
    assert set(frivkit.plugin.__all__) <= set(dir(frivkit.plugin))
    assert (frivkit.plugin.Offer, frivkit.plugin.hookimpl) == (Offer, hookimpl)


def test_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'Metrics'"):
        frivkit.plugin.Metrics  # noqa: B018  # looking it up is the test


def test_offers_are_made_without_loading_anything_heavy():
    code = "import sys; from frivkit.plugin import Offer, hookimpl; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert not loaded & HEAVY
    ours = {name for name in run.stdout.split() if name.startswith("frivkit.")}
    assert ours == {"frivkit.plugin", "frivkit.hooks", "frivkit.hooks.specs"}
