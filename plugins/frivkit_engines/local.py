"""The engine that runs everything in this process."""

from frivkit.engines.engine import LocalEngine
from frivkit.errors import UsageError


def open_local(text: str) -> LocalEngine:
    """Return the engine of this process.

    Args:
        text: What follows ``local:``, which must be empty.

    Raises:
        UsageError: something follows.

    Example:
        >>> list(open_local("").map(str, [1, 2]))
        ['1', '2']
    """
    if text:
        raise UsageError(
            f"engine local:{text} is not known: local is one process; for several, give "
            f"processes:{text}"
        )
    return LocalEngine()
