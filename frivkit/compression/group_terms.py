"""The terms of a layer group, which are made when they are used."""

from collections.abc import Callable, Sequence
from typing import ClassVar, overload

from frivkit.units.elimination import Term


class GroupTerms(Sequence[Term]):
    """The terms of one layer group, made when they are used.

    The terms of all layer groups of a large network take more memory than its moments, so only
    those of the group that was used last are kept.

    Args:
        make: Makes them, the same whenever it is called.

    Example:
        >>> made = []
        >>> first, second = (GroupTerms(lambda i=i: made.append(i) or ()) for i in range(2))
        >>> len(first), len(first), len(second), len(first), made
        (0, 0, 0, 0, [0, 1, 0])
    """

    _latest: ClassVar["GroupTerms | None"] = None

    def __init__(self, make: Callable[[], tuple[Term, ...]]) -> None:
        self._make = make
        self._terms: tuple[Term, ...] | None = None

    def __len__(self) -> int:
        return len(self._made())

    @overload
    def __getitem__(self, index: int) -> Term: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Term, ...]: ...

    def __getitem__(self, index: int | slice) -> Term | tuple[Term, ...]:
        return self._made()[index]

    def _made(self) -> tuple[Term, ...]:
        terms = self._terms
        if terms is None:
            if GroupTerms._latest is not None:
                GroupTerms._latest._terms = None
            terms = self._terms = self._make()
            GroupTerms._latest = self
        return terms
