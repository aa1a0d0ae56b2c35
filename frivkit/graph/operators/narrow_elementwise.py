"""What changes in operators that act entry by entry: constants that are spread over the units."""

from frivkit.graph.operators.edits import Edit, Given, Rule, broadcast
from frivkit.graph.operators.propagate_elementwise import ELEMENTWISE


def _elementwise(given: Given) -> list[Edit]:
    if "broadcast" in given.node.attributes or "axis" in given.node.attributes:
        return given.held(f"{given.node.op_type} of before opset 7, which aligns axes by number")
    return broadcast(given)


def _like(given: Given) -> list[Edit]:
    """Change nothing: of the second operand only the number type is read."""
    del given
    return []


RULES: dict[str, Rule] = {**dict.fromkeys(ELEMENTWISE, _elementwise), "CastLike": _like}
