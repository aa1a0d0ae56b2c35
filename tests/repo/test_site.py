"""The documentation builds as a site, without a warning, and says what the code does now."""

import subprocess
import sys
from pathlib import Path

import pytest

import frivkit
from frivkit.cli import COMMANDS
from frivkit.hooks.registry import HOOKS, installed
from tests.contract import SCHEMAS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    strict = ["--fail-on-warning", "--keep-going", "--quiet", "-d", folder / "trees"]
    command = [sys.executable, "-m", "sphinx", *strict, ROOT / "docs", folder / "html"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return folder / "html"


def test_reference_has_every_command_function_hook_and_offer(site):
    commands, functions, hooks, offers = (
        (site / f"reference/{name}.html").read_text()
        for name in ("commands", "python", "hooks", "offers")
    )
    assert [name for name in COMMANDS if f'id="frivkit-{name}"' not in commands] == []
    public = set(frivkit.__all__) - {"__version__"}
    assert [name for name in public if f'id="frivkit.{name}"' not in functions] == []
    assert [hook for hook in HOOKS if f'id="frivkit.hooks.specs.{hook}"' not in hooks] == []
    named = [name for hook in HOOKS for name in installed().offers(hook)]
    assert [name for name in named if f">{name}</span>" not in offers] == []


def test_reference_of_json_has_every_key_of_every_document(site):
    page = (site / "reference/json.html").read_text()
    keys = {
        key
        for schema in SCHEMAS.values()
        for part in (schema, *schema["$defs"].values())
        for key in part["properties"]
    }
    assert len(keys) > 200
    assert [key for key in sorted(keys) if f'<span class="pre">{key}</span>' not in page] == []
