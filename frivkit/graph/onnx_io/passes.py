"""The rewrites of a graph while its file is read, in the order in which they are applied.

They need neither data nor a run.  Rewrites that do stand in ``frivkit.runtime.opening``.
"""

from collections.abc import Callable

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from frivkit.errors import ModelError
from frivkit.graph import shapes
from frivkit.graph.onnx_io import einsum, fold_shapes
from frivkit.graph.onnx_io import fold_constants as constants
from frivkit.graph.onnx_io.bfloat16 import bfloat16_to_float32
from frivkit.graph.onnx_io.dequantize import dequantize
from frivkit.graph.onnx_io.input_shape import InputShape, parse_input_shapes
from frivkit.graph.onnx_io.unfuse import unfuse

ReadingPass = Callable[[ir.Model, str | None], str | None]
"""A rewrite in place.

Called with the graph and the user's ``--input-shape``.  It returns None, or a sentence if the graph
then computes otherwise than its file says, so that no file may be made from it.
"""


def inline_functions(model: ir.Model, input_shape: str | None) -> None:
    """Replace calls of the model's own functions by their bodies."""
    del input_shape
    if model.functions:
        InlinePass()(model)


def open_nonpositive_sizes(model: ir.Model, input_shape: str | None) -> None:
    """Replace sizes below 1, which some exporters write for "any", by open ones."""
    del input_shape
    graph = model.graph
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    for value in [*inputs, *graph.outputs, *(v for node in graph for v in node.outputs)]:
        if value.shape is None or all(not isinstance(s, int) or s > 0 for s in value.shape):
            continue
        sizes = [None if isinstance(size, int) and size < 1 else size for size in value.shape]
        if sizes and sizes[0] is None and any(value is each for each in inputs):
            sizes[0] = ir.SymbolicDim("N")
        value.shape = ir.Shape(sizes)


def widen_bfloat16(model: ir.Model, input_shape: str | None) -> str | None:
    """Compute in float32 what the file computes in bfloat16."""
    del input_shape
    return bfloat16_to_float32(model)


def dequantize_integers(model: ir.Model, input_shape: str | None) -> str | None:
    """Compute in real numbers what the file computes in 8-bit integers."""
    del input_shape
    return dequantize(model)


def set_input_sizes(model: ir.Model, input_shape: str | None) -> None:
    """Set the sizes that the user gave for inputs.

    Raises:
        ModelError: they do not fit the inputs.
    """
    if input_shape is None:
        return
    text, graph = input_shape, model.graph
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    requested = parse_input_shapes(text)
    if len(requested) not in (1, len(inputs)):
        names = ", ".join(value.name or "" for value in inputs)
        raise ModelError(
            f"--input-shape {text} has {len(requested)} shapes, the model has {len(inputs)} inputs "
            f"({names}); give one for each, in that order"
        )
    for value, each in zip(inputs, requested * (len(inputs) // len(requested)), strict=True):
        shape = value.shape
        if shape is None:
            shape = ir.Shape(["N", *[None] * (len(each.sizes) - 1)])
        if len(inputs) > len(requested) and all(isinstance(size, int) for size in shape[1:]):
            continue
        _check_fit(value, shape, each)
        value.shape = ir.Shape([shape[0], *each.sizes[1:]])


def _check_fit(value: ir.Value, shape: ir.Shape, requested: InputShape) -> None:
    fits = len(shape) == len(requested.sizes) and all(
        old == new or not isinstance(old, int)
        for old, new in zip(shape[1:], requested.sizes[1:], strict=True)
    )
    if not fits:
        raise ModelError(
            f"--input-shape {requested.text} does not fit input {value.name!r}, which is "
            f"{'x'.join(str(size) for size in shape)}; give all axes, the batch in front"
        )
    if requested.dtype is not None and value.dtype is not None:
        dtype = value.dtype.numpy().name
        if requested.dtype != dtype:
            raise ModelError(
                f"--input-shape {requested.text} does not fit input {value.name!r}, which takes "
                f"{dtype}; leave the type out"
            )


def unfuse_operators(model: ir.Model, input_shape: str | None) -> None:
    """Write operators that an optimizer fused as operators of ONNX."""
    del input_shape
    unfuse(model)


def fold_constants(model: ir.Model, input_shape: str | None) -> None:
    """Replace what is computed from weights alone by constants."""
    del input_shape
    constants.fold_constants(model)


def infer_shapes(model: ir.Model, input_shape: str | None) -> None:
    """Set the shapes that follow from those of the inputs."""
    del input_shape
    shapes.infer_shapes(model)


def write_einsum_as_products(model: ir.Model, input_shape: str | None) -> None:
    """Replace Einsum nodes by products of matrices, which compute the same."""
    del input_shape
    if einsum.write_einsum_as_products(model):
        shapes.infer_shapes(model)


def fold_shape_arithmetic(model: ir.Model, input_shape: str | None) -> None:
    """Replace sizes that the graph computes, and that never change, by constants."""
    del input_shape
    fold_shapes.fold_shape_arithmetic(model)


READING_PASSES: tuple[ReadingPass, ...] = (
    inline_functions,
    open_nonpositive_sizes,
    widen_bfloat16,
    dequantize_integers,
    set_input_sizes,
    unfuse_operators,
    fold_constants,
    infer_shapes,
    write_einsum_as_products,
    fold_shape_arithmetic,
)
