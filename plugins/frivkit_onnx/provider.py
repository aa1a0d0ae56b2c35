"""Read an ONNX file: checked, weights mapped from disk, shapes inferred."""

import logging
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, ShapeInferencePass

from frivkit.errors import ModelError
from frivkit.graph.model import Model, digest, signature


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read the ONNX model at ``path``.

    Args:
        path: An ONNX file; external data lies beside it.
        options: ``input_shape`` such as ``"1x3x32x32"`` fixes sizes the file leaves open (the
            first one is the batch and stays open).

    Returns:
        The model.  Weights are mapped, not read: a 3 GB file costs some tens of megabytes.

    Raises:
        ModelError: missing, not ONNX, truncated, invalid, or without a usable input.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ModelError(f"model file {path} {found}; give the path of an .onnx file")
    try:
        onnx.checker.check_model(str(path))
        model = ir.load(path)
    except Exception as error:  # onnx, protobuf and onnx_ir share no base class
        raise ModelError(f"{path} cannot be read as ONNX: {_first_line(error)}") from error
    if len(model.graph.outputs) == 0:
        raise ModelError(f"{path} has no outputs: there is nothing to measure")
    sha256 = digest(path, model)
    if model.functions:
        InlinePass()(model)
    for value in model.graph.inputs:
        _fix_sizes(value, options.get("input_shape"))
    _infer_shapes(model)
    inputs, batch = signature(model.graph, path.name)
    return Model(
        ir=model,
        path=path,
        format="onnx",
        sha256=sha256,
        inputs=inputs,
        batch=batch,
        metadata=dict(model.metadata_props),
    )


def _fix_sizes(value: ir.Value, asked: str | None) -> None:
    if asked is None or value.is_initializer():
        return
    try:
        sizes = [int(part) for part in asked.lower().split("x")]
    except ValueError as error:
        raise ModelError(f"--input-shape {asked!r} is not of the form 1x3x32x32") from error
    if value.shape is None:
        value.shape = ir.Shape(["N", *sizes[1:]])
        return
    if len(sizes) != len(value.shape):
        raise ModelError(
            f"--input-shape {asked} has {len(sizes)} axes, "
            f"input {value.name!r} has {len(value.shape)}: {value.shape}"
        )
    fixed = [
        old if isinstance(old, int) else new for old, new in zip(value.shape, sizes, strict=True)
    ]
    value.shape = ir.Shape([value.shape[0], *fixed[1:]])


def _infer_shapes(model: ir.Model) -> None:
    """Infer what can be inferred; what stays open is read from a probe run later."""
    try:
        ShapeInferencePass()(model)
    except Exception:
        logging.getLogger(__name__).info("shape inference failed", exc_info=True)


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
