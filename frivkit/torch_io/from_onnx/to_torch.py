"""A model as a torch module: translated by onnx2fx, and compared with ONNX Runtime."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from frivkit.errors import FrivkitError, ModelError
from frivkit.graph.model import Model, signature
from frivkit.runtime.session import Feeds
from frivkit.torch_io.from_onnx.comparison import (
    expected_outputs,
    fault_at,
    first_difference,
    outputs_of,
    tolerance_of,
)
from frivkit.torch_io.from_onnx.graph import part_of, wanted_tensors, with_lifted_constants
from frivkit.torch_io.from_onnx.noise import noise_and_outputs
from frivkit.torch_io.from_onnx.translate import translated
from frivkit.torch_io.network import reason_of

KEY = "frivkit.origin"
"""Key, in the ``meta`` of a module, of its :class:`Origin`."""


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """What a module was made from.

    Attributes:
        model: The model; the tensors of its constants are initializers.
        keys: The key of each tensor of the file that the module has in its state dict.
        code: The code of the module as it was made; other code computes something else.
    """

    model: Model
    keys: Mapping[str, str]
    code: str

    def __deepcopy__(self, memo: dict[int, Any]) -> "Origin":
        """Return itself: copies of a module have one origin."""
        return self


def to_torch(
    model: Model, feeds: Feeds | None = None, tensors: Sequence[str] | None = None
) -> fx.GraphModule:
    """Return a module that computes what a model computes, with gradients.

    Args:
        model: The model.
        feeds: Inputs on which the module is compared with ONNX Runtime, by name; None takes noise.
        tensors: Names of tensors that the module returns, in place of the outputs of the model;
            what they do not need is left out, inputs too.

    Returns:
        The module.  It takes the inputs of the model in their order, and returns a tensor, or a
        tuple of several.  Its ``meta`` holds its :class:`Origin`.

    Raises:
        FrivkitError: onnx2fx is not installed.
        UsageError: the model has no tensor of a name.
        ModelError: a node cannot be translated, or gives other numbers than in ONNX Runtime.
    """
    names = wanted_tensors(model, tensors)
    if feeds is None:
        feeds, expected = noise_and_outputs(model, names)
    else:
        expected = expected_outputs(model, names, feeds)
    try:
        graph = with_lifted_constants(model.ir if tensors is None else part_of(model, names))
        module, keys = translated(graph)
        actual = outputs_of(module, graph.graph, feeds, names)
        reason = first_difference(expected, actual, tolerance_of(model.graph))
    except FrivkitError:
        raise
    except Exception as error:  # onnx2fx and torch raise anything
        reason = reason_of(error)
    if reason is not None:
        raise ModelError(
            f"{model.path.name} cannot be used in torch: {fault_at(model, feeds) or reason}"
        )
    inputs, batch = signature(graph.graph, model.path.name)
    source = replace(model, ir=graph, inputs=inputs, batch=batch)
    module.meta[KEY] = Origin(source, keys, module.code)
    return module


def origin_of(module: fx.GraphModule) -> Origin | None:
    """Return what :func:`to_torch` made a module from.

    Returns:
        The origin; None for other modules, and for one whose code was changed since.
    """
    origin = module.meta.get(KEY)
    return origin if isinstance(origin, Origin) and origin.code == module.code else None
