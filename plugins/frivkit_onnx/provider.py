"""Read an ONNX file as it is."""

from collections.abc import Mapping
from pathlib import Path

from frivkit.graph.model import Model
from frivkit.graph.onnx_io.load import read


def load(path: Path, options: Mapping[str, str]) -> Model:
    """Read the ONNX model at ``path``.

    Args:
        path: An ONNX file; external data lies beside it.
        options: ``input_shape`` such as ``"1x3x32x32"`` fixes sizes the file leaves open, see
            :func:`frivkit.graph.onnx_io.load.read`.

    Raises:
        ModelError: missing, not ONNX, truncated, invalid, or without a usable input.
    """
    return read(path, options.get("input_shape"))
