"""The rules of commands that plugins add."""

import subprocess
import sys
from typing import Any

from frivkit.testing.conformance.rules import Rules

HEAVY = ("numpy", "torch", "onnx", "onnx_ir", "onnxruntime", "scipy", "sklearn", "h5py")
"""Packages that the module of a command imports inside functions only."""


def check_cli_command(command: Any, module: str | None = None) -> str:
    """Check that a command helps, and that listing it stays cheap.

    - ``shape``: it is a ``click.Command`` with a name.
    - ``help``: it has a help text, of which the first line is a sentence, and ``--help`` ends well.
    - ``lazy``: importing its module loads none of :data:`HEAVY`.

    Args:
        command: The target; it need not be registered.
        module: The module of the target, imported in another process; None leaves that out.

    Returns:
        The first line of its help.

    Raises:
        LawError: a rule is broken.
    """
    import click
    from click.testing import CliRunner

    rules = Rules("cli_commands", str(getattr(command, "name", None) or "command"))
    rules.shape(command)
    rules.require(isinstance(command, click.Command), "shape", f"it is a {type(command).__name__}")
    lines = (command.help or "").strip().splitlines()
    rules.require(lines and lines[0].endswith("."), "help", "its help has no first sentence")
    result = CliRunner().invoke(command, ["--help"])
    rules.require(
        result.exit_code == 0 and lines[0].split()[0] in result.output,
        "help",
        f"--help ends with {result.exit_code}: {result.exception!r}",
    )
    if module is not None:
        _check_imports(rules, module)
    return str(lines[0])


def _check_imports(rules: Rules, module: str) -> None:
    code = (
        f"import sys, importlib; importlib.import_module({module!r}); "
        f"print(*sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)"
    )
    run = subprocess.run(  # noqa: S603  # this interpreter, and code from here
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    rules.require(run.returncode == 0, "lazy", f"{module} cannot be imported: {run.stderr[-300:]}")
    loaded = ", ".join(run.stderr.split())
    rules.require(not loaded, "lazy", f"importing {module} loads {loaded}")
