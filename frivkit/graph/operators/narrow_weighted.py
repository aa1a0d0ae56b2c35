"""What changes in weighted operators: rows for units they write, columns for those they read."""

import numpy as np

from frivkit.graph.layout import STAYS, Numbers, attribute, rank_of, shape_of
from frivkit.graph.operators.edits import Cut, Edit, Fewer, Given, Holds, Rule, broadcast, met


def _gemm(given: Given) -> list[Edit]:
    node = given.node
    if not given.constant(1) or attribute(node, "transA", 0):
        return given.held("a Gemm whose weights are computed or whose input is transposed")
    columns, rows = (1, 0) if attribute(node, "transB", 0) else (0, 1)
    edits: list[Edit] = []
    read, written = given.lying(0, 1), given.output.get(1)
    if read is not None:
        edits.append(Cut(1, columns, read))
    if written is not None:
        edits.append(Cut(1, rows, written))
        edits += broadcast(given, [2])
    return edits


def _matmul(given: Given) -> list[Edit]:
    ranks = [rank_of(value) for value in given.node.inputs]
    if None in ranks:
        return given.held("a MatMul of unknown rank")
    edits: list[Edit] = []
    for index in (0, 1):
        rank, other = ranks[index] or 0, ranks[1 - index] or 0
        summed, summed_there = (-1, max(other - 2, 0)) if index == 0 else (-2, other - 1)
        for axis, marks in given.inputs[index].items():
            back = axis - rank
            if back == summed and not given.constant(1 - index):
                edits += _inner(given, 1 - index, summed_there, marks)
            elif back == summed:
                edits.append(Cut(1 - index, summed_there, marks))
            elif back < -2:
                edits += _stacked(given, 1 - index, back, marks)
    written = given.output.get((rank_of(given.node.outputs[0]) or 0) - 1)
    if written is not None and given.constant(1):
        edits.append(Cut(1, (ranks[1] or 0) - 1, written))
    return edits


def _inner(given: Given, index: int, axis: int, marks: Numbers) -> list[Edit]:
    """Hold units of a product of two computed tensors that meet others, or none, in it."""
    value = given.operand(index)
    if value is None:
        return [Holds("summed over in a MatMul of two computed tensors", marks)]
    return met(marks, given.inputs[index].get(axis, np.full(len(marks), STAYS)), value)


def _stacked(given: Given, index: int, back: int, marks: Numbers) -> list[Edit]:
    """Cut a stack of matrices, one for each of the units, where the operand is one."""
    value = given.operand(index)
    sizes = shape_of(value)
    if value is None or sizes is None:
        return [Holds("a MatMul of unknown shapes", marks)]
    axis = len(sizes) + back
    if axis < 0 or sizes[axis] == 1:
        return []
    if given.constant(index):
        return [Cut(index, axis, marks)]
    return met(marks, given.inputs[index].get(axis, np.full(len(marks), STAYS)), value)


def _convolution(given: Given) -> list[Edit]:
    node = given.node
    if not given.constant(1):
        return given.held("a convolution whose weights are computed")
    edits: list[Edit] = [
        Holds("units on an axis that a convolution slides over", marks)
        for axis, marks in given.inputs[0].items()
        if axis != 1
    ]
    transposed = node.op_type == "ConvTranspose"
    groups = attribute(node, "group", 1)
    read, written = given.lying(0, 1), given.output.get(1)
    if written is not None and given.operand(2) is not None:
        edits.append(Cut(2, 0, written))
    if groups > 1:
        return edits + _grouped(given, groups, transposed=transposed)
    if read is not None:
        edits.append(Cut(1, 0 if transposed else 1, read))
    if written is not None:
        edits.append(Cut(1, 1 if transposed else 0, written))
    return edits


def _grouped(given: Given, groups: int, *, transposed: bool) -> list[Edit]:
    """Let whole groups leave: their channels on both sides and their kernels."""
    sides = []
    read, written = given.lying(0, 1), given.output.get(1)
    for value, marks in ((given.operand(0), read), (given.node.outputs[0], written)):
        sizes = shape_of(value)
        size = None if sizes is None or len(sizes) < 2 else sizes[1]
        if marks is None and size is None:
            return given.held("a grouped convolution of unknown width")
        sides.append(np.full(size or 0, STAYS) if marks is None else marks)
    rows = np.concatenate([side.reshape(groups, -1) for side in sides], axis=1)
    whole = rows.min(axis=1) == rows.max(axis=1)  # marks of one group, or of none
    reason = "a grouped convolution leaves in whole groups, and some of this one's channels stay"
    edits: list[Edit] = [] if whole.all() else [Holds(reason, rows[~whole].ravel())]
    edits.append(Cut(1, 0, sides[0] if transposed else sides[1]))
    return [*edits, Fewer(np.where(whole, rows[:, 0], STAYS))]


def _recurrent(given: Given) -> list[Edit]:
    """Cut the columns that read the units of each step (X of an LSTM, a GRU or an RNN)."""
    edits: list[Edit] = []
    for index, there in enumerate(given.inputs):
        for axis, marks in there.items():
            if index == 0 and axis == 2 and given.constant(1):
                edits.append(Cut(1, 2, marks))
            else:
                edits.append(Holds("units are its steps, its weights or its states", marks))
    return edits


RULES: dict[str, Rule] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
