"""Round weights so that outputs change least, and correct biases for what remains.

The quantizer rounds each weight to the nearest of its numbers.  Here weights are rounded one after
the other, and those not yet rounded make up for the error, by the second moments of the inputs.
Then the bias takes the mean error that is left.

Source:
    E. Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers, ICLR 2023, algorithm 1; columns are taken in the order of the size of their input,
    as in its published code.  M. Nagel et al., Data-Free Quantization Through Weight Equalization
    and Bias Correction, ICCV 2019, section 4.2 and appendix D, for the biases.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from frivkit.data import Dataset
from frivkit.data.source import Array
from frivkit.graph.model import Model, constant_tensor
from frivkit.quantization.affine import number, pads_by_itself, weights_of
from frivkit.quantization.tensor_batches import tensor_batches
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import plan_passes

MOST_COLUMNS = 4608
"""Columns of a matrix beyond which weights stay at the nearest number."""
ROWS = 8192
"""Rows that the moments of a matrix are taken from, unless it has more columns than a quarter."""
DAMPING = 0.01
"""What is added to the diagonal of the moments, as a share of its mean."""
BLOCK = 64
"""Columns after which the remaining ones are updated."""


class InputMoments:
    """Sums over the rows that a weighted node reads.

    Attributes:
        gram: The products of all columns, as the quantized node reads them, shape
            (groups, columns, columns).
        exact: The sum of the rows in the float model, shape (groups, columns).
        rounded: The same of the rows as the quantized node reads them.
        count: The number of rows.
    """

    def __init__(self, groups: int, columns: int) -> None:
        self.gram = np.zeros((groups, columns, columns))
        self.exact = np.zeros((groups, columns))
        self.rounded = np.zeros((groups, columns))
        self.count = 0

    def add(self, exact: Array, rounded: Array) -> None:
        """Add rows, shape (n, groups, columns)."""
        by_group = rounded.transpose(1, 2, 0)
        self.gram += by_group @ by_group.transpose(0, 2, 1)
        self.exact += exact.sum(axis=0, dtype=np.float64)
        self.rounded += rounded.sum(axis=0, dtype=np.float64)
        self.count += len(exact)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A weighted node of the float model as a matrix, and its 8-bit weights.

    Attributes:
        node: The node in the float model.
        quantized: The node of that name in the quantized model.
        weights: Shape (groups, outputs of a group, columns).
        steps: What 1 stands for in each output's weights, shape (outputs,).
        rows_are_outputs: Whether the first axis of the stored weights is that of the outputs.
    """

    node: ir.Node
    quantized: ir.Node
    weights: Array
    steps: Array
    rows_are_outputs: bool

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of groups, and of columns."""
        groups, _, columns = self.weights.shape
        return groups, columns

    @property
    def input(self) -> str:
        """The name of the tensor that the node reads."""
        value = self.node.inputs[0]
        return "" if value is None or value.name is None else value.name

    @property
    def bytes(self) -> int:
        """What the moments of its input take."""
        groups, columns = self.sizes
        return int(8 * groups * columns**2)


def refine(
    quantized: ir.Model, model: Model, data: Dataset, execution: Execution, *, limit: int
) -> int:
    """Round the weights of a quantized model again, and correct its biases.

    Args:
        quantized: The model with QuantizeLinear and DequantizeLinear; it is changed.
        model: The float model that it was made of.
        data: Calibration examples.
        execution: How to run the float model, and the memory for moments.
        limit: The largest magnitude of an 8-bit weight: 127, or 64 for the reduced range.

    Returns:
        The number of nodes whose weights were rounded again.  Nodes without constant 8-bit weights
        of their own, with more than :data:`MOST_COLUMNS` columns, or whose moments do not fit into
        the memory keep the nearest numbers.
    """
    room = execution.memory // 2
    matrices = [
        matrix
        for matrix in _matrices(quantized, model.graph)
        if matrix.sizes[1] <= MOST_COLUMNS and 3 * matrix.bytes <= room
    ]
    passes = plan_passes(
        matrices, room, held=lambda each: each.bytes, needed=lambda each: 3 * each.bytes
    )
    for chosen in passes:
        moments = _moments(model, chosen, data, execution)
        for matrix, each in zip(chosen, moments, strict=True):
            _store(matrix, each, limit)
    return len(matrices)


def _matrices(quantized: ir.Model, graph: ir.Graph) -> list[_Matrix]:
    by_name = {node.name: node for node in quantized.graph}
    found = []
    for node in graph:
        twin = by_name.get(node.name)
        if node.op_type not in ("Conv", "Gemm", "MatMul") or twin is None:
            continue
        stored = _dequantized(twin, 1)
        whole = None if stored is None else constant_tensor(stored.inputs[0])
        steps = None if stored is None else constant_tensor(stored.inputs[1])
        if stored is None or whole is None or steps is None or _dequantized(twin, 0) is None:
            continue
        own = len(stored.outputs[0].uses()) == 1
        own = own and stored.inputs[0] is not None and len(stored.inputs[0].uses()) == 1
        unknown = pads_by_itself(node) or number(node, "transA", 0) or len(whole.shape) < 2
        if not own or unknown or whole.dtype != ir.DataType.INT8:
            continue
        if node.op_type == "MatMul" and len(whole.shape) != 2:
            continue
        rows = node.op_type == "Conv" or bool(number(node, "transB", 0))
        weights, _ = weights_of(node)
        groups = int(number(node, "group", 1)) if node.op_type == "Conv" else 1
        flat = weights.reshape(len(weights), -1) if rows else weights.T
        matrix = flat.reshape(groups, -1, flat.shape[1])
        scales = steps.numpy().astype(np.float64).reshape(-1)
        outputs = matrix.shape[0] * matrix.shape[1]
        if len(scales) in (1, outputs):
            found.append(_Matrix(node, twin, matrix, np.resize(scales, outputs), rows))
    return found


def _dequantized(node: ir.Node, index: int) -> ir.Node | None:
    """Return the DequantizeLinear that computes an operand, None if there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    before = None if value is None else value.producer()
    return before if before is not None and before.op_type == "DequantizeLinear" else None


