"""A module that was made from a model, as a model again: its weights in the graph of that model."""

import copy
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx

from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.onnx_io.limits import LARGEST_INLINE
from frivkit.graph.onnx_io.load import detach, read
from frivkit.runtime.session import Feeds
from frivkit.torch_io.from_onnx.comparison import (
    expected_outputs,
    first_difference,
    outputs_of,
    tolerance_of,
)
from frivkit.torch_io.from_onnx.noise import noise_and_outputs
from frivkit.torch_io.from_onnx.to_torch import Origin
from frivkit.torch_io.network import array_of


def written_back(module: fx.GraphModule, origin: Origin, feeds: Feeds | None = None) -> Model:
    """Return the model that a module was made from, with the weights that the module has now.

    Names, attributes and number types are those of the file; Constant nodes are initializers.

    Args:
        module: The module, on any device and of any number type; it does not change.
        origin: What it was made from.
        feeds: Inputs on which both are compared, by name; None takes noise.

    Raises:
        ModelError: a tensor of the module has another shape than in the file, or ONNX Runtime gives
            other outputs than the module.
    """
    title = origin.model.path.name.strip("<>")
    graph = _with_weights_of(module, origin)
    with tempfile.TemporaryDirectory(prefix="frivkit-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        weights = (value.const_value for value in graph.graph.initializers.values())
        apart = sum(weight.nbytes for weight in weights if weight is not None) > LARGEST_INLINE
        ir.save(graph, path, external_data=f"{path.name}.data" if apart else None)
        model = detach(read(path, name=title))
    names = [value.name or "" for value in model.graph.outputs]
    if feeds is None:
        feeds, expected = noise_and_outputs(model, names)
    else:
        expected = expected_outputs(model, names, feeds)
    actual = outputs_of(_as_in_the_file(module, origin), model.graph, feeds, names)
    reason = first_difference(expected, actual, tolerance_of(model.graph))
    if reason is not None:
        raise ModelError(f"its weights cannot be put back into {title}: {reason}")
    return replace(
        model,
        path=Path(f"<{title}>"),
        format="torch.nn.Module",
        operators=origin.model.operators,
    )


def _with_weights_of(module: fx.GraphModule, origin: Origin) -> ir.Model:
    graph = origin.model.ir.clone()
    for name, key in origin.keys.items():
        value, own = graph.graph.initializers[name], _tensor(module, key)
        tensor = value.const_value
        if tensor is None:
            continue
        if tuple(own.shape) != tuple(tensor.shape.numpy()):
            raise ModelError(
                f"its tensor {key} has the shape {tuple(own.shape)}, which is not that of the file "
                f"({tuple(tensor.shape.numpy())}): put the module into another one, which is traced"
            )
        array, old = array_of(own), tensor.numpy()
        if not np.array_equal(array, old, equal_nan=old.dtype.kind == "f"):
            array = array.astype(old.dtype)
            value.const_value = ir.tensor(array, dtype=tensor.dtype, name=name)
    return graph


def _as_in_the_file(module: fx.GraphModule, origin: Origin) -> fx.GraphModule:
    """Return a copy of a module on the CPU, its tensors of the number types that the file has."""
    twin = copy.deepcopy(module).cpu()
    for name, key in origin.keys.items():
        tensor = origin.model.graph.initializers[name].const_value
        if tensor is not None:
            own = _tensor(twin, key)
            own.data = own.data.to(torch.from_numpy(np.empty(0, tensor.dtype.numpy())).dtype)
    return twin


def _tensor(module: fx.GraphModule, key: str) -> Tensor:
    path, _, leaf = key.rpartition(".")
    found = getattr(module.get_submodule(path), leaf, None)
    if not isinstance(found, Tensor):
        raise ModelError(f"its tensor {key} is missing")
    return found
