"""ONNX files that were compressed with gzip, as models."""

import gzip
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import onnx
import onnx_ir as ir

from frivkit.plugin import Model, ModelError, signature


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read an ONNX file that was compressed with gzip."""
    content = path.read_bytes()
    try:
        model = ir.from_proto(onnx.load_model_from_string(gzip.decompress(content)))
    except Exception as error:  # gzip and protobuf share no base class
        raise ModelError(f"{path} cannot be read as compressed ONNX: {error}") from error
    inputs, batch = signature(model.graph, path.name)
    return Model(model, path, "onnx.gz", sha256(content).hexdigest(), inputs, batch)
