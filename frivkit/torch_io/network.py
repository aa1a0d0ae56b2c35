"""What is asked of something that torch runs; how its outputs and its errors are read."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import onnx_ir as ir

from frivkit.data import Array
from frivkit.errors import ModelError

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
        """Return all outputs, tuples and the like flattened; raises whatever torch does."""
        ...

    def graph(
        self, arrays: Sequence[Array], outputs: Sequence[str], free: Sequence[str], folder: Path
    ) -> ir.Model:
        """Return the network as a graph; raises whatever torch does.

        Args:
            arrays: Inputs to trace it on.
            outputs: A name for each output.
            free: The inputs and outputs whose first axis is the batch, of any size.
            folder: An empty folder for what does not fit into memory, there as long as the graph.
        """
        ...


def arrays_of(made: object) -> list[Array]:
    """Return the tensors that a network gave, however they are nested, as arrays.

    Raises:
        ModelError: there is something else, or nothing.
    """
    return [array_of(tensor) for tensor in tensors_of(made)]


def array_of(tensor: "Tensor") -> Array:
    """Return a tensor's numbers, apart from it."""
    array: Array = tensor.detach().cpu().resolve_conj().resolve_neg().numpy().copy()
    return array


def tensors_of(made: object) -> "tuple[Tensor, ...]":
    """Return the tensors in tuples, lists and dicts, in order; None counts as nothing.

    Raises:
        ModelError: there is something else, or nothing.
    """
    from torch import Tensor
    from torch.utils import _pytree

    leaves: list[Any] = [leaf for leaf in _pytree.tree_leaves(made) if leaf is not None]
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise ModelError(f"it gives a {type(leaf).__name__} beside tensors; give tensors only")
    if not leaves:
        raise ModelError("it gives no tensor: there is nothing to measure")
    return tuple(leaves)


def output_names(count: int, taken: Iterable[str]) -> list[str]:
    """Return names for outputs, none of which an input has.

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
    r"""Return what torch says went wrong in one line, without the code that it shows around it.

    Example:
        >>> reason_of(RuntimeError("Traceback of TorchScript (most recent call last):\n  f(x)\n"
        ...                        "RuntimeError: shapes cannot be multiplied\n"))
        'shapes cannot be multiplied'
    """
    if isinstance(error, MemoryError):
        return "it takes more memory than it may; allow it more with --memory"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any("allocate memory" in line or "bad_alloc" in line for line in lines):
        return "it takes more memory than it may; allow it more with --memory"
    raised = [found[1] for line in lines if (found := _RAISED.fullmatch(line))]
    told = (raised[-1:] or lines[:1] or [type(error).__name__])[0]
    return " ".join(told.split())[:300]
