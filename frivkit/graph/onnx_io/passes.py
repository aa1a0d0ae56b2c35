"""The rewrites of a graph while its file is read, in the order in which they are applied.

They need neither data nor a run.  Rewrites that do stand in ``frivkit.runtime.opening``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from frivkit.errors import ModelError
from frivkit.graph import shapes
from frivkit.graph.interface import Interface
from frivkit.graph.onnx_io import branches, einsum, fold_shapes, reshape_sizes
from frivkit.graph.onnx_io import fold_constants as constants
from frivkit.graph.onnx_io import split_parts as parts
from frivkit.graph.onnx_io import unmix_axes as unmix
from frivkit.graph.onnx_io.bfloat16 import bfloat16_to_float32
from frivkit.graph.onnx_io.dequantize import dequantize
from frivkit.graph.onnx_io.examples_first import doubtful_axes, move_inputs, move_outputs
from frivkit.graph.onnx_io.given_inputs import Numbers, give_inputs
from frivkit.graph.onnx_io.input_shape import InputShape, parse_input_shapes
from frivkit.graph.onnx_io.unfuse import unfuse

BRANCHES = "frivkit.branches"
"""The key of the metadata that say for which values the branches are that a file holds."""


@dataclass(slots=True)
class ReadRequest:
    """What the user says of a file, and what the rewrites find in it.

    Attributes:
        input_shape: Sizes that the file leaves open, as in ``--input-shape``.
        given: Numbers for inputs without examples, as in ``--input``.
        scalars: Single numbers of the data, for inputs of those names that take one number.
        notes: A sentence for each thing that the file does not say and that is assumed.
        interface: What the file says of its inputs, outputs and tensors.
    """

    input_shape: str | None
    given: Mapping[str, Numbers]
    interface: Interface
    scalars: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


ReadingPass = Callable[[ir.Model, ReadRequest], str | None]
"""A rewrite in place.

