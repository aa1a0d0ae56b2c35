"""Read an ONNX file: checked, weights mapped from disk, shapes inferred."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from frivkit.errors import FrivkitError, ModelError
from frivkit.graph.dequantising import dequantise
from frivkit.graph.model import Model, digest, signature
from frivkit.graph.shapes import infer_shapes
from frivkit.graph.sizes import fix_sizes
from frivkit.graph.widening import widen

_SHAPE = re.compile(r"[1-9][0-9]{0,9}(x[1-9][0-9]{0,9})*")


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read the ONNX model at ``path``.

    Args:
        path: An ONNX file; external data lies beside it.
        options: ``input_shape`` such as ``"1x3x32x32"`` fixes sizes the file leaves open: all axes
            of an input, the batch (which stays open) in front.  It must fit each input that has
            open sizes, and the only one.

    Returns:
        The model.  Weights are mapped, not read: a 3 GB file costs some tens of megabytes.

    Raises:
        ModelError: missing, not ONNX, truncated, invalid, or without a usable input.
    """
    if not path.is_file():
        found = "is a folder or a device" if path.exists() else "does not exist"
        raise ModelError(f"model file {path} {found}; give the path of an .onnx file")
    try:
        return _read(path, options.get("input_shape"))
    except FrivkitError:
        raise
    except Exception as error:  # onnx, protobuf and onnx_ir share no base class
        raise ModelError(
            f"{path} cannot be read as ONNX: {_one_line(error)}; give a complete .onnx file"
        ) from error


def _read(path: Path, input_shape: str | None) -> Model:
    onnx.checker.check_model(str(path))
    model = ir.load(path)
    if len(model.graph.outputs) == 0:
        raise ModelError(f"{path} has no outputs: there is nothing to measure")
    sha256 = digest(path, model)
    _read_on_use(model, path)
    if model.functions:
        InlinePass()(model)
    changes = [done for done in (widen(model), dequantise(model)) if done is not None]
    if input_shape is not None:
        _fix_sizes(model.graph, input_shape)
    infer_shapes(model)
    fix_sizes(model)
    inputs, batch = signature(model.graph, path.name)
    return Model(
        ir=model,
        path=path,
        format="onnx",
        sha256=sha256,
        inputs=inputs,
        batch=batch,
        metadata=dict(model.metadata_props),
        changes=tuple(changes),
    )


def _read_on_use(model: ir.Model, path: Path) -> None:
    """Let external weights be read where they are used.

    ONNX Runtime gets graphs as bytes, which have no folder that a file name could lead to.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = _lazy(value.const_value, path)
        for attributes in (node.attributes for node in graph if node.op_type == "Constant"):
            tensor = attributes["value"].as_tensor() if "value" in attributes else None
            if isinstance(tensor, ir.ExternalTensor):
                attributes["value"] = ir.AttrTensor("value", _lazy(tensor, path))


def _lazy(tensor: ir.ExternalTensor, path: Path) -> ir.LazyTensor:
    _check_extent(tensor, path)
    read = partial(_same, tensor)
    return ir.LazyTensor(read, dtype=tensor.dtype, shape=tensor.shape, name=tensor.name)


def _check_extent(tensor: ir.ExternalTensor, path: Path) -> None:
    """Make sure that a file of weights is as long as the model says."""
    first, there = tensor.offset or 0, Path(tensor.path).stat().st_size
    length = tensor.nbytes if tensor.length is None else tensor.length
    if first < 0 or length < tensor.nbytes or first + length > there:
        raise ModelError(
            f"{path} wants {tensor.nbytes} bytes of {tensor.path} for {tensor.name!r}, of which it "
            f"names {length} from {first} while there are {there}; give the file saved with it"
        )


def _same(tensor: ir.ExternalTensor) -> ir.ExternalTensor:
    return tensor


def _fix_sizes(graph: ir.Graph, asked: str) -> None:
    inputs = [value for value in graph.inputs if not value.is_initializer()]
    if not _SHAPE.fullmatch(asked.lower()):
        raise ModelError(
            f"--input-shape {asked!r} is not of the form 1x3x32x32: whole numbers from 1, "
            "all axes of the input, the batch in front"
        )
    sizes = [int(part) for part in asked.lower().split("x")]
    for value in inputs:
        shape = ir.Shape(["N", *[None] * (len(sizes) - 1)]) if value.shape is None else value.shape
        if len(inputs) > 1 and all(isinstance(size, int) for size in shape[1:]):
            continue
        fits = len(shape) == len(sizes) and all(
            old == new or not isinstance(old, int)
            for old, new in zip(shape[1:], sizes[1:], strict=True)
        )
        if not fits:
            raise ModelError(
                f"--input-shape {asked} does not fit input {value.name!r}, which is "
                f"{'x'.join(str(size) for size in shape)}; give all axes, the batch in front"
            )
        value.shape = ir.Shape([shape[0], *sizes[1:]])


def _one_line(error: BaseException) -> str:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:  # onnx_ir wraps what went wrong in where it did
        return _one_line(before)
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
