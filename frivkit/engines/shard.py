"""One of several parts of the work, each for a process that knows nothing of the others."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from frivkit.errors import UsageError

T = TypeVar("T")
MOST = 100_000


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``number`` of ``count``, counted from 1.

    Example:
        >>> shard = Shard.parse("2/3")
        >>> shard.of("abcdefgh"), str(shard)
        (('b', 'e', 'h'), '2/3')
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``i/n``.

        Raises:
            UsageError: the text is not of that form, or i is not within 1 to n.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
            raise UsageError(f"--shard is {text}; give i/n, such as 2/4 for the second of four")
        return cls(int(found[1]), int(found[2]))

    def of(self, items: Sequence[T]) -> tuple[T, ...]:
        """Return the items of this part: every ``count``-th, from ``number`` on."""
        return tuple(items[self.number - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
