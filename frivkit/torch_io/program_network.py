"""Programs of ``torch.export``: run, and written as ONNX."""

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.export import ExportedProgram

from frivkit.data import Array
from frivkit.errors import ModelError
from frivkit.torch_io.network import array_of, arrays_of, check_given, shaped

OPSET = 20
"""The newest opset of ONNX that every supported ONNX Runtime runs and torch's exporter writes."""

SCOPES = "pkg.torch.onnx.name_scopes"


class ProgramNetwork:
    """A program that was exported in evaluation mode.

    Args:
        program: The program.

    Raises:
        ModelError: it was exported in training mode, or takes other inputs than tensors.
    """

    def __init__(self, program: ExportedProgram) -> None:
        _check_evaluation_mode(program)
        self._program, self._module = program, program.module()
        names = program.graph_signature.user_inputs
        if not all(isinstance(name, str) for name in names):
            raise ModelError("it takes a constant as an input; export it with tensors only")
        self.inputs: Sequence[str] = [str(name) for name in names]

    def examples(
        self, given: Mapping[str, Sequence[float]] | None = None
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return examples that were saved with the program, and what is given, by input.

        Args:
            given: Numbers for inputs without examples, in row-major order.

        Raises:
            ModelError: there are no examples, or the program does not take what is given.
        """
        numbers, saved = given or {}, self._program.example_inputs
        if saved is None:
            raise ModelError("it holds no example inputs; export it with torch.export.export")
        leaves = torch.utils._pytree.tree_leaves(saved)
        if not all(isinstance(leaf, Tensor) for leaf in leaves):
            raise ModelError("it takes other inputs than tensors")
        arrays = dict(zip(self.inputs, map(array_of, leaves), strict=True))
        check_given(numbers, self.inputs)
        fixed = {name: shaped(name, values, arrays[name]) for name, values in numbers.items()}
        for name, array in arrays.items():
            if array.ndim == 0 and name not in fixed:
                raise ModelError(
                    f"input {name!r} has no axis for examples: give its value by "
                    f"--input {name}=VALUE"
                )
        return {name: array for name, array in arrays.items() if name not in fixed}, fixed

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return all outputs."""
        tensors = [torch.from_numpy(np.require(array, requirements="C")) for array in arrays]
        spec = self._program.call_spec.in_spec
        args, kwargs = torch.utils._pytree.tree_unflatten(tensors, spec)
        with torch.inference_mode():
            return arrays_of(self._module(*args, **kwargs))

    def graph(
        self, arrays: Sequence[Array], outputs: Sequence[str], free: Sequence[str], folder: Path
    ) -> ir.Model:
        """Return the program's graph, its nodes named by the path of their module."""
        del folder
        written: Any = torch.onnx.export(
            self._program,
            (),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        model: ir.Model = written.model
        for value, name in zip(model.graph.inputs, self.inputs, strict=True):
            value.name = name
        for value, name in zip(model.graph.outputs, outputs, strict=True):
            value.name = name
        _name_nodes(model.graph)
        _name_batch(model.graph, None if free else len(arrays[0]))
        return model


def _check_evaluation_mode(program: ExportedProgram) -> None:
    """Raise if an operator of a program is in training mode."""
    for node in program.graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if node.op != "call_function" or schema is None:
            continue
        arguments = dict(zip((each.name for each in schema.arguments), node.args, strict=False))
        arguments |= node.kwargs
        if arguments.get("train") is True or arguments.get("training") is True:
            raise ModelError(
                f"it was exported in training mode ({schema.name.partition('::')[2]} stays so): "
                "call .eval() before torch.export.export"
            )


def _name_nodes(graph: ir.Graph) -> None:
    """Name nodes as the tracing exporter does: ``/layer/0/Conv``."""
    taken: dict[str, int] = {}
    for node in graph:
        scope = _scope(node)
        name = f"/{scope.replace('.', '/')}/{node.op_type}" if scope else f"/{node.op_type}"
        count = taken.get(name, 0)
        taken[name] = count + 1
        node.name = f"{name}_{count}" if count else name


def _scope(node: ir.Node) -> str:
    """Return the path of a node's module, from its weight if it has one.

    A convolution with a folded batch norm is in the scope of the norm, but has its own weight.
    """
    for value in node.inputs:
        if value is not None and value.is_initializer() and (value.name or "").endswith(".weight"):
            return (value.name or "").removesuffix(".weight")
    try:
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def _name_batch(graph: ir.Graph, batch: int | None) -> None:
    """Name the batch axis ``N`` if it has any size, else set its size ``batch``."""
    firsts = {
        value.shape[0].value
        for value in graph.inputs
        if value.shape and isinstance(value.shape[0], ir.SymbolicDim)
    }
    symbols = [name for name in firsts if name]
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(size, symbols, batch) for size in value.shape])


def _renamed(
    size: int | ir.SymbolicDim, symbols: Sequence[str], batch: int | None
) -> int | str | None:
    if isinstance(size, int) or size.value is None:
        return size if isinstance(size, int) else None
    name = size.value
    for symbol in symbols:
        if name == symbol and batch is not None:
            return batch
        name = re.sub(rf"\b{re.escape(symbol)}\b", "N", name)
    return name