def _moments(
    model: Model, matrices: list[_Matrix], data: Dataset, execution: Execution
) -> list[InputMoments]:
    """Return the moments of the inputs of several nodes, from one pass over the examples."""
    tensors = list({matrix.input: matrix.node.inputs[0] for matrix in matrices}.values())
    values = [value for value in tensors if value is not None]
    moments = [InputMoments(*matrix.sizes) for matrix in matrices]
    for first, arrays in tensor_batches(model, values, data, execution, "moments of inputs"):
        for place, (matrix, each) in enumerate(zip(matrices, moments, strict=True)):
            wanted = max(ROWS, 4 * matrix.sizes[1])
            chooser = np.random.default_rng([execution.seed, place, first])
            x = arrays[matrix.input]
            rows = _rows(matrix, x, max(1, round(wanted * len(x) / data.examples)), chooser)
            each.add(rows, _as_read(matrix, rows))
    return moments


def _rows(matrix: _Matrix, x: Array, count: int, chooser: np.random.Generator) -> Array:
    """Return rows at random places of a batch, all of them if there are few; (n, groups, columns).

    Args:
        matrix: The node that reads them.
        x: Its input.
        count: How many rows.
        chooser: Draws the places.
    """
    groups, columns = matrix.sizes
    weights = constant_tensor(matrix.node.inputs[1])
    if matrix.node.op_type != "Conv" or weights is None:
        rows = x.reshape(-1, groups, columns)
        return rows if len(rows) <= count else rows[chooser.integers(len(rows), size=count)]
    axes = x.ndim - 2
    strides, dilations = (_numbers(matrix.node, name, axes) for name in ("strides", "dilations"))
    pads = _numbers(matrix.node, "pads", 2 * axes, 0)
    around = [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)]
    kernel = weights.shape.numpy()[2:]
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, around), spans, axis=tuple(range(2, x.ndim))
    )
    steps = [slice(None, None, step) for step in (*strides, *dilations)]
    windows = np.moveaxis(windows[(slice(None), slice(None), *steps)], 1, axes + 1)
    places = windows.shape[: axes + 1]
    total = prod(places)
    chosen = np.arange(total) if total <= count else chooser.integers(total, size=count)
    return windows[np.unravel_index(chosen, places)].reshape(len(chosen), groups, columns)


def _numbers(node: ir.Node, name: str, length: int, default: int = 1) -> list[int]:
    value = node.attributes.get(name)
    return [default] * length if value is None else list(value.as_ints())


def _as_read(matrix: _Matrix, rows: Array) -> Array:
    """Return rows rounded as the quantized node reads them."""
    operand = _dequantized(matrix.quantized, 0)
    step, zero = (None, None) if operand is None else map(constant_tensor, operand.inputs[1:3])
    if step is None or zero is None or step.size != 1:
        return rows
    width, middle, ends = float(step.numpy()), int(zero.numpy()), np.iinfo(zero.dtype.numpy())
    whole = np.clip(np.rint(rows / width) + middle, ends.min, ends.max) - middle
    return np.asarray(whole * width, rows.dtype)


