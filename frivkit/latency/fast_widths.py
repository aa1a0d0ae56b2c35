"""The widths at which the kernels of a target stay fast.

ONNX Runtime runs float32 convolutions and poolings on CPUs in a layout of blocks of channels
(NCHWc), and leaves it where a number of channels does not fit; a node off the layout takes up to
several times as long.

| node | stays in the layout if |
|---|---|
| convolution, one group | it reads fewer channels than a block, or a multiple of 4 |
| depthwise convolution | it has a multiple of 4 channels |
| convolution in groups | each group reads and writes a multiple of the block |
| pooling of maxima or means | it has a multiple of the block |
| concatenation of channels | each part has a multiple of the block |

Channels are padded to the block, so that widths between its multiples save nothing.  Dense layers
have no such steps.

Source: ONNX Runtime 1.31, ``core/optimizer/nchwc_transformer.cc`` and ``core/mlas/lib/snchwc.cpp``;
the tests probe each rule on the machine that they run on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import NO_GROUP, IntArray, attribute, rank_of, shape_of
from frivkit.graph.model import Model, is_constant
from frivkit.graph.operators.constants import BoolArray
from frivkit.graph.sites.groups import PruningGraph
from frivkit.latency.target import TargetMachine

_Rule = Callable[[IntArray], BoolArray]  # from widths to whether each is fast
POOLINGS = ("MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")
QUARTER = 4
"""Channels of which a convolution reads a multiple without leaving the layout."""
READ_DIRECTLY = 0.75
"""Share of a block up to which reading single channels is faster than reading a block."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """The channels of one tensor as a node reads or writes them.

    Attributes:
        group_ids: The pruning group of each channel, ``NO_GROUP`` for others, shape (channels,).
        fast: The rule for the number of channels.
        narrow: Whether the rule allows numbers below a block.
    """

    group_ids: IntArray
    fast: _Rule
    narrow: bool


def fast_counts(
    model: Model, pruning_graph: PruningGraph, target: TargetMachine, *, fine: bool = False
) -> list[IntArray]:
    """Return how many pruning groups of each layer group may stay, so that all nodes stay fast.

    Every node that reads or writes units of the layer group is at a width at which it stays in the
    blocked layout, and none is at a width that takes as long as the next greater one.  Where units
    are split into parts, as for a channel shuffle, a number of groups does not say how many stay of
    each part, and only all may stay.

    Args:
        model: The model, with known shapes.
        pruning_graph: Its pruning groups.
        target: The machine that is to be fast.
        fine: Whether it is enough that convolutions stay in the layout: poolings and concatenations
            may leave it, and part of a block may be written for nothing.

    Returns:
        For each entry of ``pruning_graph.groups.layer_groups``, the numbers, sorted, shape
        (numbers,); locked groups count.  Each is at least 1 and at least the number of locked
        groups, and the last is the number of all groups.
    """
    groups = pruning_graph.groups
    members = [
        np.unique(np.concatenate([groups.of[site] for site in sites]))
        for sites in groups.layer_groups
    ]
    owner = np.full(groups.count + 1, -1)  # the last entry is for NO_GROUP
    for number, ids in enumerate(members):
        owner[ids] = number
    locked = np.zeros(groups.count, np.bool_)
    locked[list(groups.locked)] = True
    candidates = [np.arange(1, len(ids) + 1) for ids in members]
    allowed = [counts >= locked[ids].sum() for counts, ids in zip(candidates, members, strict=True)]
    axes = _axes(model, pruning_graph, target, fine=fine) if target.block > 1 else ()
    for axis in axes:
        owners = owner[axis.group_ids]
        for number in np.unique(owners[owners >= 0]).tolist():
            own = axis.group_ids[owners == number]
            allowed[number] &= _allowed(axis, own, len(members[number]), target)
    for flags in allowed:
        flags[-1] = True
    return [counts[flags] for counts, flags in zip(candidates, allowed, strict=True)]


def _allowed(axis: _Axis, own: IntArray, total: int, target: TargetMachine) -> BoolArray:
    """Return which numbers of a layer group's groups, from 1 to all, are fast on an axis.

    Args:
        axis: The axis.
        own: The groups at those of its positions that belong to the layer group.
        total: The number of groups of the layer group.
        target: The machine.
    """
    counts = np.arange(1, total + 1)
    present, positions = np.unique(own, return_counts=True)
    if len(present) < total or len(set(positions.tolist())) > 1:
        return np.equal(
            counts, total
        )  # which groups stay says how many channels stay, not their number
    channels = counts * int(positions[0])
    others = len(axis.group_ids) - len(own)
    if others and not (axis.narrow and len(axis.group_ids) < target.block):
        return _multiple(len(own) - channels, target.block)  # all together are as they were
    return axis.fast(channels + others)


def _axes(
    model: Model, pruning_graph: PruningGraph, target: TargetMachine, *, fine: bool
) -> Iterator[_Axis]:
    """Yield the axes of channels whose number matters to a node."""
    find = _blocked_axes if target.runtime == "onnxruntime" else _padded_axes
    if fine and target.runtime == "onnxruntime":
        find = _convolved_axes
    for node in model.graph:
        for value, axis, fast, narrow in find(node, target):
            group_ids = pruning_graph.assignment.at(value).get(axis)
            if group_ids is not None and (group_ids != NO_GROUP).any():
                yield _Axis(group_ids, fast, narrow)


_Found = tuple[ir.Value | None, int, _Rule, bool]  # a tensor, its axis, the rule, whether narrow


def _blocked_axes(node: ir.Node, target: TargetMachine) -> Iterator[_Found]:
    """Yield what matters to a node that ONNX Runtime can run in its blocked layout."""
    data = node.inputs[0] if node.inputs else None
    if rank_of(data) != 4 or data is None or data.dtype != ir.DataType.FLOAT:
        return
    block = target.block
    if node.op_type == "Conv" and all(v is None or is_constant(v) for v in node.inputs[1:]):
        kernel = shape_of(node.inputs[1]) or (None, None)
        groups = attribute(node, "group", 1)
        if groups == 1:
            yield data, 1, lambda width: _is_read(width, block), True
            yield node.outputs[0], 1, lambda width: _is_written(width, target), True
        elif kernel[:2] == (groups, 1):
            yield data, 1, lambda width: _is_depthwise(width, block), True
    elif _takes_whole_blocks(node, block):
        for value in node.inputs if node.op_type == "Concat" else node.inputs[:1]:
            yield value, 1, lambda width: _multiple(width, block), False


def _convolved_axes(node: ir.Node, target: TargetMachine) -> Iterator[_Found]:
    """Yield what a convolution must read to be run in the blocked layout."""
    for number, (value, axis, _, narrow) in enumerate(_blocked_axes(node, target)):
        if node.op_type == "Conv" and number == 0:
            depthwise = attribute(node, "group", 1) > 1
            most = 0 if depthwise else target.block

            def is_fast(width: IntArray, most: int = most) -> BoolArray:
                return _multiple(width, QUARTER) | (width < most)

            yield value, axis, is_fast, narrow


def _padded_axes(node: ir.Node, target: TargetMachine) -> Iterator[_Found]:
    """Yield what matters to a node whose channels a runtime pads to blocks, whatever they are."""
    data, output = (values[0] if values else None for values in (node.inputs, node.outputs))
    if node.op_type in ("Conv", "ConvTranspose"):
        axis = 1
    elif node.op_type in ("Gemm", "MatMul") and len(node.inputs) > 1:
        axis = -1
    else:
        return
    for value in (data, output):
        rank = rank_of(value)
        if rank is not None:
            yield value, axis % rank, lambda width: _multiple(width, target.block), False


def _is_read(width: IntArray, block: int) -> BoolArray:
    """Whether a convolution reads that many channels fast: single ones, or whole blocks."""
    return _multiple(width, block) | (width <= READ_DIRECTLY * block)


def _is_written(width: IntArray, target: TargetMachine) -> BoolArray:
    """Whether a convolution writes that many channels fast: whole blocks, or part of one."""
    fast = _multiple(width, target.block) | (width < target.block)
    if target.filters:
        fast &= (width % target.filters != target.block) | (width < target.filters)
    return fast


def _is_depthwise(width: IntArray, block: int) -> BoolArray:
    """Whether a depthwise convolution takes that many channels fast."""
    return _multiple(width, block) | (_multiple(width, 4) & (width < block))


def _multiple(width: IntArray, block: int) -> BoolArray:
    return np.equal(width % block, 0)


def stays_blocked(node: ir.Node, block: int) -> bool:
    """Whether ONNX Runtime runs a convolution of a graph in its blocked layout, by the rules.

    Args:
        node: A convolution with known shapes.
        block: The channels in a block; 1 if there is no blocked layout.
    """
    data = node.inputs[0]
    if block == 1 or node.op_type != "Conv" or rank_of(data) != 4:
        return False
    outputs, inputs = (shape_of(node.inputs[1]) or (None, None))[:2]
    if data is None or data.dtype != ir.DataType.FLOAT or outputs is None or inputs is None:
        return False
    groups = attribute(node, "group", 1)
    if groups == 1:
        return inputs < block or inputs % 4 == 0
    if inputs == 1 and outputs == groups:
        return outputs % 4 == 0
    return inputs % block == 0 and (outputs // groups) % block == 0


def _takes_whole_blocks(node: ir.Node, block: int) -> bool:
    """Whether a pooling or a concatenation is in the blocked layout, which it leaves for parts."""
    if node.op_type in POOLINGS:
        given = node.inputs[:1] if len(node.outputs) == 1 else []
    elif node.op_type == "Concat" and attribute(node, "axis", 0) % 4 == 1:
        given = list(node.inputs)
    else:
        given = []
    widths = [(shape_of(value) or (None, None))[1] for value in given]
    return bool(widths) and all(width is not None and width % block == 0 for width in widths)


def is_fast_between(width: int, target: TargetMachine, *, fine: bool = False) -> bool:
    """Whether a tensor of so many channels between two convolutions is fast to write and to read.

    Args:
        width: The number of channels.
        target: The machine.
        fine: Whether part of a block may be written for nothing.

    Example:
        >>> from frivkit.latency.target import target_named
        >>> [width for width in range(1, 33) if is_fast_between(width, target_named("avx512"))]
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 32]
    """
    if target.runtime != "onnxruntime":
        return bool(width % target.block == 0)
    if fine:
        return width < target.block or width % QUARTER == 0
    widths = np.array([width])
    fast = _is_read(widths, target.block) & _is_written(widths, target)
    return bool(fast[0])
