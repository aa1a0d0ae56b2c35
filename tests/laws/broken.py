"""How a test expects a check to fail."""

from typing import Any

import pytest

from frivkit.testing.conformance import CHECKS, LawError


def fails(rule: str, hook: str, says: str, *arguments: Any, **more: Any) -> None:
    """Check that the check of a hook fails by a rule, in one line that says why."""
    with pytest.raises(LawError) as caught:
        CHECKS[hook](*arguments, **more)
    text = str(caught.value)
    assert text.startswith(f"rule {rule} of {hook} is broken: "), text
    assert says in text, text
    assert "\n" not in text