def _store(matrix: _Matrix, moments: InputMoments, limit: int) -> None:
    """Put new weights, and a bias for what they change on average, into the quantized model."""
    groups, outputs, columns = matrix.weights.shape
    steps = matrix.steps.reshape(groups, outputs)
    whole = np.stack(
        [round_weights(matrix.weights[g], steps[g], moments.gram[g], limit) for g in range(groups)]
    )
    stored = _dequantized(matrix.quantized, 1)
    value = None if stored is None else stored.inputs[0]
    if value is None or value.const_value is None:
        return
    shape = value.const_value.shape.numpy()
    flat = whole.reshape(groups * outputs, columns)
    array = flat.reshape(shape) if matrix.rows_are_outputs else flat.T
    value.const_value = ir.tensor(np.ascontiguousarray(array, np.int8), name=value.name)

    bias = _dequantized(matrix.quantized, 2)
    numbers = None if bias is None else constant_tensor(bias.inputs[0])
    width = None if bias is None else constant_tensor(bias.inputs[1])
    if bias is None or numbers is None or width is None or bias.inputs[0] is None:
        return
    if len(bias.inputs[0].uses()) > 1 or numbers.numpy().size != groups * outputs:
        return
    real = whole * steps[..., None]
    error = np.einsum("gon,gn->go", real, moments.rounded / moments.count)
    error -= np.einsum("gon,gn->go", matrix.weights, moments.exact / moments.count)
    alpha = number(matrix.node, "alpha", 1.0) if matrix.node.op_type == "Gemm" else 1.0
    change = np.rint(alpha * error.reshape(-1) / width.numpy().astype(np.float64).reshape(-1))
    ends = np.iinfo(np.int32)
    new = np.clip(numbers.numpy().reshape(-1) - change, ends.min, ends.max).astype(np.int32)
    bias.inputs[0].const_value = ir.tensor(
        new.reshape(numbers.shape.numpy()), name=bias.inputs[0].name
    )


def round_weights(weights: Array, steps: Array, gram: Array, limit: int) -> Array:
    """Return whole numbers for weights, so that outputs change least in the squared sum.

    No output is worse off than with the nearest numbers, on the inputs of the moments.

    Args:
        weights: The real weights, shape (outputs, columns).
        steps: What 1 stands for, for each output, shape (outputs,), positive.
        gram: The second moments of the inputs, shape (columns, columns).
        limit: The largest magnitude of a whole number.

    Returns:
        Whole numbers in float64, shape (outputs, columns).

    Example:
        >>> both = np.ones((2, 2))  # two inputs that are always equal: their sum counts
        >>> round_weights(np.array([[0.4, 0.4]]), np.ones(1), both, 127).tolist()
        [[0.0, 1.0]]
    """
    nearest = np.clip(np.rint(weights / steps[:, None]), -limit, limit)
    order = np.argsort(-np.diag(gram), kind="stable")
    factor = _inverse_factor(gram[np.ix_(order, order)])
    if factor is None:
        return nearest
    left, whole = weights[:, order].copy(), np.empty_like(weights)
    columns = len(order)
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        errors = np.empty((len(weights), stop - start))
        for i in range(start, stop):
            whole[:, i] = np.clip(np.rint(left[:, i] / steps), -limit, limit)
            errors[:, i - start] = (left[:, i] - whole[:, i] * steps) / factor[i, i]
            left[:, i + 1 : stop] -= np.outer(errors[:, i - start], factor[i, i + 1 : stop])
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    found = np.empty_like(whole)
    found[:, order] = whole

    def error(numbers: Array) -> Array:
        change = numbers * steps[:, None] - weights
        return np.asarray(np.einsum("on,on->o", change @ gram, change))

    return np.where((error(found) < error(nearest))[:, None], found, nearest)


def _inverse_factor(gram: Array) -> Array | None:
    """Return an upper triangle U, Uᵀ U the inverse of the damped moments; None if there is none."""
    diagonal = np.diag(gram)
    if not diagonal.any():
        return None
    damped = gram + np.diag(np.where(diagonal > 0, 0.0, diagonal.mean()))
    damped[np.diag_indices(len(gram))] += DAMPING * diagonal.mean()
    try:
        return np.linalg.cholesky(np.linalg.inv(damped)).T
    except np.linalg.LinAlgError:
        return None
