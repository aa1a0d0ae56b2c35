"""The equation of an Einsum."""

from collections.abc import Sequence

import onnx_ir as ir

from frivkit.graph.layout import rank_of

Labels = tuple[str, ...]
"""The labels of the axes of one tensor; axes of an ellipsis are ``...0`` and so on from behind."""


def parse_equation(node: ir.Node) -> tuple[list[Labels], Labels]:
    """Return the labels of the operands of an Einsum and of its result.

    Args:
        node: The node; the ranks of its operands are known.

    Example:
        >>> x, w = (ir.Value(name=n, shape=ir.Shape(s)) for n, s in (("x", [2, 3, 4]), ("w", [4])))
        >>> parse_equation(ir.node("Einsum", [x, w], {"equation": "...k,k->..."}))
        ([('...1', '...0', 'k'), ('k',)], ('...1', '...0'))
    """
    equation = node.attributes["equation"].as_string().replace(" ", "")
    left, arrow, right = equation.partition("->")
    ranks = [rank_of(value) or 0 for value in node.inputs]
    terms = [_labels(text, rank) for text, rank in zip(left.split(","), ranks, strict=True)]
    longest = max((sum(label.startswith("...") for label in term) for term in terms), default=0)
    if arrow:
        return terms, _labels(right, len(right.replace("...", "")) + longest)
    every = [label for term in terms for label in term]
    once = sorted(label for label in set(every) if every.count(label) == 1 and label[0] != ".")
    return terms, (*_ellipsis(longest), *once)


def _labels(text: str, rank: int) -> Labels:
    before, dots, after = text.partition("...")
    return (*before, *(_ellipsis(rank - len(before) - len(after)) if dots else ()), *after)


def _ellipsis(count: int) -> Sequence[str]:
    return [f"...{number}" for number in reversed(range(count))]


def macs_of_equation(terms: Sequence[Labels], result: Labels, size: dict[str, int]) -> int:
    """Return the multiply-accumulates of an equation, its operands multiplied from the left.

    Args:
        terms: The labels of each operand.
        result: The labels of the result.
        size: The size of each label.

    Example:
        >>> macs_of_equation([("i", "k"), ("k", "j")], ("i", "j"), {"i": 2, "j": 3, "k": 4})
        24
    """
    total, labels = 0, set(terms[0])
    for number, term in enumerate(terms[1:], start=1):
        later = {label for each in (*terms[number + 1 :], result) for label in each}
        joined = {label for label in labels if label in term or label in later}
        joined |= {label for label in term if label in labels or label in later}
        count = 1
        for label in joined:
            count *= size[label]
        total += count
        labels = joined & later
    return total
