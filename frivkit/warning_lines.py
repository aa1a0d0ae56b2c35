"""Warnings of Python as single lines on stderr, without the path and the line of source code."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from frivkit.errors import one_line

DROPPED = (
    RuntimeWarning,
    DeprecationWarning,
    FutureWarning,
    PendingDeprecationWarning,
    ImportWarning,
    ResourceWarning,
)
"""Warnings for those who write programs.  Numbers that are not finite (numpy warns of them by
``RuntimeWarning``) are looked for where they matter, and are errors there."""


@contextmanager
def warnings_as_lines(show: Callable[[str], None]) -> Iterator[None]:
    """Show each warning of a block as one line, and drop the kinds of :data:`DROPPED`.

    What libraries log is dropped too, unless a handler was set up for it.

    Args:
        show: Receives the text of a warning.
    """

    def shown(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        del category
        show(one_line(message) if isinstance(message, Warning) else message)

    silent = logging.NullHandler()  # without any, Python writes what is logged to stderr
    logging.getLogger().addHandler(silent)
    with warnings.catch_warnings():
        for category in DROPPED:
            warnings.simplefilter("ignore", category)
        warnings.showwarning = shown
        try:
            yield
        finally:
            logging.getLogger().removeHandler(silent)
