"""Each hook has a conformance check, and the example of its page passes it."""

import ast
from pathlib import Path

import pytest

from frivkit.hooks.registry import HOOKS
from frivkit.testing.conformance import CHECKS

EXAMPLES = ast.parse((Path(__file__).parent / "test_docs.py").read_text())


def calls(function: ast.FunctionDef) -> list[str]:
    """Return the calls in a function as text, with one kind of quotes."""
    return [ast.unparse(node) for node in ast.walk(function) if isinstance(node, ast.Call)]


def test_every_hook_has_a_check_and_no_other():
    assert sorted(CHECKS) == sorted(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_check_says_what_it_requires(hook):
    check = CHECKS[hook]
    assert check.__doc__
    assert "LawError" in check.__doc__


@pytest.mark.parametrize("hook", HOOKS)
def test_example_of_the_page_passes_the_check(hook):
    """A test that runs the example of a hook must call the hook's check, whatever it takes."""
    made, checked = f"example('{hook}')", (f"CHECKS['{hook}'](", f"{CHECKS[hook].__name__}(")
    assert any(
        any(call.startswith(made) for call in found)
        and any(call.startswith(checked) for call in found)
        for function in ast.walk(EXAMPLES)
        if isinstance(function, ast.FunctionDef)
        for found in [calls(function)]
    )
