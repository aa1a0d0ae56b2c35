"""Write int8 models: ONNX Runtime's preparation, and its quantizer with ranges that are given."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.quantization import (
    CalibrationMethod,
    QuantFormat,
    QuantType,
    TensorsData,
    quant_pre_process,
    quantize_static,
    save_tensors_data,
)

from frivkit.errors import ModelError, one_line
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.limits import LARGEST_INLINE
from frivkit.graph.shapes import infer_shapes

OLDEST = 13
"""The first opset whose QuantizeLinear takes a scale for each channel."""
PREPARED = ("onnx.quant.pre_process", "onnx.infer")
"""Metadata that ONNX Runtime's quantizer leaves."""
FLOAT_OUTPUTS = ("Gemm", "MatMul", "Add")
"""Operators that may give float numbers as outputs of a model, at no cost in time."""


def prepare(model: Model) -> Model:
    """Return a model as ONNX Runtime's quantizer wants it.

    Its opset is 13 or later, constants are computed, and BatchNormalization behind a convolution is
    part of it: ONNX Runtime's basic optimizations, which keep to ONNX's operators.

    Raises:
        ModelError: ONNX cannot convert the opset, or ONNX Runtime cannot optimize the model.
    """
    with tempfile.TemporaryDirectory(prefix="frivkit-") as folder:
        given, prepared = Path(folder) / "model.onnx", Path(folder) / "prepared.onnx"
        _write(_upgraded(model), given)
        with _context(f"{model.path.name} cannot be prepared for int8"):
            quant_pre_process(
                given,
                prepared,
                skip_symbolic_shape=True,  # the shapes of the file are known
                save_as_external_data=_bytes(model.ir) > LARGEST_INLINE,
                all_tensors_to_one_file=True,
                external_data_location="prepared.data",
            )
        made = _loaded(prepared)
    _name_nodes(made.graph)
    return replace(model, ir=made)


def quantized(
    model: Model, ranges: Mapping[str, tuple[float, float]], *, reduce_range: bool
) -> ir.Model:
    """Return a prepared model with QuantizeLinear and DequantizeLinear around its operators.

    Weights are signed, symmetric, and have a scale for each output channel; activations are
    unsigned.

    Args:
        model: The model, as :func:`prepare` returns it.
        ranges: The smallest and the largest number of each tensor.
        reduce_range: Use 7 bits of the weights, so that no sum of two products exceeds 16 bits.

    Raises:
        ModelError: ONNX Runtime cannot quantize the model.
    """
    tensors = TensorsData(
        CalibrationMethod.MinMax,
        {
            name: (np.array(low, np.float32), np.array(high, np.float32))
            for name, (low, high) in ranges.items()
        },
    )
    with tempfile.TemporaryDirectory(prefix="frivkit-") as folder:
        given, written = Path(folder) / "model.onnx", Path(folder) / "int8.onnx"
        _write(model.ir, given)
        save_tensors_data(tensors, Path(folder) / "ranges.json")
        with _context(f"{model.path.name} cannot be quantized"):
            quantize_static(
                given,
                written,
                None,
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=reduce_range,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                use_external_data_format=_bytes(model.ir) > LARGEST_INLINE,
                calibration_cache_path=Path(folder) / "ranges.json",
            )
        return _loaded(written)


def _name_nodes(graph: ir.Graph) -> None:
    """Give a name of its own to each node, by which the quantizer's nodes are found again."""
    taken: set[str] = set()
    for node in graph:
        name = node.name or node.outputs[0].name or node.op_type
        names = (name, *(f"{name}#{count}" for count in range(2, len(taken) + 3)))
        node.name = next(each for each in names if each not in taken)
        taken.add(node.name)


def _upgraded(model: Model) -> ir.Model:
    """Return the graph in an opset whose scales may be one for each channel."""
    version = model.ir.opset_imports.get("", 1)
    if version >= OLDEST:
        return model.ir
    with _context(f"{model.path.name} has opset {version}, int8 needs {OLDEST}: convert it"):
        proto = onnx.version_converter.convert_version(ir.to_proto(model.ir), OLDEST)
    upgraded: ir.Model = ir.from_proto(proto)
    upgraded.metadata_props.update(model.ir.metadata_props)
    return upgraded


def _write(model: ir.Model, path: Path) -> None:
    ir.save(model, path, external_data="weights" if _bytes(model) > LARGEST_INLINE else None)


def _loaded(path: Path) -> ir.Model:
    """Return a model whose files may be removed."""
    model: ir.Model = ir.load(path)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = ir.Tensor(tensor.numpy().copy(), name=tensor.name)
    infer_shapes(model)
    return model


def _bytes(model: ir.Model) -> int:
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@contextmanager
def _context(what: str) -> Iterator[None]:
    """Turn whatever ONNX and ONNX Runtime raise into a ModelError, and silence Python's log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except Exception as error:
        raise ModelError(f"{what}: {one_line(error)}") from error
    finally:
        logging.disable(before)


def keep_outputs_float(model: ir.Model) -> int:
    """Remove the rounding to 8 bits of outputs that a matrix product or a sum computes.

    ONNX Runtime's kernels of these give float numbers as fast.

    Returns:
        The number of outputs that are not rounded any more.
    """
    count = 0
    for index, output in enumerate(model.graph.outputs):
        last = output.producer()
        rounding = last and last.op_type == "DequantizeLinear" and last.inputs[0]
        before = rounding.producer() if rounding else None
        if not before or before.op_type != "QuantizeLinear" or not rounding or not last:
            continue
        real = before.inputs[0]
        node = None if real is None else real.producer()
        alone = len(rounding.uses()) == 1 and not output.uses() and not rounding.is_graph_output()
        if real is None or node is None or not alone or node.op_type not in FLOAT_OUTPUTS:
            continue
        if len(real.uses()) > 1 or real.is_graph_output():
            continue
        name = output.name
        real.shape, real.type = output.shape, output.type
        model.graph.outputs[index] = real
        model.graph.remove([last, before], safe=True)
        output.name, real.name = f"{name}/rounded", name
        count += 1
    return count
