"""Whether a file is valid, and whether a quantised one computes the numbers that it stands for.

Products of 8-bit numbers saturate on x86 processors without VNNI, unless ONNX Runtime is told to
take its exact kernels (``session.x64quantprecision``, which :class:`Session` sets for graphs and
not for files).  Whoever runs such a file as it is gets other outputs there than those analysed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from frivkit.data import Dataset
from frivkit.errors import FrivkitError, ModelError, one_line
from frivkit.graph.model import Model
from frivkit.graph.operators.operator import STANDARD
from frivkit.runtime.file_session import FileSession
from frivkit.runtime.memory import live_bytes
from frivkit.runtime.session import QUANTIZED, Device, Session
from frivkit.runtime.shape_probe import noise_for

EXAMPLES = 16
"""Examples on which the file is tried."""
LARGEST = 1 << 30
"""Bytes of activations above which fewer examples are tried."""
NOISE_EXAMPLES = 2
"""Examples of noise on which a model is run that may be invalid."""
APART = 0.05
"""Difference, as a share of the largest output, beyond which a file is said to compute otherwise:
other orders of rounding moved the outputs of quantised networks by at most 0.02."""


@contextmanager
def naming_faults(model: Model) -> Iterator[None]:
    """Raise ModelError in place of an unexpected error if the model itself is at fault.

    Rules trust what the specification of ONNX guarantees, such as the rank of a weight.  A file
    that breaks it passes ONNX's checker, which looks at no shapes.  ONNX Runtime is asked only when
    an error was raised, so that valid files are not run once more; it is given noise.

    Args:
        model: The model that is worked on.

    Raises:
        ModelError: the work failed, and ONNX Runtime refuses the model.  Other errors pass.
    """
    try:
        yield
    except (FrivkitError, OSError, MemoryError):
        raise
    except Exception as error:
        fault = _fault(model)
        if fault is None:
            raise
        raise ModelError(f"{model.path.name} is not a valid model: {fault}") from error


def _fault(model: Model) -> str | None:
    """Return what ONNX Runtime says of a model that it cannot run, None if it can."""
    foreign = any(node.domain not in STANDARD for node in model.graph)
    if foreign:
        return None
    try:
        session = Session(model.ir, Device(threads=1))
        names = [value.name or "" for value in model.graph.outputs]
        session.run(noise_for(model, model.batch or NOISE_EXAMPLES), names)
    except ModelError as error:
        return str(error)
    except Exception as error:  # what cannot even be written to be opened
        return one_line(error, named=True)
    return None


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
    fitting = max(1, LARGEST // max(1, live_bytes(model.graph)))
    inputs = data.read(0, min(model.batch or min(EXAMPLES, fitting), data.examples)).inputs
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
