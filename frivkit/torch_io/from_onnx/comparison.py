"""A module beside ONNX Runtime on the same inputs, and the node at which they part."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx

from frivkit.data import Array
from frivkit.errors import FrivkitError
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.runtime.session import Device, Feeds, Session
from frivkit.torch_io.difference import HALF, allowed_difference, difference
from frivkit.torch_io.from_onnx.graph import part_of, with_lifted_constants
from frivkit.torch_io.from_onnx.translate import translated
from frivkit.torch_io.network import array_of, reason_of

TOLERANCE = 1e-4
"""Largest difference of outputs in torch and ONNX Runtime, relative to the largest (1 at least)."""


def expected_outputs(model: Model, tensors: Sequence[str], feeds: Feeds) -> dict[str, Array]:
    """Return tensors of a model by name, computed by ONNX Runtime.

    Raises:
        ModelError: ONNX Runtime cannot run the model on the inputs.
    """
    part = part_of(model, tensors)
    inputs = [value.name or "" for value in part.graph.inputs if not value.is_initializer()]
    session = Session(part, Device())
    arrays = session.run({name: feeds[name] for name in inputs}, tensors)
    return dict(zip(tensors, arrays, strict=True))


def outputs_of(
    module: fx.GraphModule, graph: ir.Graph, feeds: Feeds, names: Sequence[str]
) -> dict[str, Array]:
    """Return the outputs of a module by name.

    Args:
        module: The module.
        graph: What it was made from.
        feeds: Arrays by the names of inputs.
        names: Names for the outputs, in order; those that are no tensors are left out.

    Raises:
        Exception: whatever torch raises.
    """
    inputs = [
        torch.tensor(feeds[value.name or ""])
        for value in graph.inputs
        if not value.is_initializer()
    ]
    with torch.no_grad():
        found = module.forward(*inputs)  # a call would print the code of a module that fails
    parts = found if isinstance(found, tuple) else (found,)
    pairs = zip(names, parts, strict=True)
    return {name: array_of(part) for name, part in pairs if isinstance(part, Tensor)}


def first_difference(
    expected: Mapping[str, Array], actual: Mapping[str, Array], share: float = TOLERANCE
) -> str | None:
    """Return in words how far the first output that differs is from what is expected, else None."""
    for name, wanted in expected.items():
        if wanted.dtype.kind not in "fiub":
            continue
        if name not in actual:
            return f"{name} is no tensor in torch"
        if actual[name].shape != wanted.shape:
            return f"{name} has the shape {actual[name].shape} in torch, not {wanted.shape}"
        bound = allowed_difference(wanted, share)
        apart = difference(wanted, actual[name])
        if not apart <= bound:
            return (
                f"{name} in torch differs from ONNX Runtime's by {apart:.2g}, more than {bound:.2g}"
            )
    return None


def tolerance_of(graph: ir.Graph) -> float:
    """Return the tolerance of a graph: more than :data:`TOLERANCE` if it computes in float16."""
    values = (value for node in graph for value in node.outputs)
    return HALF if any(value.dtype == ir.DataType.FLOAT16 for value in values) else TOLERANCE


def fault_at(model: Model, feeds: Feeds) -> str | None:
    """Return the first node, in the order of the graph, that torch computes otherwise, and why.

    The graph is cut behind ever other nodes: a part is right if it can be translated and run, and
    all of its tensors are those of ONNX Runtime.

    Args:
        model: The model.
        feeds: Arrays by the names of inputs.

    Returns:
        The node, its operator and the reason in one line; None if every part is right.
    """
    nodes = [node for node in model.graph if node.op_type != "Constant" and any(_named(node))]
    share = tolerance_of(model.graph)
    names = [name for node in nodes for name in _named(node)]
    expected = _computed(model, names, feeds)

    def fault(count: int) -> str | None:
        part = [name for node in nodes[:count] for name in _named(node) if name in expected]
        return _fault(model, part, feeds, expected, share) if part else None

    low, high = 0, len(nodes)
    reason = fault(high)
    if reason is None:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        found = fault(middle)
        if found is None:
            low = middle
        else:
            high, reason = middle, found
    node = nodes[high - 1]
    domain = f"{node.domain}." if node.domain else ""
    return f"node {node_label(node)} ({domain}{node.op_type}): {reason}"


def _fault(
    model: Model,
    names: Sequence[str],
    feeds: Feeds,
    expected: Mapping[str, Array],
    share: float,
) -> str | None:
    try:
        part = with_lifted_constants(part_of(model, names))
        module, _ = translated(part)
        actual = outputs_of(module, part.graph, feeds, names)
    except FrivkitError:
        raise
    except Exception as error:  # onnx2fx and torch raise anything
        return reason_of(error)
    return first_difference({name: expected[name] for name in names}, actual, share)


def _computed(model: Model, names: Sequence[str], feeds: Feeds) -> dict[str, Any]:
    """Return the tensors among some values, computed by ONNX Runtime."""
    found = expected_outputs(model, names, feeds)
    return {name: array for name, array in found.items() if isinstance(array, np.ndarray)}


def _named(node: ir.Node) -> Iterator[str]:
    return (value.name for value in node.outputs if value.name)
