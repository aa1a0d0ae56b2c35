"""What frivkit knows of one operator: how units pass it, and what changes in it when they leave."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import Layout
from frivkit.graph.operators.edits import NarrowingRule
from frivkit.graph.operators.effects import PropagationRule

STANDARD = ("", "ai.onnx", "com.microsoft")
"""The domains whose operators are named without it."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How an operator makes new units by weights of its own.

    Attributes:
        produced: From a node to where the units that it makes lie in its first output, or to the
            reason why it makes none (empty if it has no weights).
        macs: From a node to its multiply-accumulates for one example, None if a size is unknown.
    """

    produced: Callable[[ir.Node], Layout | str]
    macs: Callable[[ir.Node], int | None]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator, and all that the analysis and the surgery of a graph need to know of it.

    A plugin offers these by the hook ``operator_rules``, as :data:`Operators`.

    Attributes:
        propagate: What becomes of units that lie in one of a node's inputs.
        narrow: What changes in a node when units leave; None if nobody said, and units that reach
            the operator then stay.
        nonlinear: Whether it bends each entry by itself.  A layer's units are read behind it.
        elementwise: Whether each entry of the output is made of the same entry of the inputs.
        mixes: Whether it makes new units of all that lie in its input.
        beside_batch: Whether units are followed on an axis that they share with the examples.
        weights: How it makes units by weights of its own; None if it does not.

    Example:
        >>> from frivkit.graph.operators.edits import unchanged
        >>> from frivkit.graph.operators.effects import Kept
        >>> square = Operator(
        ...     lambda node, index, layout: Kept(layout, nonlinear=True),
        ...     unchanged,
        ...     nonlinear=True,
        ...     elementwise=True,
        ... )
        >>> operators = {"org.example.Square": square}
    """

    propagate: PropagationRule
    narrow: NarrowingRule | None = None
    nonlinear: bool = False
    elementwise: bool = False
    mixes: bool = False
    beside_batch: bool = False
    weights: Weights | None = None


Operators = Mapping[str, Operator]
"""Operators by name, see :func:`operator_name`."""


def operator_name(node: ir.Node) -> str:
    """Return the name under which a node's operator is found: with its domain unless ONNX's own.

    Example:
        >>> operator_name(ir.Node("org.example", "Blend", []))
        'org.example.Blend'
    """
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
