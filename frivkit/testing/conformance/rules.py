"""The error of a broken rule, and what all checks have in common."""

import json
from typing import Any

from frivkit.errors import FrivkitError
from frivkit.hooks.targets import fault
from frivkit.testing.laws.metric_case import LawError


class Rules:
    """The rules of the targets of one hook.

    Args:
        hook: The name of the hook.
        name: The name of the target in messages.
    """

    def __init__(self, hook: str, name: str) -> None:
        self._hook, self._name = hook, name

    def broken(self, rule: str, reason: object) -> LawError:
        """Return the error of a broken rule: one line with the hook, the rule and the reason."""
        text = " ".join(f"rule {rule} of {self._hook} is broken: {self._name}: {reason}".split())
        return LawError(text)

    def require(self, condition: object, rule: str, reason: object) -> None:
        """Raise :class:`LawError` unless a condition holds."""
        if not condition:
            raise self.broken(rule, reason)

    def shape(self, target: Any) -> None:
        """Require the attributes and calls that targets of this hook have.

        Raises:
            LawError: one is missing.
        """
        wrong = fault(self._hook, target)
        if wrong is not None:
            raise self.broken("shape", wrong)

    def json(self, value: Any, what: str) -> None:
        """Require a value that JSON can hold, without NaN.

        Raises:
            LawError: JSON cannot hold it.
        """
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise self.broken("json", f"{what} cannot be written as JSON: {error}") from error

    def one_line(self, error: FrivkitError, what: str) -> None:
        """Require an error message of one line that is not empty.

        Raises:
            LawError: the message is empty or has several lines.
        """
        text = str(error)
        self.require(
            text.strip() and "\n" not in text,
            "errors",
            f"the error for {what} is not one line: {text!r}",
        )


def named(target: object, default: str) -> str:
    """Return a name for a target in messages.

    Example:
        >>> named(named, "target"), named(3, "target")
        ('named', 'target')
    """
    name = getattr(target, "__name__", None) or getattr(target, "name", None)
    return name if isinstance(name, str) else default
