"""Effects of an operator on the units in one of its inputs: the results of propagation rules."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import Layout


@dataclass(frozen=True, slots=True)
class Kept:
    """The units are in the node's first output, too.

    Attributes:
        layout: Where they lie there.
        nonlinear: The node is a nonlinearity, behind which a layer has its hook point.
        moves_positions: The node moves, pools or mixes positions or rescales across units (pooling,
            LRN, reshape): the hook point is before it unless a nonlinearity follows.
    """

    layout: Layout
    nonlinear: bool = False
    moves_positions: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """The units are in several outputs, or not all of them are in one.

    Attributes:
        layouts: Where they lie in each output, None for an output without any.
    """

    layouts: tuple[Layout | None, ...]


@dataclass(frozen=True, slots=True)
class Stacked:
    """Several units lie at each position of the first output, and can only leave together.

    Attributes:
        layouts: Where they lie there: each layout has one of the units of each position.
    """

    layouts: tuple[Layout, ...]


@dataclass(frozen=True, slots=True)
class Coupled:
    """The units meet those of other inputs.

    Attributes:
        layout: Where they lie in the first output.  If they are summed over, the axis behind its
            last one stands for the axis that is gone.
        kind: ``"sum"``, ``"product"``, ``"concat"``, ``"depthwise"`` or ``"inner"``: two computed
            tensors are multiplied and summed over the units, which the output no longer has.
    """

    layout: Layout
    kind: str


@dataclass(frozen=True, slots=True)
class Consumed:
    """The node mixes the units by its weights into new ones."""


@dataclass(frozen=True, slots=True)
class Untraceable:
    """The units cannot be followed through this node.

    Attributes:
        reason: The reason, for ``frivkit inspect``.
        unknown_operator: The name of the node's operator if frivkit does not know it, else None.
    """

    reason: str
    unknown_operator: str | None = None


Effect = Kept | Split | Stacked | Coupled | Consumed | Untraceable
PropagationRule = Callable[[ir.Node, int, Layout], Effect]
"""A rule: from a node, the index of the input with the units, and their layout in it, to the effect
on them."""
