"""Products of two computed tensors, with a letter for each axis: MatMul and Einsum alike."""

from dataclasses import dataclass

import onnx_ir as ir

from frivkit.graph.layout import rank_of
from frivkit.graph.model import is_constant
from frivkit.graph.operators.attention import has_head_axis


@dataclass(frozen=True, slots=True)
class Product:
    """A sum of products of two computed tensors.

    Attributes:
        operands: A letter for each axis of both operands.
        output: A letter for each axis of the output.
    """

    operands: tuple[str, str]
    output: str

    def is_summed(self, letter: str) -> bool:
        """Whether an axis of both operands is summed over."""
        return letter not in self.output and all(letter in each for each in self.operands)

    def is_batch(self, letter: str) -> bool:
        """Whether an axis of both operands is an axis of the output: one product for each entry."""
        return all(letter in each for each in (*self.operands, self.output))


def product_of(node: ir.Node) -> Product | None:
    """Return the product that a node computes, None if it computes none of two computed tensors.

    Example:
        >>> q, k, s = (ir.Value(name=n, shape=ir.Shape(["N", 2, 3, 3])) for n in "qks")
        >>> product_of(ir.Node("", "MatMul", [q, k], outputs=[s]))
        Product(operands=('abyx', 'abxz'), output='abyz')
    """
    if len(node.inputs) != 2 or any(v is None or is_constant(v) for v in node.inputs):
        return None
    if node.op_type == "MatMul":
        return _of_matmul([rank_of(value) or 0 for value in node.inputs])
    if node.op_type == "Einsum":
        return _of_einsum(node.attributes["equation"].as_string().replace(" ", ""))
    return None


def _of_matmul(ranks: list[int]) -> Product | None:
    if min(ranks) < 2:
        return None
    batch = "abcdefghijklm"[: max(ranks) - 2]
    left, right = (batch[len(batch) - (rank - 2) :] for rank in ranks)
    return Product((f"{left}yx", f"{right}xz"), f"{batch}yz")


def _of_einsum(equation: str) -> Product | None:
    left, arrow, right = equation.partition("->")
    operands = left.split(",")
    if not arrow or "." in equation or len(operands) != 2:
        return None
    if any(len(set(letters)) != len(letters) for letters in (*operands, right)):
        return None
    return Product((operands[0], operands[1]), right)


def factors_of(node: ir.Node) -> tuple[tuple[Product, int], ...]:
    """Return for each operand of a node the product that it is a factor of, and its side there.

    An attention in one node is two products: of queries and keys, and of scores and values.
    """
    product = product_of(node)
    if product is not None:
        return (product, 0), (product, 1)
    if has_head_axis(node):
        scores, values = Product(("abyx", "abzx"), "abyz"), Product(("abyz", "abzx"), "abyx")
        return (scores, 0), (scores, 1), (values, 1)
    return ()
