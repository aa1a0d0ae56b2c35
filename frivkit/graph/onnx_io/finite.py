"""Numbers of a model that are not finite: which are weights, and which may stay.

Masks of attention hold minus infinity on purpose.  A weight is never infinite on purpose, and no
constant that frivkit makes is.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.operators.operator import operator_name
from frivkit.graph.operators.table import operators_of

NORMS = (
    *("BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization"),
    *("RMSNormalization", "SimplifiedLayerNormalization", "PRelu"),
)
"""Operators beside those of the weighted kind whose constant operands are weights."""
PART = 1 << 20
"""Numbers that are looked at together."""


def check_weights(model: Model) -> None:
    """Raise an error if a weight of a model is not finite, before any work is done.

    Args:
        model: The model.

    Raises:
        ModelError: a weight is infinite or NaN.
    """
    weights = _weights(model.ir, model)
    for name, tensor in _float_constants(model.ir):
        if name in weights and not all_finite(tensor.numpy()):
            raise ModelError(
                f"the weight {name!r} of {model.path.name} is not finite, so nothing is made of "
                "it: give a model whose weights all are"
            )


def check_made(made: ir.Model, original: Model) -> None:
    """Raise an error if a weight that is about to be written, or a new constant, is not finite.

    Args:
        made: The graph that is written.
        original: The model that it was made of, whose other constants may be infinite; the model
            of that very graph if it is written as it is.

    Raises:
        ModelError: a number is infinite or NaN that must not be.
    """
    before = dict(_float_constants(original.ir))
    weights = _weights(made, original)
    for name, tensor in _float_constants(made):
        old = before.get(name)
        if (old is tensor and name not in weights) or all_finite(tensor.numpy()):
            continue
        if name in weights or old is None or all_finite(old.numpy()):
            raise ModelError(
                f"what was made of {original.path.name} has numbers in {name!r} that are not "
                "finite, so it is not written: remove fewer units, give --refit none, or work on a "
                "float32 copy of the model whose weights are finite"
            )


def _float_constants(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    """Yield the constants of fractions in all graphs of a model, by the names of their values."""
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and tensor.dtype.is_floating_point():
                yield name, tensor
        for node in graph:
            attribute = node.attributes.get("value") if node.op_type == "Constant" else None
            tensor = None if attribute is None else attribute.as_tensor()
            if tensor is not None and tensor.dtype.is_floating_point():
                yield node.outputs[0].name or "", tensor


def _weights(model: ir.Model, original: Model) -> set[str]:
    """Return the names of the constants that are weights of nodes, or are cast to some."""
    operators = operators_of(original)
    names: set[str] = set()
    for graph in model.graphs():
        for node in graph:
            operator = operators.get(operator_name(node))
            weighted = operator is not None and operator.weights is not None
            if node.op_type in NORMS or weighted:
                for value in node.inputs[1 : None if node.op_type in NORMS else 3]:
                    names |= _sources(value)  # further ones may be masks
    return names


def _sources(value: ir.Value | None) -> set[str]:
    """Return the name of a constant operand, through a Cast or a DequantizeLinear."""
    node = None if value is None else value.producer()
    if value is None:
        return set()
    if node is None or node.op_type == "Constant":
        return {value.name or ""}
    if node.op_type in ("Cast", "DequantizeLinear", "Transpose", "Identity"):
        return {name for each in node.inputs for name in _sources(each)}
    return set()


def all_finite(array: NDArray[Any]) -> bool:
    """Whether all numbers are finite; they are looked at in parts, so that little memory is used.

    Example:
        >>> all_finite(np.array([1, np.inf], np.float16)), all_finite(np.zeros((2, 0)))
        (False, True)
    """
    flat = array.reshape(-1)  # a view where the numbers lie in order
    kinds = np.float64 if array.dtype.kind != "f" else array.dtype
    parts = (flat[i : i + PART] for i in range(0, flat.size, PART))
    return all(bool(np.isfinite(part.astype(kinds, copy=False)).all()) for part in parts)
