"""The functions ``frivkit.to_torch`` and ``frivkit.save``: a model as a module, and as a file."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from frivkit.api.arguments import PathLike, file_path, given_numbers, progress_of
from frivkit.api.models import ModelLike, opened
from frivkit.api.values import texts
from frivkit.data import Array, Data
from frivkit.errors import ModelError, UsageError
from frivkit.graph.model import Model
from frivkit.interrupts import interruptible
from frivkit.measure.pipeline import Request, named_data
from frivkit.progress import Progress, stage

if TYPE_CHECKING:
    from pathlib import Path

    from torch.fx import GraphModule

    from frivkit.torch_io.load import Example

COMPARED = 2
"""Examples of the data on which a module is compared with ONNX Runtime."""


@interruptible
def to_torch(
    model: ModelLike,
    example: "Example | None" = None,
    *,
    data: Data | None = None,
    tensors: str | Iterable[str] | None = None,
    input_shape: str | None = None,
    inputs: Mapping[str, Any] | None = None,
    trust: bool = False,
    progress: bool | Progress = False,
) -> "GraphModule":
    """Return a torch module that computes what a model computes, so that it has gradients.

    Weights are parameters, and their names in the state dict are those of the file.  Running
    statistics, shapes and other constants are buffers.  Batch norm and dropout do as they do in the
    file, so ``train()`` and ``eval()`` give the same outputs.

    Args:
        model: A model in any form that :func:`load` takes.
        example: What a torch module takes, as in :func:`load`.
        data: Examples on which the module is compared with ONNX Runtime, as in :func:`analyze`;
            None takes those that the file names, else noise.
        tensors: Names of tensors of the graph that the module returns in place of the outputs;
            nodes and inputs that they do not need are left out.
        input_shape: Sizes that the file leaves open, such as ``"1x3x32x32"``.
        inputs: Numbers for inputs that have no axis for examples, by name; they are constants of
            the module, and defaults of the inputs in a file that :func:`save` makes of it.
        trust: Whether formats that can run code may be read.
        progress: True shows on stderr what is being done; or an object that is told of steps.

    Returns:
        A ``torch.fx.GraphModule``.  It takes the inputs in the file's order, and returns a tensor,
        or a tuple if there are several outputs.

    Raises:
        FrivkitError: the extra ``to-torch`` is not installed.
        UsageError: the model computes no tensor of a name.
        ModelError: the model cannot be read, or torch gives other outputs than ONNX Runtime, by
            more than 1e-4 of the largest number (of 1 at least); the message names the node.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> module = to_torch(net, torch.zeros(1, 4))
        >>> {name: tuple(weight.shape) for name, weight in module.named_parameters()}
        {'0.weight': (8, 4), '0.bias': (8,), '2.weight': (3, 8), '2.bias': (3,)}
        >>> module(torch.zeros(5, 4)).shape
        torch.Size([5, 3])
    """
    from frivkit.torch_io.from_onnx.to_torch import to_torch as translate

    names = None if tensors is None else texts("tensors", tensors)
    with stage(progress_of(progress), "translating into torch"):
        source = opened(
            model,
            example,
            data=data,
            input_shape=input_shape,
            inputs=given_numbers(inputs or {}),
            trust=trust,
        )
        return translate(source, _examples(source, data), names)


@interruptible
def save(model: ModelLike, output: PathLike, example: "Example | None" = None) -> "Path":
    """Write a model as an ONNX file, and return its path.

    A module of :func:`to_torch` is written with the names that its file had, and its present
    weights.  Weights above 1.8 GB go to a file beside it, with the suffix ``.data``.

    Args:
        model: A model in any form that :func:`load` takes.
        output: The file; an existing one is replaced.
        example: What a torch module takes, as in :func:`load`; a module of :func:`to_torch` needs
            none.

    Raises:
        UsageError: the name of the file does not end in ``.onnx``.
        ModelError: the model cannot be read or written, or computes otherwise than its file.
    """
    from frivkit.graph.onnx_io.save import save as write

    path = file_path("output", output)
    if path.suffix != ".onnx":
        raise UsageError(f"an ONNX file cannot be named {path.name}; name it {path.stem}.onnx")
    source = opened(model, example)
    if source.changes:
        raise ModelError(f"{source.path.name} cannot be written: {'; '.join(source.changes)}")
    write(source.ir, path, source)
    return path


def _examples(model: Model, data: Data | None) -> dict[str, Array] | None:
    """Return the first examples of the data that a user or a model names; None if neither does."""
    if data is None and "frivkit.data" not in model.metadata:
        return None
    source, _ = named_data(Request(model, data), model)
    count = model.batch or COMPARED
    inputs = source.read(0, min(count, source.examples)).inputs
    return {name: np.resize(array, (count, *array.shape[1:])) for name, array in inputs.items()}
