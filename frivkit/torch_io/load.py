"""A torch module, opened as a model."""

import copy
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from frivkit.data import Array
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.load import detach, read
from frivkit.torch_io.convert import convert
from frivkit.torch_io.network import Network, reason_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

Example = Union["Tensor", Array, Sequence[Union["Tensor", Array]], Mapping[str, Any]]
"""A batch of examples for each input: one tensor or array, several in order, or by name."""


def load(
    module: "nn.Module | ExportedProgram",
    example: Example | None = None,
    *,
    name: str | None = None,
) -> Model:
    """Open a torch network as a model, which can be used like the path of a model file.

    It is written as ONNX in evaluation mode, compared with torch on the example at two batch sizes
    and read again; the module, its weights and its mode do not change.  A module that was made from
    a model (``frivkit.to_torch``) is not written anew: its weights are put into that model's graph,
    whose names stay, and it needs no example.

    Args:
        module: A module, a TorchScript module, or a program of ``torch.export``.
        example: Examples of its inputs: a tensor or array, several in a tuple, or a dict by the
            names of the inputs; at least one example, along the first axis.  A program needs none,
            and for a module that was made from a model noise takes its place.
        name: What it is called in results and messages; None takes the name of its class.

    Raises:
        ModelError: the example does not fit, the network cannot be written as ONNX, or its outputs
            in ONNX Runtime differ from torch's.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> model = load(net, torch.zeros(1, 4))
        >>> model.inputs[0].shape, model.parameters, str(model.path)
        ((4,), 67, '<Sequential>')
    """
    from torch import nn
    from torch.export import ExportedProgram

    if isinstance(module, ExportedProgram):
        kind, title = "torch.export", "ExportedProgram"
    elif isinstance(module, nn.Module):
        scripted = getattr(module, "original_name", None)
        kind = "torchscript" if isinstance(scripted, str) else "torch.nn.Module"
        title = scripted if isinstance(scripted, str) else type(module).__name__
    else:
        raise ModelError(
            f"an object of type {type(module).__name__} cannot be opened as a model: give the path "
            "of a file, an onnx.ModelProto, a torch.nn.Module or an ExportedProgram"
        )
    title = name or title
    try:
        made = _made_from_a_model(module, example)
        if made is not None:
            return made
        network, examples = _opened(module, example)
        with tempfile.TemporaryDirectory(prefix="frivkit-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "model.onnx"
            convert(network, examples, len(next(iter(examples.values()))), path)
            model = detach(read(path, name=title))
    except ModelError as error:
        raise ModelError(f"{title}: {error}") from error
    return replace(model, path=Path(f"<{title}>"), format=kind)


def _made_from_a_model(module: object, example: Example | None) -> Model | None:
    """Return a module as a model if :func:`frivkit.to_torch` made it, else None."""
    from torch import fx

    from frivkit.torch_io.from_onnx.to_torch import origin_of
    from frivkit.torch_io.from_onnx.written_back import written_back

    if not isinstance(module, fx.GraphModule) or (origin := origin_of(module)) is None:
        return None
    names = [spec.name for spec in origin.model.inputs]
    return written_back(module, origin, None if example is None else _named(example, names))


def _opened(module: Any, example: Example | None) -> tuple[Network, dict[str, Array]]:
    from torch.export import ExportedProgram

    from frivkit.torch_io.module_network import ModuleNetwork, input_names
    from frivkit.torch_io.program_network import ProgramNetwork

    if isinstance(module, ExportedProgram):
        program = ProgramNetwork(module)
        if example is None:
            return program, program.examples()[0]
        return program, _named(example, program.inputs)
    if example is None:
        raise ModelError("the inputs of a module are unknown: give an example")
    import torch

    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns when it looks for gradients
            twin = copy.deepcopy(module).cpu()
    except Exception as error:  # a module may hold anything
        raise ModelError(f"it cannot be copied: {reason_of(error)}") from error
    if isinstance(example, Mapping):
        names = input_names(twin) or list(example)
        examples = _named(example, names)
    else:
        parts = _parts(example)
        network = ModuleNetwork(twin, len(parts))
        return network, _checked(dict(zip(network.inputs, parts, strict=True)))
    return ModuleNetwork(twin, len(examples)), examples


def _named(example: Example, names: Sequence[str]) -> dict[str, Array]:
    """Return an example by input, in the order of the network's inputs."""
    if not isinstance(example, Mapping):
        parts = _parts(example)
        if len(parts) != len(names):
            raise ModelError(f"the example has {len(parts)} parts, the inputs are {list(names)}")
        return _checked(dict(zip(names, parts, strict=True)))
    if not example or set(example) != set(names[: len(example)]):
        raise ModelError(
            f"the example is for {', '.join(map(repr, example)) or 'nothing'}; the inputs are "
            f"{', '.join(map(repr, names))}, of which the last may be left out"
        )
    return _checked({name: _array(example[name]) for name in names[: len(example)]})


def _parts(example: Any) -> list[Array]:
    parts = [_array(each) for each in (example if isinstance(example, tuple | list) else [example])]
    if not parts:
        raise ModelError("the example is empty; give a tensor or array for each input")
    return parts


def _array(part: Any) -> Array:
    from torch import Tensor

    from frivkit.torch_io.network import array_of

    if isinstance(part, Tensor):
        return array_of(part)
    if isinstance(part, np.ndarray):
        return part
    raise ModelError(f"the example holds a {type(part).__name__}; give tensors or arrays")


def _checked(examples: dict[str, Array]) -> dict[str, Array]:
    counts = {array.shape[:1] for array in examples.values()}
    if len(counts) > 1 or counts & {(), (0,)}:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in examples.items())
        raise ModelError(f"the example has {shapes}; give the same number of examples of each")
    return examples
