"""The rules of operators: what a node does with units, held to what it computes."""

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.layout import Layout
from frivkit.graph.operators.effects import Effect, Untraceable
from frivkit.graph.operators.operator import Operator, Operators, operator_name
from frivkit.testing.conformance.operator_case import OperatorCase
from frivkit.testing.conformance.operator_example import OperatorExample, RunnableNode
from frivkit.testing.conformance.rules import Rules


def check_operator_rules(
    operators: Operators, examples: Mapping[str, Sequence[OperatorExample]]
) -> tuple[str, ...]:
    """Check each operator of an offer by :func:`check_operator`.

    Args:
        operators: The target; it need not be registered.
        examples: Nodes of each operator, by the operator's name.

    Returns:
        What was checked of each.

    Raises:
        LawError: a rule is broken, or an operator has no example.
    """
    rules = Rules("operator_rules", "operators")
    rules.shape(operators)
    checked: list[str] = []
    for name, operator in operators.items():
        rules.require(examples.get(name), "examples", f"{name} has no example; give a node of it")
        checked += check_operator(name, operator, *examples[name])
    return tuple(checked)


def check_operator(name: str, operator: Operator, *examples: OperatorExample) -> tuple[str, ...]:
    """Check that the rules of an operator say what its nodes compute.

    For each computed input of each example and each of its axes, units are laid along the axis:

    - ``name``: the node is of this operator.
    - ``layout``: a layout has the sizes of the output.
    - ``propagate``: other entries of a unit change the output exactly where the layout has that
      unit.
    - ``mixes``: an effect ``Consumed`` needs ``mixes=True``.
    - ``nonlinear``: with the flag of ``Kept`` the node is not affine; without, it is affine if each
      entry changes itself alone.  A nonlinear operator is so for every input.
    - ``elementwise``: an entry changes itself alone.
    - ``weights``: units that it makes have a place in its output, and a cost above 0.
    - ``narrow``: between two layers, each group of units that can leave is removed.  The narrowed
      model computes what the original computes if consumers read 0 from these units.

    Nodes are run by ONNX Runtime, or by ONNX's reference evaluator if it does not have them.

    Args:
        name: The name by which the operator is offered.
        operator: What is known of it.
        examples: Nodes of it.

    Returns:
        For each input and axis along which units are traced the effect, and how many groups of
        units were removed.

    Raises:
        LawError: a rule is broken, a node cannot be run, or units are traced in no example.

    Example:
        >>> from frivkit.graph.operators.table import OPERATORS
        >>> check_operator("Relu", OPERATORS["Relu"], OperatorExample("y = Relu (x)", {"x": (4,)}))
        ('x, axis 1: Kept, 3 groups removed',)
    """
    checked: list[str] = []
    for example in examples:
        rules = Rules("operator_rules", f"{name} in {example.node!r}")
        rules.shape({name: operator})
        try:
            runnable = RunnableNode(example)
            node_name = operator_name(runnable.node)
        except ModelError as error:
            raise rules.broken("run", error) from error
        rules.require(node_name == name, "name", f"its node is one of {node_name}")
        _check_weights(rules, operator, runnable.node)
        checked += [case.check() for case in _cases(rules, operator, runnable)]
    if not checked:
        rules = Rules("operator_rules", name)
        raise rules.broken("propagate", "units are untraceable in every example")
    return tuple(checked)


def _cases(rules: Rules, operator: Operator, runnable: RunnableNode) -> Iterator[OperatorCase]:
    """Return each input and axis along which units are traced."""
    node = runnable.node
    for tensor, shape in runnable.example.computed.items():
        index = list(runnable.proto.input).index(tensor)
        for axis, width in enumerate(shape, 1):
            where = f"{tensor}, axis {axis}"
            try:
                effect = operator.propagate(node, index, Layout.of(axis, width))
            except Exception as error:  # a rule may raise anything
                reason = f"{where}: raises {type(error).__name__}: {error}"
                raise rules.broken("propagate", reason) from error
            rules.require(isinstance(effect, Effect), "propagate", f"{where}: returns {effect!r}")
            if isinstance(effect, Untraceable):
                rules.require(effect.reason, "propagate", f"{where}: untraceable without a reason")
            else:
                yield OperatorCase(rules, operator, runnable, tensor, axis, effect)


def _check_weights(rules: Rules, operator: Operator, node: ir.Node) -> None:
    if operator.weights is None:
        return
    produced = operator.weights.produced(node)
    rules.require(isinstance(produced, Layout | str), "weights", f"produced returns {produced!r}")
    if isinstance(produced, Layout):
        shape = node.outputs[0].shape
        sizes = tuple(shape[axis] for axis in produced.axes) if shape is not None else ()
        rules.require(
            sizes == produced.units.shape,
            "weights",
            f"units of shape {produced.units.shape} on axes {produced.axes} of {shape}",
        )
        macs = operator.weights.macs(node)
        rules.require(
            macs is None or macs > 0, "weights", f"{macs} multiply-accumulates of weights"
        )
