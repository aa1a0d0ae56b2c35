"""Each hook has a conformance check that says what it requires."""

import pytest

from frivkit.hooks.registry import HOOKS
from frivkit.testing.conformance import CHECKS


def test_every_hook_has_a_check_and_no_other():
    assert sorted(CHECKS) == sorted(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_check_says_what_it_requires(hook):
    check = CHECKS[hook]
    assert check.__doc__
    assert "LawError" in check.__doc__
