"""The page of operator rules.  ``python -m tests.zoo.operators``."""

from pathlib import Path
from types import ModuleType

from frivkit.graph.operators import narrow as cuts
from frivkit.graph.operators import propagate as rules
from frivkit.graph.operators import (
    propagate_elementwise as elementwise,
)
from frivkit.graph.operators import (
    propagate_normalisation as normalisation,
)
from frivkit.graph.operators import (
    propagate_places as places,
)
from frivkit.graph.operators import (
    propagate_reshaping as reshaping,
)
from frivkit.graph.operators import (
    propagate_weighted as weighted,
)

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"
FAMILIES: tuple[ModuleType, ...] = (weighted, elementwise, normalisation, places, reshaping)

HEAD = """# Operators

How frivkit finds its way through a graph: for each operator a rule says what it does to the axes
that units lie on.  It may keep them (perhaps on another axis, in another order, or only some of
them), split them over outputs or axes, couple them with units of another input, mix them by weights
into something new, or end them.  There is one small file for each family in `frivkit/graph/rules`,
and no rule knows the name of an architecture.

An operator without a rule ends the units, and `frivkit inspect` says so: what cannot be followed is
still measured, but cannot leave in a thinner model.  A plugin adds rules with the hook
`operator_rules` (see [Writing plugins](writing-plugins.md)).

*Thinner* tells whether units can leave through an operator: there is a second rule, in
`frivkit/graph/cuts`, for what changes in a node when they do.

The table is written from the rules by `python -m tests.zoo.operators`, and a test holds it to them.

| family | operator | what it does to units | thinner |
|---|---|---|---|
"""


def page() -> str:
    """Give the page."""
    lines = []
    for family in FAMILIES:
        name = family.__name__.rpartition(".")[2]
        for operator, rule in sorted(family.RULES.items()):
            assert rules.RULES[operator] is rule, operator
            lines.append(f"| {name} | `{operator}` | {_says(rule)} | {_thinner(operator)} |")
    return HEAD + "\n".join(lines) + "\n"


def _thinner(operator: str) -> str:
    return "yes" if operator in cuts.RULES else "no"


def _says(rule: object) -> str:
    """Give the first line of a rule's description; elementwise rules come in two kinds."""
    function = getattr(rule, "func", rule)
    text = (function.__doc__ or "").strip().splitlines()[0]
    keywords = getattr(rule, "keywords", {})
    if "nonlinear" in keywords:
        text = f"{text.rstrip('.')}; {'a nonlinearity' if keywords['nonlinear'] else 'linear'}."
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
