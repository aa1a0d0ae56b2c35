"""Write a torch network as an ONNX file that is known to compute the same."""

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
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
"""The newest at which torch's tracing exporter names nodes by the path of their module."""

TOLERANCE = 1e-5
"""How far ONNX Runtime's outputs may be from torch's, as a share of the largest (at least 1)."""


def outputs(network: "nn.Module", inputs: Array) -> Array:
    """Return what ``network``, put in evaluation mode, makes of a batch.

    Args:
        network: Takes one tensor.
        inputs: Shape (n, *example).

    Returns:
        Shape (n, ...).
    """
    import torch

    network.eval()
    with torch.inference_mode():
        made: Array = network(torch.from_numpy(inputs)).numpy()
    return made


def exported(network: "nn.Module", inputs: Array, metadata: Mapping[str, str]) -> bytes:
    """Return ``network`` in evaluation mode as an ONNX file with input ``x`` and output ``logits``.

    The first axis of both is free.  Batch norm behind a convolution is merged into it.

    Args:
        network: Takes one tensor.
        inputs: Examples, shape (n, *example) with n at least 1, on which ONNX Runtime is compared
            with torch.
        metadata: Texts that the file carries.

    Raises:
        ModelError: the network is too large for one file, cannot be exported, breaks the rules of
            ONNX, or gives other outputs in ONNX Runtime.
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
        (found,) = Session(ir.from_proto(model), Device()).run({"x": inputs}, ["logits"])
    except FrivkitError:
        raise
    except Exception as error:  # torch and onnx share no error class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the network cannot be written as ONNX: {reason}") from error
    error_bound = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    distance = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    if not distance <= error_bound:
        raise ModelError(
            f"the ONNX file gives outputs {distance:.2g} away from the network's, more than "
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
        network: In evaluation mode; a module, or one of TorchScript.
        inputs: What it is run on.
        to: Where the file goes.
        input_names: A name for each input.
        output_names: A name for each output.
        axes: Names of free axes, by their number, by the name of the input or output.

    Raises:
        ModelError: this torch has no such exporter.
        Exception: whatever torch raises where it cannot.
    """
    import torch

    with warnings.catch_warnings():
        # The exporter says that it is deprecated.  Its successor names no node by its module.
        for said in ("You are using the legacy TorchScript-based ONNX", "The feature will be rem"):
            for category in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", said, category)
        try:
            torch.onnx.export(
                network,
                inputs,
                to,  # type: ignore[arg-type]  # a buffer is taken, too, and documented so
                dynamo=False,
                opset_version=OPSET,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_axes={name: dict(of) for name, of in axes.items()},
            )
        except TypeError as error:
            if "unexpected keyword" not in str(error):
                raise
            raise ModelError(
                f"torch {torch.__version__} no longer has the exporter that frivkit needs: "
                "install an earlier torch, or write the network as ONNX yourself"
            ) from error
