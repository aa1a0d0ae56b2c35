"""The page of operator rules.  ``python -m tests.zoo.operators``."""

from pathlib import Path
from types import ModuleType

from frivkit.graph.operators import elementwise, indexing, normalization, shape, spatial, weighted
from frivkit.graph.operators.operator import Operator
from frivkit.graph.operators.table import OPERATORS

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
FAMILIES: tuple[ModuleType, ...] = (weighted, elementwise, normalization, spatial, indexing, shape)

HEAD = """# Operators

How frivkit finds its way through a graph: for each operator a rule says what it does to the axes
that units lie on.  It may keep them (perhaps on another axis, in another order, or only some of
them), split them over outputs or axes, couple them with units of another input, mix them by weights
into something new, or end them.  There is one small file for each family in
`frivkit/graph/operators`, and no rule knows the name of an architecture.

An operator without a rule ends the units, and `frivkit inspect` says so: what cannot be followed is
still measured, but cannot leave in a thinner model.  A plugin adds rules with the hook
`operator_rules` (see [Writing plugins](writing-plugins.md)).

*Thinner* tells whether units can leave through an operator: its entry has a second rule, for what
changes in a node when they do.

The table is written from the rules by `python -m tests.zoo.operators`, and a test holds it to them.

| family | operator | what it does to units | thinner |
|---|---|---|---|
"""


def page() -> str:
    """Return the page."""
    lines = []
    for family in FAMILIES:
        name = family.__name__.rpartition(".")[2]
        for name_of, operator in sorted(family.OPERATORS.items()):
            assert OPERATORS[name_of] is operator, name_of
            thinner = "no" if operator.narrow is None else "yes"
            lines.append(f"| {name} | `{name_of}` | {_says(operator)} | {thinner} |")
    return HEAD + "\n".join(lines) + "\n"


def _says(operator: Operator) -> str:
    """Return the first line of a rule's description; elementwise rules come in two kinds."""
    rule = operator.propagate
    function = getattr(rule, "func", rule)
    text = (function.__doc__ or "").strip().splitlines()[0]
    keywords = getattr(rule, "keywords", {})
    if "nonlinear" in keywords:
        text = f"{text.rstrip('.')}; {'a nonlinearity' if keywords['nonlinear'] else 'linear'}."
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
