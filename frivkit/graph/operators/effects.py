"""What an operator does to the units that lie in one of its inputs: the words of propagation."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import Layout


@dataclass(frozen=True, slots=True)
class Kept:
    """The units go on in the node's first output.

    Attributes:
        layout: Where they lie there.
        nonlinear: The node is a nonlinearity, after which the paper taps.
        moves_positions: The node moves, pools or mixes places or rescales across units (pooling,
            LRN, reshape): the tap stays before it unless a nonlinearity is still to come.
    """

    layout: Layout
    nonlinear: bool = False
    moves_positions: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """The units go on in several outputs, or not all of them do.

    Attributes:
        layouts: Where they lie in each output, None where none of them does.
    """

    layouts: tuple[Layout | None, ...]


@dataclass(frozen=True, slots=True)
class Coupled:
    """The units meet those of other inputs.

    Attributes:
        layout: Where they lie in the first output; where they are summed over, an axis behind its
            last stands for the one that is gone.
        kind: ``"sum"``, ``"product"``, ``"concat"``, ``"depthwise"`` or ``"inner"``: two computed
            tensors are multiplied and summed over the units, which end there.
    """

    layout: Layout
    kind: str


@dataclass(frozen=True, slots=True)
class Consumed:
    """The node mixes the units by its weights into something new."""


@dataclass(frozen=True, slots=True)
class Untraceable:
    """The units cannot be followed through this node.

    Attributes:
        reason: Why, for ``frivkit inspect``.
    """

    reason: str


Effect = Kept | Split | Coupled | Consumed | Untraceable
PropagationRule = Callable[[ir.Node, int, Layout], Effect]
"""A rule: from the node, which of its inputs carries the units and where they lie there, to what
becomes of them."""
