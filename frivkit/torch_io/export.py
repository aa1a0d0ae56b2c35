"""Write a torch network as an ONNX file whose outputs were compared with torch's."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from frivkit.data import Array
from frivkit.errors import FrivkitError, ModelError
from frivkit.graph.onnx_io.limits import LARGEST_FILE
from frivkit.runtime.session import Device, Session

if TYPE_CHECKING:  # torch takes a second to import, and importing this module needs none
    from torch import Tensor, nn

OPSET = 17
"""The newest opset at which torch's tracing exporter names nodes by the path of their module."""

TOLERANCE = 1e-5
"""Largest difference of outputs in torch and ONNX Runtime, relative to the largest (1 at least)."""

TRACING = RLock()
"""Held while torch traces a network, which it can do in one thread at a time."""


def outputs(network: "nn.Module", inputs: Array) -> Array:
    """Return the outputs of a network for a batch, in evaluation mode.

    Args:
        network: A network with one input; it stays in evaluation mode.
        inputs: Shape (n, *example).

    Returns:
        Shape (n, ...).
    """
    import torch

    network.eval()
    with torch.inference_mode():
        result: Array = network(torch.from_numpy(inputs)).numpy()
    return result


def exported(network: "nn.Module", inputs: Array, metadata: Mapping[str, str]) -> bytes:
    """Return ``network`` in evaluation mode as an ONNX file with input ``x`` and output ``logits``.

    The first axis of both has any size.  Batch norm after a convolution is merged into it.

    Args:
        network: A network with one input.
        inputs: Examples, shape (n, *example) with n at least 1, on which ONNX Runtime is compared
            with torch.
        metadata: The metadata of the file, by key.

    Raises:
        ModelError: the network is too large for one file, cannot be exported, is invalid ONNX, or
            has other outputs in ONNX Runtime.
    """
    size = sum(weight.numel() * weight.element_size() for weight in network.state_dict().values())
    if size > LARGEST_FILE:
        raise ModelError(
            f"the network has {size} bytes of weights, but an ONNX file holds at most "
            f"{LARGEST_FILE}; make it narrower"
        )
    expected = outputs(network, inputs)
    try:
        model = onnx.load_from_string(_traced(network, inputs))
        onnx.helper.set_model_props(model, dict(metadata))
        content: bytes = model.SerializeToString()
        onnx.checker.check_model(model, full_check=True)
        (actual,) = Session(ir.from_proto(model), Device()).run({"x": inputs}, ["logits"])
    except FrivkitError:
        raise
    except Exception as error:  # torch and onnx share no error class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the network cannot be written as ONNX: {reason}") from error
    error_bound = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    same_shape = actual.shape == expected.shape
    distance = float(np.abs(actual - expected).max()) if same_shape else np.inf
    if not distance <= error_bound:
        raise ModelError(
            f"the outputs of the ONNX file differ from the network's by {distance:.2g}, more than "
            f"{error_bound:.2g}; it is not written"
        )
    return content


def _traced(network: "nn.Module", inputs: Array) -> bytes:
    import torch

    buffer = BytesIO()
    axes = {"x": {0: "N"}, "logits": {0: "N"}}
    first = (torch.from_numpy(inputs[:1]),)
    trace(network.eval(), first, buffer, input_names=["x"], output_names=["logits"], axes=axes)
    return buffer.getvalue()


def trace(
    network: "nn.Module",
    inputs: "tuple[Tensor, ...]",
    to: BytesIO | Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    """Write a network with torch's tracing exporter, which names nodes by the path of their module.

    Args:
        network: A module or a TorchScript module, in evaluation mode.
        inputs: The inputs of the run that is traced.
        to: The file or buffer to write.
        input_names: A name for each input.
        output_names: A name for each output.
        axes: Names of the axes of any size, by input or output and number of the axis.

    Raises:
        ModelError: this version of torch has no such exporter.
        Exception: whatever torch raises if it cannot export the network.
    """
    import torch

    with TRACING, _no_graph_printed(), warnings.catch_warnings():
        # The exporter is deprecated, but its successor does not name nodes by their modules.
        for message in (
            "You are using the legacy TorchScript-based ONNX",
            "The feature will be rem",
        ):
            for category in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", message, category)
        try:
            torch.onnx.export(
                network,
                inputs,
                to,  # type: ignore[arg-type]  # a buffer is documented to be allowed
                dynamo=False,
                opset_version=OPSET,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_axes={name: dict(names) for name, names in axes.items()},
            )
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            raise ModelError(
                f"torch {torch.__version__} no longer has the exporter that frivkit needs: "
                "install an earlier torch, or write the network as ONNX yourself"
            ) from error


@contextmanager
def _no_graph_printed() -> Iterator[None]:
    """Keep torch from printing the graph of a network that it cannot export to stdout."""
    from torch import _C

    log = getattr(_C, "_jit_onnx_log", None)
    setattr(_C, "_jit_onnx_log", lambda *_: None)  # noqa: B010  # not in the types of torch
    try:
        yield
    finally:
        setattr(_C, "_jit_onnx_log", log)  # noqa: B010
