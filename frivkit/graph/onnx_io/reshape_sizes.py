"""Sizes of tensors as products of numbers and open sizes, and Reshapes that follow from them."""

from collections.abc import Sequence
from math import prod

import onnx_ir as ir

from frivkit.graph.builder import Builder
from frivkit.graph.layout import attribute
from frivkit.graph.model import is_constant
from frivkit.graph.onnx_io.fold_shapes import remove_unused
from frivkit.graph.shapes import axis_name, infer_shapes

ProductSize = tuple[int, tuple[str, ...]]
"""A number times the names of open sizes, sorted."""
ProductSizes = tuple[ProductSize, ...]
Runs = tuple[tuple[int, ...], ...]
"""For each axis the axes that are merged in it."""
MOST_INFERENCES = 8
"""Times that shapes are inferred again, each time from sizes that were found by the last one."""
_ONE: ProductSize = (1, ())


def write_reshape_sizes(model: ir.Model) -> None:
    """Write the sizes of a Reshape, of which one is unknown, as constants.

    Exporters compute the width of a head from that of the stream, by steps that shape inference
    does not follow.  It follows from the number of entries.

    Args:
        model: The model, with inferred shapes; it is changed, and its outputs are not.
    """
    for _ in range(MOST_INFERENCES):
        changed = False
        for node in model.graph:
            if node.op_type != "Reshape" or node.domain or attribute(node, "allowzero", 0):
                continue
            before, output, old = sizes_of(node.inputs[0]), node.outputs[0], node.inputs[1]
            if before is None or old is None or is_constant(old) or sizes_of(output) is not None:
                continue
            wanted = completed(output, before)
            entries = None if wanted is None else reshape_entries(before, wanted)
            if entries is not None:
                build = Builder(model.graph, 0, f"{output.name}/sizes")
                node.replace_input_with(1, build.constant(entries))
                remove_unused(model.graph, old)
                changed = True
        if not changed:
            return
        infer_shapes(model)


def sizes_of(value: ir.Value | None) -> ProductSizes | None:
    """Return the sizes of a tensor, None if one of them is neither a number nor named.

    Example:
        >>> sizes_of(ir.Value(name="q", shape=ir.Shape([7, "3*N", 4])))
        ((7, ()), (3, ('N',)), (4, ()))
    """
    if value is None or value.shape is None:
        return None
    found = [_size(each) for each in value.shape]
    known = [each for each in found if each is not None]
    return tuple(known) if len(known) == len(found) else None


def _size(size: int | ir.SymbolicDim | None) -> ProductSize | None:
    if isinstance(size, int):
        return size, ()
    name = axis_name(size)
    if name is None:
        return None
    factors = name.split("*")
    if not all(each.isalnum() for each in factors):  # a sum, or another expression
        return 1, (name,)
    if all(each.isdigit() for each in factors):
        return None
    numbers = [int(each) for each in factors if each.isdigit()]
    return prod(numbers), tuple(sorted(each for each in factors if not each.isdigit()))


def completed(value: ir.Value, entries: ProductSizes) -> ProductSizes | None:
    """Return the sizes of a tensor of which one may be unknown, from those of the same entries."""
    found = [_size(each) for each in value.shape or ()]
    if not found or found.count(None) > 1:
        return None
    known = product([each for each in found if each is not None])
    left = _quotient(product(entries), known)
    return None if left is None else tuple(left if each is None else each for each in found)


def is_mixed(size: ProductSize) -> bool:
    """Whether an axis holds more than what one open size counts."""
    return bool(size[1]) and (size[0] > 1 or len(size[1]) > 1)


def product(sizes: Sequence[ProductSize]) -> ProductSize:
    """Return the number of entries of axes."""
    names = sorted(name for _, names in sizes for name in names)
    return prod(number for number, _ in sizes), tuple(names)


def _quotient(size: ProductSize, by: ProductSize) -> ProductSize | None:
    names = list(size[1])
    for name in by[1]:
        if name not in names:
            return None
        names.remove(name)
    if not by[0] or size[0] % by[0]:
        return None
    return size[0] // by[0], tuple(names)


def refined(before: ProductSizes, after: ProductSizes) -> tuple[ProductSizes, Runs] | None:
    """Return the axes that two shapes of the same entries are both merged from.

    Returns:
        Their sizes, and for each axis of ``after`` those that are merged in it; None if there are
        none.

    Example:
        >>> refined(((7, ()), (1, ("N",)), (12, ())), ((7, ()), (3, ("N",)), (4, ())))
        (((7, ()), (1, ('N',)), (3, ()), (4, ())), ((0,), (1, 2), (3,)))
    """
    fine: list[ProductSize] = []
    runs: list[tuple[int, ...]] = []
    waiting = list(before)
    for size in after:
        left: ProductSize = size
        run: list[int] = []
        while left != _ONE or not run:
            if not waiting:
                if left != _ONE:
                    return None
                piece = left
            else:
                piece = waiting.pop(0)
                rest = _quotient(left, piece)
                if rest is None:
                    more = _quotient(piece, left)
                    if more is None:
                        return None
                    waiting.insert(0, more)
                    piece, rest = left, _ONE
                left = rest
            run.append(len(fine))
            fine.append(piece)
        runs.append(tuple(run))
    if any(size != _ONE for size in waiting):
        return None
    return tuple(fine), tuple(runs)


def reshape_entries(before: ProductSizes, wanted: ProductSizes) -> list[int] | None:
    """Return the constant by which a Reshape gives the wanted sizes, None if there is none."""
    entries = []
    for axis, (number, names) in enumerate(wanted):
        same = axis < len(before) and before[axis] == wanted[axis]
        entries.append(number if not names else 0 if same else -1)
    return entries if entries.count(-1) < 2 else None


def named_shape(sizes: ProductSizes) -> ir.Shape:
    """Return sizes as the shape of a tensor, with a name for each open one."""
    names = ["*".join([*([str(n)] if n != 1 else []), *named]) for n, named in sizes]
    return ir.Shape([name if s[1] else s[0] for name, s in zip(names, sizes, strict=True)])
