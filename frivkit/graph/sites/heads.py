"""Heads of attention: pruning groups that must leave equally often from every head.

The units of queries, keys and values lie in a matrix of heads and dimensions once a Reshape has
split their axis.  A dimension may leave at another place of each head, as long as all heads that
stay keep equally many; a head leaves with all its dimensions, of queries, keys and values.

Along an axis of heads, or of dimensions, a position has no single pruning group.  It has a *line*:
all groups at that position.  Lines are numbered behind the pruning groups.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from frivkit.graph.layout import IntArray
from frivkit.graph.operators.constants import BoolArray

GROUPED = "its heads would keep unequal numbers of dimensions"
"""Why a set of units cannot leave although each of them could."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadBlock:
    """Dimensions that are as many in every head: those of queries and keys, or those of values.

    Queries, keys and values that share one axis, as in a fused projection, are one block.

    Attributes:
        groups: The pruning group of each dimension, shape (rows, dimensions).
        heads: The head of each row, shape (rows,).
        first_line: The line of the first dimension; the others follow.
        uniform: Whether every head must lose the same dimensions, because a constant has one entry
            for each, or positions are counted otherwise.
        fixed: Why no dimension can leave, None if some can.
    """

    groups: IntArray
    heads: IntArray
    first_line: int
    uniform: bool = False
    fixed: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The heads of one attention.

    Attributes:
        count: Their number.  Heads that share keys or values count as one.
        first_line: The line of the first head; the others follow.
        blocks: Their dimensions.
        fixed: Why no head can leave, None if some can.
    """

    count: int
    first_line: int
    blocks: tuple[HeadBlock, ...]
    fixed: str | None = None

    @property
    def groups(self) -> IntArray:
        """All its pruning groups, sorted."""
        return np.unique(np.concatenate([block.groups.ravel() for block in self.blocks]))


def numbered(heads: Iterable[Heads], count: int) -> tuple[Heads, ...]:
    """Return heads with their lines numbered from ``count`` on."""
    line, result = count, []
    for each in heads:
        first, blocks = line, []
        line += each.count
        for block in each.blocks:
            blocks.append(replace(block, first_line=line))
            line += block.groups.shape[1]
        result.append(replace(each, first_line=first, blocks=tuple(blocks)))
    return tuple(result)


def line_flags(heads: Sequence[Heads], stays: BoolArray) -> BoolArray:
    """Return whether each line stays, shape (lines,).

    As many lines of dimensions stay as each head keeps; which ones means something only for a
    uniform block.

    Args:
        heads: All heads of a model.
        stays: Whether each pruning group stays, shape (groups,).
    """
    flags: list[BoolArray] = []
    for each in heads:
        kept = kept_heads(each, stays)
        flags.append(kept)
        for block in each.blocks:
            rows = stays[block.groups[kept[block.heads]]]
            if block.uniform or not len(rows):
                flags.append(np.asarray(rows.any(axis=0)))
            else:
                flags.append(np.arange(rows.shape[1]) < rows[0].sum())
    return np.concatenate([np.zeros(0, np.bool_), *flags])


def kept_heads(heads: Heads, stays: BoolArray) -> BoolArray:
    """Return whether each head keeps a dimension, shape (heads,)."""
    kept = np.zeros(heads.count, np.bool_)
    for block in heads.blocks:
        kept[block.heads[stays[block.groups].any(axis=1)]] = True
    return kept


def why_unequal(heads: Heads, stays: BoolArray) -> str | None:
    """Return why groups cannot leave together, None if they can.

    Args:
        heads: The heads of one attention.
        stays: Whether each pruning group stays, shape (groups,).

    Example:
        >>> block = HeadBlock(np.array([[0, 1], [2, 3]]), np.array([0, 1]), 6)
        >>> heads = Heads(2, 4, (block,))
        >>> why_unequal(heads, np.array([True, False, False, True]))
        >>> why_unequal(heads, np.array([True, True, False, True]))
        'its heads would keep unequal numbers of dimensions'
    """
    kept = kept_heads(heads, stays)
    if not kept.any():
        return "no head would stay"
    if heads.fixed is not None and not kept.all():
        return f"a head cannot leave: {heads.fixed}"
    for block in heads.blocks:
        rows = stays[block.groups[kept[block.heads]]]
        counts = rows.sum(axis=1)
        if (counts != counts[0]).any() or not counts[0]:
            return GROUPED
        if block.uniform and (rows != rows[0]).any():
            return "every head must lose the same dimensions, which constants or rotations share"
        if block.fixed is not None and not rows.all():
            return f"a dimension of a head cannot leave: {block.fixed}"
    return None
