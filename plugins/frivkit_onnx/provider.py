"""The model provider for ONNX files."""

import json
from collections.abc import Mapping
from pathlib import Path

from frivkit.graph.model import Model
from frivkit.graph.onnx_io.load import read


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read the ONNX model at ``path``.

    Args:
        path: An ONNX file; external data lies beside it.
        options: ``input_shape`` such as ``"1x3x32x32"`` fixes sizes that the file leaves open, see
            :func:`frivkit.graph.onnx_io.load.read`; ``inputs`` gives numbers for inputs that have
            no axis for examples, as JSON: ``{"sr": 16000}``; ``scalars`` likewise those that the
            data hold, for inputs that take one number and have none.

    Raises:
        ModelError: the file is missing, not ONNX, truncated or invalid, or has no usable input.
    """
    given, scalars = (json.loads(options.get(key, "{}")) for key in ("inputs", "scalars"))
    return read(path, options.get("input_shape"), given=given, scalars=scalars)
