"""The steps from a float model to an int8 file that is proved.  Read from the top."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.files import real_path
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.finite import check_weights
from frivkit.graph.onnx_io.load import moved, read
from frivkit.graph.onnx_io.save import written_aside
from frivkit.measure.pipeline import Request
from frivkit.quantization.equalization import equalize
from frivkit.quantization.folding import fold_normalizations
from frivkit.quantization.qdq import PREPARED, keep_outputs_float, prepare, quantized
from frivkit.quantization.ranges import RangeMethod, observe
from frivkit.quantization.rounding import refine
from frivkit.quantization.saturation import products_saturate
from frivkit.runtime.execution import Execution
from frivkit.runtime.opening import Opening, prepare_model
from frivkit.verification import Verification, verify
from frivkit.verification.verification import BATCHES, put_in_place

FULL, REDUCED = 127, 64
"""The largest magnitude of a weight of 8 bits and of 7."""
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
INT8_OPERATORS = frozenset(
    [
        *("Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "Where", "Split", "Resize"),
        *("MaxPool", "AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax"),
        *("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Gather"),
    ]
)
"""Operators that ONNX Runtime computes in 8 bits between a DequantizeLinear and a QuantizeLinear
(``SelectorsAndActions`` in ``core/optimizer/qdq_transformer/selectors_actions/`` of its source)."""


@dataclass(frozen=True, slots=True)
class Int8Options:
    """How a model is quantized; the defaults are what was best on the networks of ``docs/int8.md``.

    Attributes:
        reduce_range: Use 7 bits of the weights; None does so if products of 8 bits saturate on this
            processor.
        ranges: How the range of an activation follows from its histogram: ``"minmax"``,
            ``"percentile"`` or ``"mse"``.
        fold: Fold BatchNormalization behind activations forward.
        equalize: Scale channels between layers.
        refine: Round weights by the second moments of their inputs, and correct biases.
    """

    reduce_range: bool | None = None
    ranges: RangeMethod = "mse"
    fold: bool = True
    equalize: bool = True
    refine: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """An int8 model, and what was done for it.

    Attributes:
        ir: The graph, with QuantizeLinear and DequantizeLinear around its operators.
        reduce_range: Whether weights have 7 bits.
        folded: The number of BatchNormalization nodes that became part of other layers.
        equalized: The number of tensors whose channels were scaled.
        refined: The number of nodes whose weights were rounded by the moments of their inputs.
        float_nodes: How many nodes of each operator still compute in float.
    """

    ir: ir.Model
    reduce_range: bool
    folded: int
    equalized: int
    refined: int
    float_nodes: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Int8Result:
    """An int8 file, proved against the float original.

    Attributes:
        path: The file.
        quantized: The model in it.
        verification: The int8 file against the original: label agreement with its interval, size
            and latency.
        against_float: The int8 file against the float file that it was made of.
        warnings: Where int8 loses, a sentence each, and what a user should know of the data.
    """

    path: Path
    quantized: Quantized
    verification: Verification
    against_float: Verification
    warnings: tuple[str, ...]


def int8_path(path: Path) -> Path:
    """Return the name of the int8 file that is made of a compressed one.

    Example:
        >>> str(int8_path(Path("thin.onnx")))
        'thin-int8.onnx'
    """
    return path.with_name(f"{path.stem}-int8{path.suffix}")


def write_int8(
    original: Model,
    compressed: Path,
    output: Path,
    *,
    data: Dataset,
    held_out: Dataset,
    execution: Execution,
    place: Path | None = None,
    time_batches: Sequence[int] = BATCHES,
    float_verification: Verification | None = None,
    options: Int8Options | None = None,
) -> Int8Result:
    """Write the int8 file of a compressed model, and compare it with the float original.

    What is compared and timed is the int8 file, as ONNX Runtime runs it by default.

    Args:
        original: The model that ``compressed`` was made of.
        compressed: A float ONNX file made of it; its own file for int8 alone.
        output: The file to write; its folder must exist.
        data: Calibration examples.
        held_out: Examples to compare on, which were not used for anything else.
        execution: How to run all models.
        place: Where ``compressed`` will be put; None if it is there.
        time_batches: Batch sizes at which files are timed; empty to time nothing.
        float_verification: The comparison of ``compressed`` with the original; if given, its
            agreement is compared with that of the int8 file.
        options: How to quantize.

    Raises:
        ModelError: the file cannot be read, quantized, written or run.
    """
    if real_path(output) == real_path(original.path):
        raise ModelError(f"{output} is the model that is compressed; give another name")
    given = {} if original.interface is None else original.interface.given
    execution.progress.start("preparing int8", 0)
    model = prepare_model(read(compressed, given=given), Opening(execution, data), keep_file=True)
    made = quantize(model, data, execution, options)
    made.ir.metadata_props["frivkit.int8"] = _description(data, made)
    numbers = {name: array.tolist() for name, array in given.items()}
    request = Request(model=original, inputs=numbers, execution=execution)
    with written_aside(made.ir, output, model) as aside:
        found = [
            verify(each, aside.path, data=held_out, time_batches=time_batches)
            for each in (request, replace(request, model=model))
        ]
        verification, against_float = put_in_place(aside, *found)
    if place is not None:
        source = replace(against_float.original, model=moved(model, place))
        against_float = replace(against_float, original=source)
    warnings = (
        *_slower(verification, "the original"),
        *_slower(against_float, compressed.name),
        *(_agrees_less(verification, float_verification) if float_verification else ()),
        *verification.warnings,
    )
    return Int8Result(output, made, verification, against_float, warnings)


def quantize(
    model: Model, data: Dataset, execution: Execution, options: Int8Options | None = None
) -> Quantized:
    """Return a float model in int8.

    1. Prepare: opset 13 or later, constants computed, BatchNormalization into the convolution
       before it.
    2. Observe: one pass over the examples, for the ranges of all activations.
    3. Fold and equalise: rewrites that compute the same.
    4. Quantize: by ONNX Runtime's quantizer, with these ranges.
    5. Refine: round weights by the moments of their inputs, and correct biases.

    Args:
        model: The model, its shapes known.
        data: Calibration examples.
        execution: How to run the model, and the memory for activations and for moments.
        options: How to quantize.

    Raises:
        ModelError: the model has whole-number weights already, no node that int8 is for, an opset
            that cannot be converted, or activations that are not finite.
    """
    options = options or Int8Options()
    _check(model)
    check_weights(model)
    reduce = options.reduce_range
    if reduce is None:
        reduce = products_saturate(execution.placement)

    prepared = prepare(model)
    seen = observe(prepared, data, execution)
    graph = prepared.ir.clone()
    folded = fold_normalizations(graph, seen.largest) if options.fold else 0
    if folded:
        seen = observe(replace(prepared, ir=graph), data, execution)
    equalized = equalize(graph, seen.largest) if options.equalize else 0
    rewritten = replace(prepared, ir=graph)
    if equalized:
        seen = observe(rewritten, data, execution)

    execution.progress.start("quantizing", 0)
    made = quantized(rewritten, seen.ranges(options.ranges), reduce_range=reduce)
    keep_outputs_float(made)
    limit = REDUCED if reduce else FULL
    refined = refine(made, rewritten, data, execution, limit=limit) if options.refine else 0
    for key in PREPARED:
        made.metadata_props.pop(key, None)
    made.metadata_props.update(model.metadata)
    return Quantized(made, reduce, folded, equalized, refined, _float_nodes(made))


def _check(model: Model) -> None:
    operators = {node.op_type for node in model.graph}
    if model.changes or operators & set(QUANTIZERS):
        raise ModelError(
            f"{model.path.name} computes in whole numbers or in bfloat16; int8 is made of the "
            "float32 model that it came from: give that"
        )
    if not operators & {"Conv", "Gemm", "MatMul"}:
        raise ModelError(
            f"{model.path.name} has no Conv, Gemm or MatMul for int8 to speed up; use it as it is"
        )


def _float_nodes(model: ir.Model) -> dict[str, int]:
    """Count the nodes that compute in float, by operator."""

    def whole(node: ir.Node) -> bool:
        reads = [value.producer() for value in node.inputs if value is not None]
        return node.op_type in INT8_OPERATORS and any(
            each is not None and each.op_type == "DequantizeLinear" for each in reads
        )

    counted = Counter(
        node.op_type
        for node in model.graph
        if node.op_type not in (*QUANTIZERS, "Constant") and not whole(node)
    )
    return dict(counted)


def _description(data: Dataset, made: Quantized) -> str:
    bits = 7 if made.reduce_range else 8
    return f"{bits}-bit weights, calibration {data.digest}"


def _slower(verification: Verification, name: str) -> tuple[str, ...]:
    """Return a warning if the int8 file is slower, or no faster, at a batch size."""
    warnings = []
    for size, before in verification.original.latency.items():
        after = verification.compressed.latency[size]
        if before is None or after is None:
            continue
        low, middle, high = after.against(before)
        if low > 1:
            warnings.append(f"int8 is slower than {name} at batch {size}: {middle:.2f} of its time")
        elif high >= 1:
            warnings.append(
                f"int8 is not measurably faster than {name} at batch {size}: {middle:.2f} of its "
                f"time, quartiles {low:.2f} to {high:.2f}"
            )
    return tuple(warnings)


def _agrees_less(int8: Verification, float_file: Verification) -> tuple[str, ...]:
    """Return a warning if the intervals of the two agreements are apart."""
    after, before = int8.comparison.agreement, float_file.comparison.agreement
    if after.interval[1] >= before.interval[0]:
        return ()
    return (
        f"int8 agrees with the original on {after.share:.1%} of the labels, the float file on "
        f"{before.share:.1%}: take the float file, or give more calibration examples",
    )
