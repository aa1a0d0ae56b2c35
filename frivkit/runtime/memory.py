"""How many examples, and the sums of how many layers, fit into a memory bound."""

from collections.abc import Callable, Iterable, Sequence
from math import ceil, prod
from typing import TypeVar

import onnx_ir as ir

from frivkit.engines.machine import available_cores
from frivkit.errors import ModelError
from frivkit.graph.model import consumed_values, remembered
from frivkit.graph.shapes import example_sizes
from frivkit.graph.sites.site_map import Site
from frivkit.runtime.session import Device
from frivkit.units.selector import UnitSelector

LARGEST_BATCH = 256
IN_CACHE = 8 << 20
"""Bytes of live activations beyond which a larger batch was slower (measured, CPU caches)."""
WORKING = 4
"""Matrices as large as a Gram that merging parts and taking eigenvalues need at once."""
T = TypeVar("T")


def live_bytes(graph: ir.Graph) -> int:
    """Return the most bytes that the activations of one example take at once, weights left out.

    A tensor lives from the node that writes it to the last one that reads it; outputs stay.
    """
    return remembered(graph, "live bytes", lambda: _live_bytes(graph))


def _live_bytes(graph: ir.Graph) -> int:
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


def example_bytes(graph: ir.Graph) -> int:
    """Return the bytes that an example takes: its activations, and the inputs of the next one."""
    read = sum(tensor_bytes(value) for value in graph.inputs if not value.is_initializer())
    return live_bytes(graph) + read


def batch_size(graph: ir.Graph, memory: int, fixed: int | None) -> int:
    """Return the number of examples to run at once, the next ones being read meanwhile.

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
    in_cache = max(IN_CACHE, weights) // max(1, live_bytes(graph))
    fitting = min(memory // max(1, example_bytes(graph)), in_cache)
    return max(1, min(LARGEST_BATCH, fitting))


def runs_at_once(
    graph: ir.Graph, batch: int, memory: int, device: Device, *, beside: int = 0
) -> int:
    """Return how many runs of one batch may go side by side, each with one thread.

    As many as there are threads, if the activations of so many fit into memory, and those of the
    next batch beside them.

    Args:
        graph: The graph that will run.
        batch: Examples of a run.
        memory: Bytes that activations may take.
        device: Where it will run; a GPU runs one at a time.
        beside: Bytes that a run takes beside its activations.
    """
    if device.name != "cpu":
        return 1
    fitting = memory // max(1, batch * live_bytes(graph) + beside) - 1
    return max(1, min(device.threads or available_cores(), fitting))


def room_for_stages(graph: ir.Graph, memory: int, fixed: int | None) -> int:
    """Return the bytes that tensors may take that are kept from one site to the next.

    A quarter of the bound, and no more than runs leave of it.

    Args:
        graph: The graph of the model.
        memory: Bytes that activations may take.
        fixed: The batch size the model insists on, None if any is allowed.
    """
    running = 2 * batch_size(graph, memory, fixed) * example_bytes(graph)  # and the next batch
    return max(0, min(memory // 4, memory - running))


def tensor_bytes(value: ir.Value) -> int:
    """Return the bytes that a tensor takes for one example, 0 when its shape is unknown."""
    sizes = example_sizes(value)
    if sizes is None:
        return 0
    unsized = (None, ir.DataType.STRING, ir.DataType.UNDEFINED)
    itemsize = 4 if value.dtype in unsized else value.dtype.itemsize
    return ceil(itemsize * prod(1 if size is None else size for size in sizes))


def plan_passes(
    items: Iterable[T], memory: int, held: Callable[[T], int], needed: Callable[[T], int]
) -> list[list[T]]:
    """Distribute items, in order, among as few passes over the data as memory allows.

    An item joins the pass of the item before it if its working memory fits beside what that pass
    holds already.  An item that fits nowhere has a pass of its own.

    Args:
        items: The layers, or whatever else is summed.
        memory: Bytes that the sums of a pass may take.
        held: Bytes that an item holds until its pass ends.
        needed: Bytes that working on an item takes, the held ones included.

    Example:
        >>> plan_passes("abcd", 10, held=lambda _: 4, needed=lambda _: 5)
        [['a', 'b'], ['c', 'd']]
    """
    passes: list[list[T]] = []
    free = 0
    for item in items:
        if not passes or needed(item) > free:
            passes.append([])
            free = memory
        passes[-1].append(item)
        free -= held(item)
    return passes


def gram_room(memory: int, units: int) -> int:
    """Return how many Grams of ``units`` units fit into memory beside the work on one of them.

    Example:
        >>> gram_room(8 * 100**2 * 10, 100)
        6
    """
    return memory // (8 * units**2) - WORKING


def plan_gram_passes(
    memory: int, sites: Sequence[Site], selector: UnitSelector, groups: int
) -> tuple[list[list[Site]], int]:
    """Distribute sites, in order, among passes whose Grams fit into memory together.

    Args:
        memory: Bytes that the Grams of a pass may take.
        sites: The sites.
        selector: How units are read.
        groups: The number of parts of the data that should be kept apart, at least 1.

    Returns:
        The sites of each pass, and how many parts can be kept apart, from 1 to ``groups``.

    Raises:
        ModelError: the Gram of a site alone does not fit.
    """
    for site in sites:
        units = selector.count(site)
        if gram_room(memory, units) < 1:
            raise ModelError(
                f"layer {site.layer} has {units} units, whose second moments take "
                f"{8 * units**2 * (1 + WORKING):.2e} bytes: give a larger --memory, "
                "other layers with --layer, or --units map"
            )
    parts = min([groups, *(gram_room(memory, selector.count(site)) for site in sites)])

    def gram(site: Site) -> int:
        return 8 * selector.count(site) ** 2

    passes = plan_passes(
        sites,
        memory,
        held=lambda site: gram(site) * parts,
        needed=lambda site: gram(site) * (parts + WORKING),
    )
    return passes, parts
