"""Values that programs get wrong."""

from collections.abc import Sequence
from typing import TypeVar

from numpy.random import Generator

T = TypeVar("T")

INTEGERS = (0, 1, -1, 2, 3, 7, -2, 64, 255, 256, 1 << 16, 1 << 31, (1 << 31) - 1, -(1 << 31))
LARGE = (1 << 40, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("nan"), float("inf"), -float("inf"))
TEXTS = (
    "",
    " ",
    "a" * 5000,
    "../../../../etc/passwd",
    "/etc/passwd",
    "evil\x1b[2J\x1b]0;title\x07",
    "two\nlines\r\nfrivkit: all is well",
    "<script>alert(1)</script>",
    "\"'`${HOME}$(id)",
    "nul\0inside",
    "\u202eright to left\u2028",
    "%s%n{}{0.__class__}",
    "__proto__",
    "auto",
    "NaN",
)


def integer(rng: Generator) -> int:
    """Draw an integer, mostly small."""
    if rng.random() < 0.15:
        return one_of(rng, LARGE)
    return one_of(rng, INTEGERS)


def number(rng: Generator) -> float:
    """Draw a float."""
    return one_of(rng, FLOATS)


def text(rng: Generator) -> str:
    """Draw a text."""
    return one_of(rng, TEXTS)


def one_of(rng: Generator, among: Sequence[T]) -> T:
    """Draw an element of a sequence."""
    return among[int(rng.integers(len(among)))]
