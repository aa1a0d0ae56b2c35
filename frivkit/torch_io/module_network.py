"""Modules and TorchScript modules: run, and written as ONNX by tracing."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from frivkit.data import Array
from frivkit.errors import ModelError
from frivkit.torch_io.export import trace
from frivkit.torch_io.network import arrays_of, check_given, tensors_of

if TYPE_CHECKING:
    from torch.jit import ScriptModule

TRAINING = {
    "aten::dropout": 2,
    "aten::feature_dropout": 2,
    "aten::alpha_dropout": 2,
    "aten::batch_norm": 5,
}
"""Index of the argument that is true in training mode, by operator; tracing makes it a constant."""


class ModuleNetwork:
    """A module or a TorchScript module.

    Args:
        module: The module; it is put into evaluation mode.
        inputs: The number of inputs.

    Raises:
        ModelError: it takes fewer inputs, or was traced in training mode.
    """

    def __init__(self, module: nn.Module, inputs: int) -> None:
        self._module = module.eval()
        self._scripted = isinstance(module, torch.jit.ScriptModule)
        if isinstance(module, torch.jit.ScriptModule):
            _check_evaluation_mode(module)
        names = input_names(module)
        if names is None:
            names = ["x", *(f"x_{i}" for i in range(1, inputs))]
        if len(names) < inputs:
            raise ModelError(
                f"it takes {len(names)} inputs ({', '.join(names)}), and {inputs} are given; "
                "give a shape for each"
            )
        self.inputs: Sequence[str] = names[:inputs]
        self._numbers = _python_numbers(module, self.inputs)

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return all outputs."""
        with torch.inference_mode():
            tensors = map(torch.from_numpy, arrays)
            return arrays_of(self._module(*_with_numbers(tensors, self._numbers)))

    def graph(
        self, arrays: Sequence[Array], outputs: Sequence[str], free: Sequence[str], folder: Path
    ) -> ir.Model:
        """Return the graph, written by tracing."""
        tensors = tuple(map(torch.from_numpy, arrays))
        path = folder / "traced.onnx"
        network, prefix = self._flat(tensors)
        axes = {name: {0: "N"} for name in free}
        trace(network, tensors, path, input_names=self.inputs, output_names=outputs, axes=axes)
        model = ir.load(path)
        _list_inputs(model.graph, self.inputs, arrays)
        for node in model.graph:
            node.name = (node.name or "").replace(prefix, "/", 1)
        return model

    def _flat(self, tensors: tuple[Tensor, ...]) -> tuple[nn.Module, str]:
        """Return the network with a flat tuple of outputs, and the prefix of its node names."""
        if not self._scripted:
            return self._module, "/"  # tracing flattens the outputs
        with torch.no_grad():
            outputs = self._module(*_with_numbers(tensors, self._numbers))
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        if not any(self._numbers) and all(isinstance(part, Tensor) for part in parts):
            return self._module, "/"
        flat: nn.Module = torch.jit.trace(  # type: ignore[no-untyped-call]  # has no types
            _Flat(self._module, self._numbers), tensors, check_trace=False
        )
        return flat.eval(), "/network/"


def _list_inputs(graph: ir.Graph, names: Sequence[str], arrays: Sequence[Array]) -> None:
    """Make inputs of a graph of all that a network takes; tracing drops what nothing reads."""
    there = {value.name: value for value in graph.inputs}
    graph.inputs[:] = [
        there.get(name)
        or ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        for name, array in zip(names, arrays, strict=True)
    ]


class _Flat(nn.Module):
    """A network that takes tensors only and returns tensors only."""

    def __init__(self, network: nn.Module, numbers: Sequence[bool]) -> None:
        super().__init__()
        self.network, self._numbers = network, tuple(numbers)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tensors_of(self.network(*_with_numbers(tensors, self._numbers)))


def _with_numbers(
    tensors: Iterable[Tensor], numbers: Sequence[bool]
) -> "list[Tensor | float | int | bool]":
    """Return the arguments of a network: tensors, and Python numbers where it takes these."""
    return [
        tensor.item() if number else tensor for tensor, number in zip(tensors, numbers, strict=True)
    ]


def _python_numbers(module: nn.Module, inputs: Sequence[str]) -> list[bool]:
    """Return of each input whether it is a Python number; tracing makes it a constant."""
    if not isinstance(module, torch.jit.ScriptModule):
        return [False] * len(inputs)
    forward: Any = module.forward  # a compiled method, without types
    kinds = {each.name: str(each.type) for each in forward.schema.arguments[1:]}
    return [kinds[name] in ("int", "float", "bool") for name in inputs]


def given_arrays(module: nn.Module, given: Mapping[str, Sequence[float]]) -> dict[str, Array]:
    """Return numbers that are given for inputs of a module as arrays.

    Whole numbers become int64 and others float32, one number a scalar, several a vector.

    Raises:
        ModelError: there is no such input.
    """
    check_given(given, input_names(module) or list(given))
    arrays = {}
    for name, numbers in given.items():
        array = np.asarray(numbers)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        arrays[name] = array.reshape(()) if array.size == 1 else array
    return arrays


def input_names(module: nn.Module) -> list[str] | None:
    """Return the names of the positional arguments of a module; None if it takes any number."""
    if isinstance(module, torch.jit.ScriptModule):
        forward: Any = module.forward  # a compiled method, without types
        return [argument.name for argument in forward.schema.arguments[1:]]
    parameters = inspect.signature(module.forward).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter.name for parameter in parameters if parameter.kind in by_position]


def required_inputs(module: nn.Module) -> int | None:
    """Return the number of inputs of a module; None if some may be left out."""
    names = input_names(module)
    if names is None:
        return None
    if isinstance(module, torch.jit.ScriptModule):
        forward: Any = module.forward
        optional = any(each.has_default_value() for each in forward.schema.arguments[1:])
    else:
        parameters = inspect.signature(module.forward).parameters
        optional = any(parameters[name].default is not inspect.Parameter.empty for name in names)
    return None if optional else len(names)


def _check_evaluation_mode(module: "ScriptModule") -> None:
    """Raise if a module was traced in training mode, which .eval() does not undo."""
    graph: Any = module.inlined_graph
    for kind, position in TRAINING.items():
        for node in graph.findAllNodes(kind):
            flag = list(node.inputs())[position]
            if flag.node().kind() == "prim::Constant" and flag.toIValue():
                raise ModelError(
                    f"it was traced in training mode ({kind.removeprefix('aten::')} stays so): "
                    "call .eval() before torch.jit.trace"
                )
