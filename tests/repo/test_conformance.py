"""Each hook has a conformance check, and the example of its page passes it."""

import pytest

from frivkit.hooks.registry import HOOKS
from frivkit.testing.conformance import CHECKS
from tests.repo.test_docs import EXAMPLES


def test_every_hook_has_a_check_and_no_other():
    assert sorted(CHECKS) == sorted(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_check_says_what_it_requires(hook):
    check = CHECKS[hook]
    assert check.__doc__
    assert "LawError" in check.__doc__


def test_example_of_each_page_is_checked():
    """The examples are run by tests/repo/test_docs.py, each by the check of its hook."""
    assert sorted(EXAMPLES) == sorted(HOOKS)
