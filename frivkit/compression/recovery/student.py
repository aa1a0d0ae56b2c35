"""The compressed network as a torch module, its weights trained and put back into its graph."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from frivkit.compression.recovery.deadline import OutOfTimeError
from frivkit.data import Array
from frivkit.errors import FrivkitError, ModelError
from frivkit.graph.model import Model
from frivkit.runtime.session import Feeds
from frivkit.torch_io.from_onnx.to_torch import KEY, Origin, to_torch
from frivkit.torch_io.network import array_of, reason_of
from frivkit.torch_io.placement import torch_device

HALVES = (torch.float16, torch.bfloat16)
"""Number types that are trained in float32."""

StudentWeights = Mapping[str, Array]
"""New tensors by the names that they have in the graph."""


class Student:
    """A network that is trained to compute some tensors as another one does.

    Args:
        model: The network.
        tensors: The names of the tensors.
        inputs: Inputs on which it is compared with ONNX Runtime.
        device: Where torch computes it.

    Attributes:
        model: The network.
        parameters: What is trained, by the names of tensors of the graph.

    Raises:
        DeviceError: the device is not there.
        FrivkitError: the extra ``to-torch`` is not installed.
        ModelError: the network cannot be used in torch.
    """

    def __init__(
        self, model: Model, tensors: Sequence[str], inputs: Feeds, device: str = "cpu"
    ) -> None:
        self._device = torch_device(device)
        module = to_torch(model, inputs, tensors).to(self._device)
        origin: Origin = module.meta[KEY]
        parameters = dict(module.named_parameters())
        given = frozenset(() if model.interface is None else model.interface.given)
        self.model = model
        self._module, self._inputs = module, [spec.name for spec in origin.model.inputs]
        self._tensors, self._selected = list(tensors), list(tensors)
        self._whole = any(weight.dtype in HALVES for weight in parameters.values())
        if self._whole:
            module.float()
        self.parameters = {
            name: parameters[key]
            for name, key in origin.keys.items()
            if key in parameters and name not in given
        }
        if not self.parameters:
            raise ModelError(
                f"{model.path.name} has no weights that gradients could change: compress it "
                "without a recovery"
            )

    def outputs(self, inputs: Feeds) -> list[Tensor]:
        """Return the tensors for some examples, with gradients where torch has them enabled."""
        arrays = [np.ascontiguousarray(inputs[name]) for name in self._inputs]
        tensors = [torch.from_numpy(array).to(self._device) for array in arrays]
        if self._whole:
            tensors = [each.float() if each.dtype in HALVES else each for each in tensors]
        found = self._module.forward(*tensors)
        several = found if isinstance(found, tuple) else (found,)
        by_name = dict(zip(self._tensors, several, strict=True))
        return [by_name[name] for name in self._selected]

    def select(self, tensors: Sequence[str]) -> None:
        """Return no other tensors than these from now on."""
        self._selected = list(tensors)

    def trainable(self, inputs: Feeds, wanted: Sequence[Array] | None = None) -> list[str]:
        """Return the names of the tensors that have a gradient.

        Args:
            inputs: Examples to try the network on.
            wanted: Arrays whose shapes the tensors must have; None for any shapes.

        Raises:
            ModelError: torch fails, or there is no such tensor.
        """
        good: dict[str, Tensor] = {}
        with torch_faults(self.model), torch.enable_grad():
            found = self.outputs(inputs)
            for i, (name, tensor) in enumerate(zip(self._selected, found, strict=True)):
                fits = wanted is None or tuple(tensor.shape) == wanted[i].shape
                if tensor.requires_grad and fits:
                    good[name] = tensor
            if good:
                total = torch.stack([tensor.sum() for tensor in good.values()]).sum()
                total.backward()  # type: ignore[no-untyped-call]  # torch has no types there
        if not good:
            raise ModelError(
                f"{self.model.path.name} has no gradients in torch: none of its features and "
                "outputs depends on weights that could change; compress it without a recovery"
            )
        return list(good)

    def weights(self) -> StudentWeights:
        """Return copies of the present weights."""
        return {name: array_of(weight).copy() for name, weight in self.parameters.items()}


def with_weights(model: ir.Model, weights: StudentWeights) -> ir.Model:
    """Return a model whose stored tensors have other numbers.

    A tensor that several nodes read stays one, and a Constant node stays one.

    Args:
        model: The model; tensors that stay are shared with it.
        weights: Numbers in the shape of the tensor, by its name, rounded to its type.
    """
    copy = model.clone()
    for graph in copy.graphs():
        for name, value in graph.initializers.items():
            if name in weights and value.const_value is not None:
                value.const_value = _replaced(value.const_value, weights[name])
        for node in graph:
            name = node.outputs[0].name or "" if node.op_type == "Constant" else ""
            if name in weights:
                old = node.outputs[0].const_value or node.attributes["value"].as_tensor()
                new = _replaced(old, weights[name])
                node.outputs[0].const_value = new
                node.attributes.clear()
                node.attributes["value"] = ir.AttrTensor("value", new)
    return copy


def _replaced(old: ir.TensorProtocol, array: Array) -> ir.TensorProtocol:
    return ir.tensor(array.astype(old.dtype.numpy()), dtype=old.dtype, name=old.name)


@contextmanager
def torch_faults(model: Model) -> Iterator[None]:
    """Raise ModelError for whatever torch raises while a block runs."""
    try:
        yield
    except (FrivkitError, OutOfTimeError):
        raise
    except Exception as error:  # torch raises anything
        raise ModelError(
            f"torch cannot take gradients of {model.path.name}: {reason_of(error)}"
        ) from error
