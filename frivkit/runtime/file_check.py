"""Whether a quantised file, run as it is, computes the real numbers that it stands for.

Products of 8-bit numbers saturate on x86 processors without VNNI, unless ONNX Runtime is told to
take its exact kernels (``session.x64quantprecision``, which :class:`Session` sets for graphs and
not for files).  Whoever runs such a file as it is gets other outputs there than those analysed.
"""

import numpy as np

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.runtime.file_session import FileSession
from frivkit.runtime.session import QUANTIZED, Device, Session

EXAMPLES = 16
"""Examples on which the file is tried."""
APART = 0.05
"""Difference, as a share of the largest output, beyond which a file is said to compute otherwise:
other orders of rounding moved the outputs of quantised networks by at most 0.02."""


def is_quantized_file(model: Model) -> bool:
    """Whether a model is an ONNX file with 8-bit activations.

    ONNX Runtime may compute such a file otherwise than the graph that was read from it.
    """
    quantized = any(node.op_type in QUANTIZED for node in model.graph)
    return quantized and model.format == "onnx" and model.path.is_file()


def compare_with_file(
    model: Model,
    data: Dataset,
    device: Device,
    output: str | None = None,
    *,
    exact: bool = True,
) -> str | None:
    """Return a warning if a quantised file gives other outputs here than the model read from it.

    Both are run on the first :data:`EXAMPLES` examples; other files are not run.

    Args:
        model: A model as it was read.
        data: Examples that fit it.
        device: Where to run.
        output: The output that is compared; None takes the first.
        exact: Whether the caller goes on with the graph that was read, and not with the file.

    Returns:
        What differs, by how much and what to do, in one line; None if nothing does, or if the file
        cannot be run as it is.
    """
    if not is_quantized_file(model):
        return None
    inputs = data.read(0, min(model.batch or EXAMPLES, data.examples)).inputs
    if not all(spec.name in inputs for spec in model.inputs):
        return None
    feeds = {spec.name: inputs[spec.name] for spec in model.inputs}
    if model.batch is not None:  # repeat examples if there are fewer than the file insists on
        feeds = {
            name: np.take(array, np.arange(model.batch) % len(array), axis=0)
            for name, array in feeds.items()
        }
    wanted = [model.output(output)]
    try:
        (own,) = FileSession(Session(model.path, device), model).run(feeds, wanted)
        (real,) = Session(model.ir, device).run(feeds, wanted)
    except ModelError:
        return None
    real = real.astype(np.float64)
    largest = np.abs(real).max(initial=0.0)
    apart = np.abs(own.astype(np.float64) - real).max(initial=0.0)
    if not apart > APART * largest > 0:
        return None
    used = "which are analysed here" if exact else "and what the file computes is compared here"
    return (
        f"{model.path.name}: on this processor ONNX Runtime computes the file's 8-bit numbers "
        f"otherwise than they are written: outputs of {len(real)} examples are up to "
        f"{apart / largest:.0%} of the largest away from the exact ones, {used}; "
        "give ONNX Runtime the session option session.x64quantprecision=1 or a processor with "
        "VNNI, or quantise with reduce_range"
    )
