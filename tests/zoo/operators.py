"""The page of operator rules.  ``python -m tests.zoo.operators``."""

from pathlib import Path
from types import ModuleType

from frivkit.graph.operators import (
    choosing,
    elementwise,
    indexing,
    normalization,
    sampling,
    shape,
    spatial,
    weighted,
)
from frivkit.graph.operators.operator import Operator
from frivkit.graph.operators.table import OPERATORS
from frivkit.graph.operators.without_rule import REASONS

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
FAMILIES: tuple[ModuleType, ...] = (
    weighted,
    elementwise,
    normalization,
    spatial,
    sampling,
    indexing,
    choosing,
    shape,
)

HEAD = """# Operators

frivkit follows units through a graph by a rule for each operator.
A rule keeps units: on the same axis or another one, in another order, or only some of them.
Or it splits them among outputs or axes, or couples them with units of another input.
Or it consumes them: weights mix them into new ones.
There is one file for each family in `frivkit/graph/operators`.
No rule depends on the name of an architecture.

Units cannot be followed through an operator without a rule, and `frivkit inspect` says so.
Such units are measured, but cannot be removed.
A plugin adds rules with the hook `operator_rules` (see [Writing plugins](writing-plugins.md)).

The last column is whether units can be removed through an operator.
For that it has a second rule, which returns the edits of a node.

Before units are followed, reading rewrites some operators as others that compute the same.
`Einsum` becomes matrix products, and fused operators become those that were fused, `FusedConv` a
`Conv` and a `Relu` ([more](models.md#what-is-rewritten-on-reading)).
Their rows hold for nodes that cannot be rewritten.

The table is written by `python -m tests.zoo.operators`, and a test compares it with the rules.

| family | operator | effect on units | removal |
|---|---|---|---|
"""
WITHOUT = """

## Operators without a rule

Units end at these operators on purpose; all others of ONNX are in the table above.
Such an operator:

| operators | reason |
|---|---|
"""


def page() -> str:
    """Return the page."""
    lines = []
    for family in FAMILIES:
        name = family.__name__.rpartition(".")[2]
        for name_of, operator in sorted(family.OPERATORS.items()):
            assert OPERATORS[name_of] is operator, name_of
            removal = "no" if operator.narrow is None else "yes"
            lines.append(f"| {name} | `{name_of}` | {_effect(operator)} | {removal} |")
    operators_for: dict[str, list[str]] = {}
    for name, reason in sorted(REASONS.items()):
        operators_for.setdefault(reason, []).append(f"`{name}`")
    without = [
        f"| {', '.join(names)} | {reason} |" for reason, names in sorted(operators_for.items())
    ]
    return HEAD + "\n".join(lines) + WITHOUT + "\n".join(without) + "\n"


def _effect(operator: Operator) -> str:
    """Return the first line of a rule's docstring, with the kind of an elementwise operator."""
    rule = operator.propagate
    function = getattr(rule, "func", rule)
    text = (function.__doc__ or "").strip().splitlines()[0]
    keywords = getattr(rule, "keywords", {})
    if "nonlinear" in keywords:
        text = f"{text.rstrip('.')}; {'a nonlinearity' if keywords['nonlinear'] else 'linear'}."
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
