"""The protocol of networks that torch runs, their outputs as arrays, and their errors."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnx_ir as ir

from frivkit.data import Array
from frivkit.errors import ModelError, is_out_of_memory

if TYPE_CHECKING:  # torch takes a second to import
    from torch import Tensor

_RAISED = re.compile(r"(?:torch\.)?(?:\w+\.)*(?:\w*Error|Exception): (.+)")


class Network(Protocol):
    """A network in evaluation mode.

    Attributes:
        inputs: The names of its inputs, in order.
    """

    inputs: Sequence[str]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return all outputs, with tuples, lists and dicts flattened.

        Raises:
            Exception: whatever torch raises.
        """
        ...

    def graph(
        self, arrays: Sequence[Array], outputs: Sequence[str], free: Sequence[str], folder: Path
    ) -> ir.Model:
        """Return the network as a graph.

        Args:
            arrays: The inputs of the run that is traced.
            outputs: A name for each output.
            free: The inputs and outputs whose first axis is the batch, of any size.
            folder: An empty folder for large weights, which exists as long as the graph.

        Raises:
            Exception: whatever torch raises.
        """
        ...


def arrays_of(outputs: object) -> list[Array]:
    """Return the tensors among the nested outputs of a network as arrays.

    Raises:
        ModelError: there is anything but tensors, or nothing.
    """
    return [array_of(tensor) for tensor in tensors_of(outputs)]


def array_of(tensor: "Tensor") -> Array:
    """Return a copy of a tensor as an array."""
    array: Array = tensor.detach().cpu().resolve_conj().resolve_neg().numpy().copy()
    return array


def tensors_of(outputs: object) -> "tuple[Tensor, ...]":
    """Return the tensors in tuples, lists and dicts, in order; None is ignored.

    Raises:
        ModelError: there is anything but tensors, or nothing.
    """
    from torch import Tensor
    from torch.utils import _pytree

    leaves: list[Any] = [leaf for leaf in _pytree.tree_leaves(outputs) if leaf is not None]
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise ModelError(
                f"it returns a {type(leaf).__name__} besides tensors; return tensors only"
            )
    if not leaves:
        raise ModelError("it returns no tensor: there is nothing to measure")
    return tuple(leaves)


def check_given(given: Iterable[str], inputs: Sequence[str]) -> None:
    """Raise an error if numbers are given for what is no input.

    Raises:
        ModelError: they are.
    """
    unknown = next((name for name in given if name not in inputs), None)
    if unknown is not None:
        raise ModelError(
            f"--input gives {unknown!r}, which is no input; the inputs are {', '.join(inputs)}"
        )


def shaped(name: str, numbers: Sequence[float] | float, like: Array) -> Array:
    """Return numbers that are given for an input in the shape and type of another array.

    Args:
        name: The input, for messages.
        numbers: The numbers, in row-major order.
        like: An array that the input takes.

    Raises:
        ModelError: it takes another number of them, or none such.

    Example:
        >>> shaped("rate", [16000], np.array(0)), shaped("mask", [1, 0], np.zeros((1, 2)))
        (array(16000), array([[1., 0.]]))
    """
    array = np.asarray(numbers)
    wanted = "x".join(map(str, like.shape)) or "one number"
    if array.size != like.size:
        raise ModelError(f"--input gives {array.size} numbers for {name!r}, which takes {wanted}")
    with np.errstate(all="ignore"):
        typed = array.astype(like.dtype)
    if like.dtype.kind != "f" and not np.array_equal(typed, array):
        raise ModelError(
            f"--input gives {array.ravel()[0]:g} for {name!r}, which takes {like.dtype}"
        )
    return typed.reshape(like.shape)


def output_names(count: int, taken: Iterable[str]) -> list[str]:
    """Return names for outputs that differ from those of the inputs.

    Example:
        >>> output_names(3, ["x"])
        ['output', 'output_1', 'output_2']
        >>> output_names(1, ["output"])
        ['result']
    """
    stem = "output"
    if any(name.startswith(stem) for name in taken):
        stem = "result"
    return [stem, *(f"{stem}_{i}" for i in range(1, count))]


def reason_of(error: BaseException) -> str:
    r"""Return the reason of an error of torch in one line, without the code in its message.

    Example:
        >>> reason_of(RuntimeError("Traceback of TorchScript (most recent call last):\n  f(x)\n"
        ...                        "RuntimeError: shapes cannot be multiplied\n"))
        'shapes cannot be multiplied'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if is_out_of_memory(error):
        return "it takes more memory than allowed; allow more by --memory"
    raised = [match[1] for line in lines if (match := _RAISED.fullmatch(line))]
    reason = (raised[-1:] or lines[:1] or [type(error).__name__])[0]
    return " ".join(reason.split())[:300]
