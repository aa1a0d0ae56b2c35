"""The entry of an operator: how units propagate through it, and its edits if units are removed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import Layout
from frivkit.graph.operators.edits import NarrowingRule
from frivkit.graph.operators.effects import PropagationRule

STANDARD = ("", "ai.onnx", "com.microsoft")
"""The domains whose operators are named without their domain."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How an operator produces units by weights of its own.

    Attributes:
        produced: A function from a node to the layout of its units in its first output, or to the
            reason why it produces none (empty if it has no weights).
        macs: A function from a node to its multiply-accumulates for one example, None if a size is
            unknown.
    """

    produced: Callable[[ir.Node], Layout | str]
    macs: Callable[[ir.Node], int | None]


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator, as the analysis and the surgery of a graph need it.

    A plugin offers operators by the hook ``operator_rules``, as :data:`Operators`.

    Attributes:
        propagate: The rule for the effect on units in one of a node's inputs.
        narrow: The rule for the edits of a node when units are removed.  If None, units that reach
            the operator cannot be removed.
        nonlinear: Whether it is a nonlinear function of each entry.  The hook point of a layer is
            behind it.
        elementwise: Whether each entry of the output depends on the same entry of the inputs alone.
        mixes: Whether it produces new units, each from all units of its input.
        beside_batch: Whether units are followed on an axis that they share with the examples.
        weights: How it produces units by weights of its own, None if it does not.
        macs: Its multiply-accumulates, as those of :class:`Weights`, if it multiplies tensors but
            produces no units; None if it does not, or if they are not known.

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
    macs: Callable[[ir.Node], int | None] | None = None


Operators = Mapping[str, Operator]
"""Operators by name, see :func:`operator_name`."""


def operator_name(node: ir.Node) -> str:
    """Return the name of a node's operator in a table, with its domain unless it is a standard one.

    Example:
        >>> operator_name(ir.Node("org.example", "Blend", []))
        'org.example.Blend'
    """
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"