It returns None, or a sentence if the graph then computes otherwise than its file says, so that no
file may be made from it.
"""

MOST_NODES = 200_000
"""Most nodes of a model whose functions are replaced by their bodies."""


def inline_functions(model: ir.Model, request: ReadRequest) -> None:
    """Replace calls of the model's own functions by their bodies.

    Raises:
        ModelError: this would make more than :data:`MOST_NODES` nodes.
    """
    del request
    if model.functions:
        _check_inlined_size(model)
        InlinePass()(model)


def _check_inlined_size(model: ir.Model) -> None:
    """Raise an error for functions that call each other so often that no memory would hold them."""

    @cache
    def size(function: ir.OperatorIdentifier) -> int:
        return total(model.functions[function])

    def total(holder: ir.Graph | ir.Function) -> int:
        called = [node.op_identifier() for node in ir.traversal.RecursiveGraphIterator(holder)]
        return sum(size(each) if each in model.functions else 1 for each in called)

    if (nodes := total(model.graph)) > MOST_NODES:
        raise ModelError(
            f"its functions stand for {nodes:,} nodes, more than the {MOST_NODES:,} that are read; "
            "export it without nested functions"
        )


def open_nonpositive_sizes(model: ir.Model, request: ReadRequest) -> None:
    """Replace sizes below 1, which some exporters write for "any", by open ones."""
    del request
    graph = model.graph
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    for value in [*inputs, *graph.outputs, *(v for node in graph for v in node.outputs)]:
        if value.shape is None or all(not isinstance(s, int) or s > 0 for s in value.shape):
            continue
        sizes = [None if isinstance(size, int) and size < 1 else size for size in value.shape]
        if sizes and sizes[0] is None and any(value is each for each in inputs):
            sizes[0] = ir.SymbolicDim("N")
        value.shape = ir.Shape(sizes)


def choose_branches(model: ir.Model, request: ReadRequest) -> None:
    """Replace conditions that are the same in every run by the branches that they choose."""
    del request
    branches.choose_branches(model)


def choose_given_branches(model: ir.Model, request: ReadRequest) -> None:
    """Replace conditions that given numbers decide by the branches that they choose."""
    given = request.interface.given
    if given and branches.choose_branches(model, given=True):
        numbers = (f"{name}={array.tolist()}" for name, array in given.items())
        model.metadata_props[BRANCHES] = ", ".join(numbers)
        request.notes += (
            f"its branches are those for {', '.join(given)} as given: a file made from it has no "
            "others, whatever number its users give",
        )


def widen_bfloat16(model: ir.Model, request: ReadRequest) -> str | None:
    """Compute in float32 what the file computes in bfloat16."""
    del request
    return bfloat16_to_float32(model)


def dequantize_integers(model: ir.Model, request: ReadRequest) -> str | None:
    """Compute in real numbers what the file computes in 8-bit integers."""
    del request
    return dequantize(model)


def set_input_sizes(model: ir.Model, request: ReadRequest) -> None:
    """Set the sizes that the user gave for inputs.

    Raises:
        ModelError: they do not fit the inputs.
    """
    if request.input_shape is None:
        return
    graph = model.graph
    inputs = {value.name: value for value in graph.inputs}
    for name, each in _requested_shapes(model, request.input_shape):
        value = inputs[name]
        shape = value.shape
        if shape is None:
            shape = ir.Shape(["N", *[None] * (len(each.sizes) - 1)])
        batch = request.interface.input_axes.get(value.name or "", 0)
        first = _examples_first(each, batch)
        _check_fit(value, shape, first)
        value.shape = ir.Shape([shape[0], *first.sizes[1:]])
    shapes.infer_shapes(model)
    if branches.choose_branches(model, given=True):
        shapes.infer_shapes(model)
        chosen = [model.metadata_props.get(BRANCHES), f"--input-shape {request.input_shape}"]
        model.metadata_props[BRANCHES] = ", ".join(filter(None, chosen))
        request.notes += (
            f"its branches are those for --input-shape {request.input_shape}: a file made from it "
            "has no others, whatever sizes its users take",
        )
    fold_shapes.fold_shape_arithmetic(model, lasting=not request.interface.open_sizes())


def _requested_shapes(model: ir.Model, text: str) -> list[tuple[str, InputShape]]:
    """Return the inputs whose sizes are given, with these; one shape is for all with open sizes.

    Raises:
        ModelError: there are neither one nor as many shapes as inputs.
    """
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    requested = parse_input_shapes(text)
    if len(requested) not in (1, len(inputs)):
        names = ", ".join(value.name or "" for value in inputs)
        raise ModelError(
            f"--input-shape {text} has {len(requested)} shapes, the model has {len(inputs)} inputs "
            f"({names}); give one for each, in that order"
        )
    one_for_all = len(inputs) > len(requested)
    return [
        (value.name or "", each)
        for value, each in zip(inputs, requested * (len(inputs) // len(requested)), strict=True)
        if not (
            one_for_all
            and value.shape is not None
            and all(isinstance(s, int) for s in value.shape[1:])
        )
    ]


def give_numbers(model: ir.Model, request: ReadRequest) -> None:
    """Give inputs without examples the numbers that the user gives, or else those of the data.

    Raises:
        UsageError: there is no such input, or it takes other numbers.
    """
    single = {v.name for v in model.graph.inputs if v.shape is not None and not len(v.shape)}
    scalars = {name: number for name, number in request.scalars.items() if name in single}
    given = give_inputs(model, {**scalars, **request.given})
    request.interface = replace(request.interface, given=given)


def examples_first_in(model: ir.Model, request: ReadRequest) -> None:
    """Put the examples of all inputs on their first axis."""
    shapes = () if request.input_shape is None else _requested_shapes(model, request.input_shape)
    said = {name: each.examples for name, each in shapes if each.examples is not None}
    if request.input_shape is None:
        request.notes += tuple(doubtful_axes(model))
    axes = move_inputs(model, said)
    request.interface = replace(request.interface, input_axes=axes)


def examples_first_out(model: ir.Model, request: ReadRequest) -> None:
    """Put the examples of outputs on their first axis, where they are known to be elsewhere."""
    axes = move_outputs(model, moved_inputs=bool(request.interface.input_axes))
    request.interface = replace(request.interface, output_axes=axes)


def _examples_first(requested: InputShape, batch: int) -> InputShape:
    """Return a shape that is given in the order of the file with its axis of examples in front."""
    sizes = requested.sizes
    if batch >= len(sizes):
        return requested
    return replace(requested, sizes=(sizes[batch], *sizes[:batch], *sizes[batch + 1 :]))


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


def unfuse_operators(model: ir.Model, request: ReadRequest) -> None:
    """Write operators that an optimizer fused as operators of ONNX."""
    del request
    unfuse(model)


def fold_constants(model: ir.Model, request: ReadRequest) -> None:
    """Replace what is computed from weights alone by constants."""
    del request
    constants.fold_constants(model)


def infer_shapes(model: ir.Model, request: ReadRequest) -> None:
    """Set the shapes that follow from those of the inputs."""
    del request
    shapes.infer_shapes(model)


def unfuse_known_shapes(model: ir.Model, request: ReadRequest) -> None:
    """Write the fused operators whose shapes had to be known, one behind the other."""
    del request
    while unfuse(model):
        shapes.infer_shapes(model)


def write_einsum_as_products(model: ir.Model, request: ReadRequest) -> None:
    """Replace Einsum nodes by products of matrices, which compute the same."""
    del request
    if einsum.write_einsum_as_products(model):
        shapes.infer_shapes(model)


def fold_shape_arithmetic(model: ir.Model, request: ReadRequest) -> None:
    """Replace sizes that the graph computes, and that never change, by constants."""
    del request
    fold_shapes.fold_shape_arithmetic(model, lasting=True)


def split_parts(model: ir.Model, request: ReadRequest) -> None:
    """Cut an axis into parts where it is, in place of moving them to the front."""
    del request
    parts.split_parts(model)


def unmix_axes(model: ir.Model, request: ReadRequest) -> None:
    """Compute on axes apart what is computed on merged ones."""
    del request
    unmix.unmix_axes(model)


def write_reshape_sizes(model: ir.Model, request: ReadRequest) -> None:
    """Write sizes that follow from the number of entries."""
    del request
    reshape_sizes.write_reshape_sizes(model)


READING_PASSES: tuple[ReadingPass, ...] = (
    inline_functions,
    open_nonpositive_sizes,
    choose_branches,
    give_numbers,
    choose_given_branches,
    widen_bfloat16,
    dequantize_integers,
    unfuse_operators,
    fold_constants,
    examples_first_in,
    infer_shapes,
    unfuse_known_shapes,
    write_einsum_as_products,
    fold_shape_arithmetic,
    set_input_sizes,
    write_reshape_sizes,
    split_parts,
    unmix_axes,
    examples_first_out,
)
