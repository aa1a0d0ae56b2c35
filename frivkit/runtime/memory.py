"""How many examples fit into a memory bound."""

from math import ceil, prod

import onnx_ir as ir

from frivkit.graph.model import consumed_values
from frivkit.graph.shapes import example_sizes

LARGEST_BATCH = 256
IN_CACHE = 8 << 20
"""Bytes of live activations beyond which a larger batch was slower (measured, CPU caches)."""


def live_bytes(graph: ir.Graph) -> int:
    """Return the most bytes that the activations of one example take at once, weights left out.

    A tensor lives from the node that writes it to the last one that reads it; outputs stay.
    """
    last_read = {id(value): i for i, node in enumerate(graph) for value in consumed_values(node)}
    last_read |= {id(value): len(graph) for value in graph.outputs}
    living: dict[int, int] = {
        id(v): tensor_bytes(v) for v in graph.inputs if not v.is_initializer()
    }
    most = sum(living.values())
    for i, node in enumerate(graph):
        living |= {id(value): tensor_bytes(value) for value in node.outputs}
        most = max(most, sum(living.values()))
        living = {key: size for key, size in living.items() if last_read.get(key, -1) > i}
    return most


def batch_size(graph: ir.Graph, memory: int, fixed: int | None) -> int:
    """Return the number of examples to run at once.

    Args:
        graph: The graph that will run.
        memory: Bytes that activations may take.
        fixed: The batch size the model insists on, which wins.
    """
    if fixed is not None:
        return fixed
    # A batch reads the weights once: they weigh as much as the activations when both are as large.
    weights = sum(
        value.const_value.nbytes
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    bound = min(memory, max(IN_CACHE, weights))
    return max(1, min(LARGEST_BATCH, bound // max(1, live_bytes(graph))))


def tensor_bytes(value: ir.Value) -> int:
    """Return the bytes that a tensor takes for one example, 0 when its shape is unknown."""
    sizes = example_sizes(value)
    if sizes is None:
        return 0
    itemsize = 4 if value.dtype in (None, ir.DataType.STRING) else value.dtype.itemsize
    return ceil(itemsize * prod(1 if size is None else size for size in sizes))
