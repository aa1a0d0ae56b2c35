"""What starting the program costs: which modules it imports."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "onnxruntime", "onnx", "onnx_ir", "sklearn", "scipy", "h5py", "numpy", "jinja2"}
HEAVY |= {"matplotlib", "PIL", "rich"}
MODULES = 300  # at most; a bare Python has 33, click and pluggy make it 108, the plugins 181


def modules_after(statement: str) -> set[str]:
    probe = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n', file=sys.stderr)"
    run = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(run.stderr.splitlines())


HELP = """
import sys
from frivkit.cli import main
sys.argv = ["frivkit", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
REGISTRY = (
    "from frivkit.hooks.registry import installed, HOOKS; [installed().offers(h) for h in HOOKS]"
)


@pytest.mark.parametrize(
    "statement", ["import frivkit", REGISTRY, HELP], ids=["import frivkit", "plugins", "--help"]
)
def test_starting_imports_nothing_heavy(statement):
    modules = modules_after(statement)
    assert not {module.partition(".")[0] for module in modules} & HEAVY
    assert len(modules) < MODULES


def test_probe_sees_a_heavy_import():
    assert "numpy" in modules_after("import frivkit.data")


def test_help_is_printed_and_lists_the_commands():
    run = subprocess.run(
        [sys.executable, "-m", "frivkit", "--help"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    for command in ("analyze", "inspect", "train", "demo", "plugins", "cache"):
        assert f"\n  {command} " in run.stdout
