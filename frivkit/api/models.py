"""A model in any of the forms that people have, opened."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast

from frivkit.data import Data, Dataset, open_data
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

FEW = 2
"""Examples of the data that show what a torch module takes."""


def opened(
    model: ModelLike,
    example: "Example | None" = None,
    *,
    data: Data | None = None,
    input_shape: str | None = None,
    trust: bool = False,
) -> Model:
    """Return a model in any of its forms, opened.

    Args:
        model: The path of a file that a provider reads (ONNX, TorchScript, ``.pt2``), a model that
            is open already, an ``onnx.ModelProto``, or a torch module or exported program.
        example: For a torch module: what it takes, examples first.
        data: Data whose first examples stand in for a missing example.
        input_shape: Sizes that the file leaves open, such as ``"1x3x32x32"``.
        trust: Whether formats that can run code may be read.

    Raises:
        ModelError: the model is of another kind, cannot be read or cannot be written as ONNX.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, str | os.PathLike):
        spec = data if isinstance(data, str) else None
        return load_model(Request(Path(model), spec, input_shape=input_shape, trust=trust))
    package = type(model).__module__.partition(".")[0]
    if package == "onnx" and hasattr(model, "SerializeToString"):
        return _from_proto(model, input_shape)
    from frivkit.torch_io.load import load

    if example is None and data is not None and hasattr(model, "forward"):
        example = first_examples(data)
    return load(model, example)


def first_examples(data: Data) -> Any:
    """Return the first examples of data without their labels, as an example for a torch module."""
    if isinstance(data, str | Path):
        data = open_data(data, None)
    if isinstance(data, Dataset):
        inputs = data.read(0, min(FEW, data.examples)).inputs
        return tuple(inputs.values())
    if isinstance(data, Mapping):
        return {name: part[:FEW] for name, part in data.items() if name != "y"}
    if hasattr(data, "shape"):
        return cast("Any", data)[:FEW]
    if isinstance(data, tuple | list):
        parts = list(data)
        if len(parts) > 1 and _are_labels(parts[-1]):
            parts = parts[:-1]
        if len(parts) == 1 and isinstance(parts[0], tuple | list | Mapping):
            return first_examples(parts[0])
        return tuple(part[:FEW] for part in parts)
    batch: Any = next(iter(data))  # a loader of torch
    return first_examples(batch)


def _are_labels(part: Any) -> bool:
    kind = str(getattr(part, "dtype", ""))
    return len(getattr(part, "shape", ())) == 1 and "int" in kind


def _from_proto(proto: "ModelProto", input_shape: str | None) -> Model:
    try:
        content = proto.SerializeToString()
    except Exception as error:  # protobuf ends at 2 GB
        raise ModelError(
            "the ModelProto is too large to be serialised: save it with external data and give "
            "the path of the file"
        ) from error
    title = "<ModelProto>"
    with tempfile.TemporaryDirectory(prefix="frivkit-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        try:
            model = detach(read(path, input_shape, name=title))
        except ModelError as error:
            raise ModelError(str(error).replace(str(path), title)) from error
    return replace(model, path=Path(title), format="onnx.ModelProto")
