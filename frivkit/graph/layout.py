"""Where the units of a site lie in a tensor, and what an operator can do to that.

These are the words in which the rules of :mod:`frivkit.graph.rules` are written.
"""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.model import is_constant


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the units of one site lie along one axis of a tensor.

    Position ``p`` of the axis belongs to unit ``(p // inner - offset) % width``, as far as
    ``offset <= (p // inner) % span < offset + width``.

    Attributes:
        axis: The axis along which units change, counted from the front.
        width: The number of units.
        inner: Consecutive positions of one unit (height times width after a Flatten of maps).
        outer: How often the whole row of units repeats along the axis.
        offset: The unit position at which this site starts (after a Concat).
        span: Unit positions in one row of units; ``width`` unless a Concat put others beside.

    Example:
        >>> maps = Layout(axis=1, width=8)
        >>> flattened = Layout(axis=1, width=8, inner=49)   # 8 maps of 7 x 7
        >>> flattened.size
        392
    """

    axis: int
    width: int
    inner: int = 1
    outer: int = 1
    offset: int = 0
    span: int = 0

    def __post_init__(self) -> None:
        """Let a span that was not given be the width."""
        if self.span == 0:
            object.__setattr__(self, "span", self.width)

    @property
    def size(self) -> int:
        """The length of the axis."""
        return self.outer * self.span * self.inner


@dataclass(frozen=True, slots=True)
class Keeps:
    """The units go on in the node's first output.

    Attributes:
        layout: Where they lie there.
        nonlinear: The node is a nonlinearity, after which the paper taps.
        places: The node moves, pools or mixes places or rescales across units (pooling, LRN,
            reshape): the tap stays before it unless a nonlinearity is still to come.
    """

    layout: Layout
    nonlinear: bool = False
    places: bool = False


@dataclass(frozen=True, slots=True)
class Joins:
    """The units go on in the first output together with those of other inputs.

    Attributes:
        layout: Where they lie there.
        kind: ``"sum"``, ``"product"``, ``"concat"`` or ``"depthwise"``.
    """

    layout: Layout
    kind: str


@dataclass(frozen=True, slots=True)
class Reads:
    """The node mixes the units by its weights into something new."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The units cannot be followed through this node.

    Attributes:
        reason: Why, for ``frivkit inspect``.
    """

    reason: str


Effect = Keeps | Joins | Reads | Ends
Rule = Callable[[ir.Node, int, Layout], Effect]
"""A rule: the node, which of its inputs carries the units, and where they lie there."""


SHAPE_ONLY = frozenset(("Shape", "Size"))
"""Operators that read how large a tensor is and none of its entries."""


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Give a value's shape with None for every size that is not a number, or None if unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def rank_of(value: ir.Value | None) -> int | None:
    """Give a value's number of axes, or None if unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def others_constant(node: ir.Node, index: int) -> bool:
    """Tell whether every input of the node but ``index`` is a constant."""
    return all(
        value is None or i == index or is_constant(value) for i, value in enumerate(node.inputs)
    )


def attribute(node: ir.Node, name: str, default: int) -> int:
    """Give an integer attribute of a node, or ``default`` when the file leaves it out."""
    found = node.attributes.get(name)
    return default if found is None else found.as_int()
