"""A model in any of the forms that people have, opened."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from frivkit.api.variables import variable_of
from frivkit.data import Array, Data
from frivkit.data.first_inputs import first_inputs
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.load import detach, read
from frivkit.measure.pipeline import Request, load_model

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn
    from torch.export import ExportedProgram

    from frivkit.torch_io.load import Example

ModelLike: TypeAlias = Union[
    str, "os.PathLike[str]", Model, "ModelProto", "nn.Module", "ExportedProgram"
]
"""A model file, a model that is open, an ONNX model in memory, or a torch network."""

FLOATS = ("float16", "float32", "float64")

FEW = 2
"""Examples of the data that show what a torch module takes."""


def opened(
    model: ModelLike,
    example: "Example | None" = None,
    *,
    data: Data | None = None,
    input_shape: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Model:
    """Return a model in any of its forms, opened.

    One that is no file is called by the variable that holds it, in angle brackets, or by its class.

    Args:
        model: The path of a file that a provider reads (ONNX, TorchScript, ``.pt2``), a model that
            is open already, an ``onnx.ModelProto``, or a torch module or exported program.
        example: For a torch module: what it takes, examples first.
        data: Data whose first examples stand in for a missing example.
        input_shape: Sizes that the file leaves open, such as ``"1x3x32x32"``.
        inputs: Numbers for inputs that have no axis for examples, by name.
        trust: Whether formats that can run code may be read.

    Raises:
        ModelError: the model is of another kind, cannot be read or cannot be written as ONNX.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, str | os.PathLike):
        spec = data if isinstance(data, str) else None
        return load_model(
            Request(Path(model), spec, input_shape=input_shape, inputs=inputs or {}, trust=trust)
        )
    package = type(model).__module__.partition(".")[0]
    if package == "onnx" and type(model).__name__ == "ModelProto":
        return _from_proto(model, input_shape, inputs or {})
    from frivkit.torch_io.load import load

    name = variable_of(model)
    if example is None and data is not None and hasattr(model, "forward"):
        first = _example_of(model, data)
        try:
            return load(model, first, name=name)
        except ModelError as error:
            parts = first.values() if isinstance(first, dict) else first
            if all(part.dtype.kind == "f" for part in parts):
                raise
            advice = "if it takes floats, give floats as data or as example="
            raise ModelError(f"{error}; {advice}") from error
    return load(model, example, name=name)


def _example_of(module: Any, data: Data) -> Any:
    """Return the first examples of data, with floats in the number type of a module's weights."""
    from frivkit.torch_io.module_network import required_inputs

    found = first_inputs(data, FEW, required_inputs(module))
    kind = next(
        (str(each.dtype)[6:] for each in module.parameters() if each.dtype.is_floating_point), ""
    )

    def cast(part: Array) -> Array:
        return part.astype(kind) if part.dtype.kind == "f" and kind in FLOATS else part

    if isinstance(found, dict):
        return {name: cast(part) for name, part in found.items()}
    return tuple(map(cast, found))


def _from_proto(proto: "ModelProto", input_shape: str | None, inputs: Mapping[str, Any]) -> Model:
    if any(each.data_location == each.EXTERNAL for each in proto.graph.initializer):
        raise ModelError(
            "the weights of the ModelProto are in another file: give the path of the model file, "
            "or read it by onnx.load with its external data"
        )
    try:
        content = proto.SerializeToString()
    except Exception as error:  # protobuf ends at 2 GB
        raise ModelError(
            "the ModelProto is too large to be serialised: save it with external data and give "
            "the path of the file"
        ) from error
    title = f"<{variable_of(proto) or 'ModelProto'}>"
    with tempfile.TemporaryDirectory(prefix="frivkit-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        try:
            model = detach(read(path, input_shape, given=inputs, name=title))
        except ModelError as error:
            raise ModelError(str(error).replace(str(path), title)) from error
    return replace(model, path=Path(title), format="onnx.ModelProto")
