"""Fold arithmetic on shapes into constants if its result is the same for any batch.

Exporters write ``x.chunk(2, 1)`` as a Slice whose bounds are computed from the shape of ``x``.  If
that size is fixed, the bounds can be written as constants.
"""

from functools import partial

import numpy as np
import onnx_ir as ir

from frivkit.graph.layout import SHAPE_ONLY
from frivkit.graph.model import GivenTensor, RunTensor, constant_tensor
from frivkit.graph.onnx_io.evaluate import AnyArray, evaluate
from frivkit.graph.onnx_io.limits import INITIALIZERS_ARE_NO_INPUTS
from frivkit.graph.run_sizes import ARITHMETIC
from frivkit.graph.shapes import TRIAL_BATCHES, batch_symbol, sizes_for

BATCHES = (2, 3)
"""Batch sizes for which the arithmetic is evaluated; results that differ are not folded."""
SELECTING = ("Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze")
"""Operators that take entries as they are, so that those they leave out do not matter."""
LARGEST = 64
"""Entries of the largest tensor that is folded."""
FOLDED_OPERANDS = {
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Pad": (1, 3),
    "Gather": (1,),
    "Tile": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}
"""By operator the operands that decide where units lie, and that must be constants for that."""


def fold_shape_arithmetic(model: ir.Model, *, lasting: bool = True) -> None:
    """Replace computed operands that are the same for any batch by constants.

    Args:
        model: The model, with inferred shapes; it is changed, and its outputs are not.
        lasting: Whether the sizes are those of every run.  If not, the constants are marked, and
            computed again in a file that is made from the model.
    """
    graph = model.graph
    symbol = batch_symbol(graph)
    opset = model.opset_imports.get("", 1)
    replaced: list[ir.Value] = []
    whole = graph if lasting else graph.clone()
    evaluators = [_ShapeEvaluator(symbol, batch, opset, lasting=lasting) for batch in BATCHES]
    for node in graph:
        for index in FOLDED_OPERANDS.get(node.op_type, ()) if node.domain == "" else ():
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is None or constant_tensor(value) is not None:
                continue
            first, second = (evaluator.evaluate(value) for evaluator in evaluators)
            if first is None or second is None or not np.array_equal(first, second):
                continue
            name = f"{value.name}/fixed"
            if name not in graph.initializers:
                marked = partial(RunTensor, source=value.name or "", before=first, graph=whole)
                tensor = (ir.Tensor if lasting else marked)(first, name=name)
                graph.register_initializer(ir.Value(name=name, const_value=tensor))
            graph.initializers[name].shape = ir.Shape(first.shape)
            graph.initializers[name].dtype = ir.DataType.from_numpy(first.dtype)
            node.replace_input_with(index, graph.initializers[name])
            replaced.append(value)
    for value in replaced:
        remove_unused(graph, value)
    if replaced:
        model.ir_version = max(INITIALIZERS_ARE_NO_INPUTS, model.ir_version)


def same_for_batches(
    graph: ir.Graph, value: ir.Value, opset: int, *, given: bool = False
) -> AnyArray | None:
    """Return the entries of a small tensor that depends on sizes alone, for any number of examples.

    What is the same for two numbers of examples need not be so for a third: whether there are 64
    of them, say.  So nothing on the way may be computed from a number of examples; its entries may
    only be left out.

    Args:
        graph: The graph, with inferred shapes.
        value: The tensor.
        opset: The version of the standard operators.
        given: Whether it may also depend on numbers that were given for inputs.

    Returns:
        The entries; None if they depend on more than fixed sizes, or on the number of examples.
    """
    symbol = batch_symbol(graph)
    one, other = (
        _ShapeEvaluator(symbol, batch, opset, lasting=not given) for batch in TRIAL_BATCHES
    )

    def same(tensor: ir.Value) -> bool:
        first, second = one.evaluate(tensor), other.evaluate(tensor)
        return first is not None and second is not None and np.array_equal(first, second)

    pending = [value] if same(value) else []
    while pending:
        node = pending.pop().producer()
        if node is None or node.op_type in SHAPE_ONLY:
            continue
        operands = [each for each in node.inputs if each is not None]
        if node.op_type not in SELECTING and not all(map(same, operands)):
            return None
        pending += operands
    return one.evaluate(value) if same(value) else None


def remove_unused(graph: ir.Graph, value: ir.Value) -> None:
    """Remove the nodes that compute a tensor without consumers."""
    node = value.producer()
    if node is None or any(each.uses() or each.is_graph_output() for each in node.outputs):
        return
    inputs = [each for each in node.inputs if each is not None]
    if node.graph is graph:
        graph.remove(node, safe=True)
        for each in inputs:
            remove_unused(graph, each)


class _ShapeEvaluator:
    """Evaluates small tensors that depend on sizes alone, for one batch size."""

    def __init__(self, symbol: str | None, batch: int, opset: int, *, lasting: bool) -> None:
        self._symbol, self._batch, self._opset = symbol, batch, opset
        self._lasting = lasting
        self._results: dict[int, AnyArray | None] = {}

    def evaluate(self, value: ir.Value) -> AnyArray | None:
        """Return the entries of a tensor, None if they depend on more than sizes."""
        if id(value) not in self._results:
            self._results[id(value)] = None  # no graph has cycles, but a damaged one may
            self._results[id(value)] = self._evaluate(value)
        return self._results[id(value)]

    def _evaluate(self, value: ir.Value) -> AnyArray | None:
        tensor = constant_tensor(value)
        if self._lasting and isinstance(tensor, GivenTensor):
            return None
        if tensor is not None:
            return tensor.numpy() if tensor.size <= LARGEST else None
        node = value.producer()
        if node is not None and node.domain == "" and node.op_type in SHAPE_ONLY:
            return self._shape(node)
        if node is None or node.domain != "" or node.op_type not in ARITHMETIC:
            return None
        operands = [None if each is None else self.evaluate(each) for each in node.inputs]
        if any(each is not None and operands[i] is None for i, each in enumerate(node.inputs)):
            return None
        return self._run(node, operands)

    def _shape(self, node: ir.Node) -> AnyArray | None:
        sizes = sizes_for(node.inputs[0], self._symbol, self._batch)
        if sizes is None or None in sizes:
            return None
        numbers = np.array(sizes, np.int64)
        if node.op_type == "Size":
            return np.array(numbers.prod(), np.int64)
        start, end = (node.attributes.get(name) for name in ("start", "end"))
        first = 0 if start is None else start.as_int()
        return numbers[first : None if end is None else end.as_int()]

    def _run(self, node: ir.Node, operands: list[AnyArray | None]) -> AnyArray | None:
        results = evaluate(node, operands, self._opset)
        return results[0] if results and results[0].size <= LARGEST else None
