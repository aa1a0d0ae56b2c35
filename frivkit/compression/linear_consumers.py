"""What reads units, as matrices: outputs are patches of the activations times a matrix."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.layout import NO_GROUP, attribute, shape_of
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.names import node_label
from frivkit.graph.shapes import batch_first
from frivkit.graph.sites.consumers import Consumer, Geometry, find_consumers
from frivkit.graph.sites.groups import PruningGraph
from frivkit.graph.sites.site_map import SiteMap
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True)
class ConsumerInput:
    """Where the rows of a fit come from: equal for consumers that read the same patches.

    Attributes:
        tensor: The tensor that is read.
        axis: The axis along which units lie.
        geometry: The patches that a convolution takes; None where each place is read alone.
        shape: The shape of one example of the tensor, without the batch axis.
        inner: Consecutive positions on the axis that belong to one unit.
    """

    tensor: str
    axis: int
    geometry: Geometry | None
    shape: tuple[int, ...]
    inner: int

    @property
    def taps(self) -> int:
        """The number of places in a patch."""
        return 1 if self.geometry is None else prod(self.geometry.kernel)

    @property
    def spread(self) -> int:
        """The number of columns of one unit."""
        return self.inner * self.taps

    @property
    def columns(self) -> int:
        """The number of columns: positions on the axis times places in a patch."""
        return self.shape[self.axis - 1] * self.taps


@dataclass(frozen=True, slots=True, eq=False)
class LinearConsumer:
    """How one node reads units.

    Attributes:
        consumer: The node.
        source: Where its rows come from.
        matrix: What makes outputs of a row, shape (columns, outputs).
        bias: What is added, shape (outputs,).
        group_ids: The group that lies in each column, ``NO_GROUP`` where none does, shape
            (columns,).
        output_groups: The same of each output, shape (outputs,).
        shape: The shape of the weight in the file.
        output_scale: By what each output is multiplied before it meets anything else, shape
            (outputs,).
        error_tensor: The tensor by whose variance errors are judged: the sum that the outputs are
            added to, or the outputs themselves.
        residual_input: What they are added to there, of the same shape; None where there is no such
            sum.
        has_bias_freedom: Whether a bias can take up what means change: not behind overlapping
            patches, and not where it is computed in the graph.
    """

    consumer: Consumer
    source: ConsumerInput
    matrix: Float64Array
    bias: Float64Array
    group_ids: NDArray[np.intp]
    output_groups: NDArray[np.intp]
    shape: tuple[int, ...]
    output_scale: Float64Array
    error_tensor: str
    residual_input: str | None
    has_bias_freedom: bool

    def narrowed(self, stays: NDArray[np.bool_]) -> "LinearConsumer":
        """Return the reading without the outputs that leave.

        Args:
            stays: Whether each group stays; the last stands for what no group lies in.
        """
        outputs = stays[self.output_groups]
        if outputs.all():
            return self
        shape, places = list(self.shape), prod(self.shape[2:])
        if self.consumer.op == "ConvTranspose":
            shape[1] = int(outputs.sum()) // places
        elif self.consumer.op == "Conv":
            shape[0] = int(outputs.sum())
        return replace(
            self,
            matrix=self.matrix[:, outputs],
            bias=self.bias[outputs],
            output_groups=self.output_groups[outputs],
            output_scale=self.output_scale[outputs],
            shape=tuple(shape),
        )

    def weight(self, matrix: Float64Array, columns: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the weight as the narrowed node holds it.

        Args:
            matrix: The refitted matrix, shape (columns that stay, outputs).
            columns: Which columns stay, shape (columns,); whole positions of the axis.
        """
        if self.consumer.op == "MatMul":
            return matrix
        if self.consumer.op == "Gemm":
            return matrix.T if self.consumer.transposed else matrix
        positions = int(columns.sum()) // self.source.taps
        if self.consumer.op == "Conv":
            kernel = self.shape[2:]
            return matrix.T.reshape(self.shape[0], positions, *kernel)
        return matrix.reshape(positions, *self.shape[1:])


def find_linear_consumers(
    model: Model, site_map: SiteMap, pruning_graph: PruningGraph
) -> tuple[LinearConsumer, ...]:
    """Return every node whose weights can be refitted when units before it leave.

    Grouped convolutions are not among them: each of their groups leaves as a whole or not at all,
    so there is nothing for others to take over.
    """
    nodes = {node_label(node): node for node in model.graph}
    found = []
    for consumer in find_consumers(model, site_map):
        tensor = nodes[consumer.node].inputs[0]
        if tensor is None or not batch_first(tensor, model.batch):
            continue
        grouped = consumer.geometry is not None and consumer.geometry.group > 1
        group_ids = pruning_graph.assignment.group_ids.get(consumer.tensor, {}).get(consumer.axis)
        if grouped or group_ids is None or (group_ids == NO_GROUP).all():
            continue
        node = nodes[consumer.node]
        axis = -1 if consumer.op == "MatMul" else 1
        output = pruning_graph.assignment.at(node.outputs[0])
        made = output.get(axis % len(shape_of(node.outputs[0]) or (0, 0)))
        linear_consumer = _linear_consumer(node, consumer, group_ids, made, model.batch)
        if linear_consumer is not None:
            found.append(linear_consumer)
    return tuple(found)


def lock_unrefittable(
    model: Model,
    site_map: SiteMap,
    pruning_graph: PruningGraph,
    linear_consumers: Sequence[LinearConsumer],
) -> PruningGraph:
    """Hold the units that something reads whose weights cannot be refitted, and say what.

    A grouped convolution may read them: what it reads leaves with what it writes.
    """
    fitted = {linear_consumer.consumer.node for linear_consumer in linear_consumers}
    grouped = {
        node_label(node)
        for node in model.graph
        if node.op_type in ("Conv", "ConvTranspose") and attribute(node, "group", 1) > 1
    }
    groups = pruning_graph.groups
    held = dict(groups.locked)
    for site in site_map.sites:
        unfit = [label for label in site.consumers if label not in fitted | grouped]
        if unfit:
            for group in np.unique(groups.of[site.name]).tolist():
                held.setdefault(group, f"{unfit[0]} reads its units and cannot be refitted")
    return replace(pruning_graph, groups=replace(groups, locked=held))


def _linear_consumer(
    node: ir.Node,
    consumer: Consumer,
    group_ids: NDArray[np.intp],
    made: NDArray[np.intp] | None,
    batch: int | None,
) -> LinearConsumer | None:
    tensor, sizes = constant_tensor(node.inputs[1]), shape_of(node.inputs[0])
    if tensor is None or sizes is None or None in sizes[1:]:
        return None
    weight = tensor.numpy().astype(np.float64)
    if not np.isfinite(weight).all():
        return None
    geometry = consumer.geometry if consumer.op == "Conv" else None
    shape = tuple(size or 0 for size in sizes[1:])
    source = ConsumerInput(consumer.tensor, consumer.axis, geometry, shape, _inner(consumer, shape))
    bias = _bias(node, consumer)
    if consumer.op == "Conv":
        matrix = weight.reshape(len(weight), -1).T
    elif consumer.op == "ConvTranspose":
        matrix = weight.reshape(len(weight), -1)
        bias = None if bias is None else np.repeat(bias, prod(weight.shape[2:]))
    else:
        matrix = weight.T if consumer.transposed else weight
        alpha = node.attributes.get("alpha")
        matrix = matrix if alpha is None else matrix * alpha.as_float()
    if bias is None:
        bias = np.zeros(matrix.shape[1])
    if bias.size == 1:
        bias = np.full(matrix.shape[1], bias.item())
    if bias.shape != matrix.shape[1:]:
        return None
    outputs = matrix.shape[1]
    if made is None:
        made = np.full(outputs, NO_GROUP)
    gain, meets, beside = _behind(node, outputs, batch)
    return LinearConsumer(
        consumer=consumer,
        source=source,
        matrix=matrix,
        bias=bias,
        group_ids=np.repeat(group_ids, source.taps),
        output_groups=np.repeat(
            made, outputs // len(made)
        ),  # each place behind a transposed convolution
        shape=weight.shape,
        output_scale=gain,
        error_tensor=meets,
        residual_input=beside,
        has_bias_freedom=consumer.op != "ConvTranspose" and not _computed_bias(node, consumer),
    )


def _inner(consumer: Consumer, shape: tuple[int, ...]) -> int:
    """Return how many positions in a row belong to one unit, 1 where sites differ in that."""
    found = {layout.inner for _, layout in consumer.layouts}
    inner = found.pop()
    return inner if not found and shape[consumer.axis - 1] % inner == 0 else 1


def _bias(node: ir.Node, consumer: Consumer) -> Float64Array | None:
    """Return a constant bias with one number an output, None where there is none."""
    if consumer.bias is None:
        return None
    readers = [node, *(use.node for use in node.outputs[0].uses())]
    for value in (value for reader in readers for value in reader.inputs):
        if value is not None and value.name == consumer.bias:
            tensor = constant_tensor(value)
            if tensor is None:
                return None
            beta = node.attributes.get("beta") if consumer.op == "Gemm" else None
            factor = 1.0 if beta is None else beta.as_float()
            return factor * tensor.numpy().astype(np.float64).reshape(-1)
    return None


def _computed_bias(node: ir.Node, consumer: Consumer) -> bool:
    third = node.inputs[2] if consumer.op != "MatMul" and len(node.inputs) > 2 else None
    return third is not None and consumer.bias is None


def _behind(node: ir.Node, outputs: int, batch: int | None) -> tuple[Float64Array, str, str | None]:
    """Follow outputs through what scales them to the sum that they are added to, if there is one.

    In a residual network an error matters beside the whole stream that it is added to, not beside
    the branch that makes it.
    """
    gain = np.ones(outputs)
    value = node.outputs[0]
    while len(list(value.uses())) == 1 and not value.is_graph_output():
        use = next(iter(value.uses()))
        reader = use.node
        others = [v for i, v in enumerate(reader.inputs) if i != use.idx and v is not None]
        constant = [constant_tensor(other) for other in others]
        if reader.op_type == "BatchNormalization" and use.idx == 0 and None not in constant[:4]:
            numbers = [tensor.numpy().astype(np.float64) for tensor in constant if tensor]
            scale, variance = numbers[0], numbers[3]
            epsilon = reader.attributes.get("epsilon")
            spread = np.sqrt(variance + (1e-5 if epsilon is None else epsilon.as_float()))
            if scale.shape == gain.shape:
                gain = gain * scale / spread
        elif reader.op_type in ("Add", "Sum") and None in constant:
            summed = reader.outputs[0]
            if not batch_first(summed, batch):
                break
            alike = len(others) == 1 and shape_of(others[0]) == shape_of(value)
            return gain, summed.name or "", others[0].name if alike else None
        elif reader.op_type not in ("Add", "Identity", "Dropout", "Cast"):
            break
        value = reader.outputs[0]
    return gain, node.outputs[0].name or "", None


def slots_of(linear_consumer: LinearConsumer) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the columns of each unit of a reading, as many for every unit.

    Returns:
        The group of each unit, ``NO_GROUP`` for a position that no group lies in, shape (units,),
        and its columns, shape (units, columns a unit).  Units with another number of columns than
        most are left out.
    """
    taps = linear_consumer.source.taps
    axis = linear_consumer.group_ids[::taps]
    single = np.flatnonzero(axis == NO_GROUP)
    units: list[tuple[int, NDArray[np.intp]]] = [(NO_GROUP, np.array([p])) for p in single]
    order = np.argsort(axis, kind="stable")
    groups, starts = np.unique(axis[order], return_index=True)
    for group, part in zip(groups, np.split(order, starts[1:]), strict=True):
        if group != NO_GROUP:
            units.append((int(group), part))
    sizes = [len(part) for group, part in units if group != NO_GROUP]
    usual = max(set(sizes), key=sizes.count)
    kept = [(group, part) for group, part in units if len(part) == usual]
    positions = np.stack([part for _, part in kept])
    columns = positions[:, :, np.newaxis] * taps + np.arange(taps)
    return np.array([group for group, _ in kept], np.intp), columns.reshape(len(kept), -1)


def sources_of(linear_consumers: Sequence[LinearConsumer]) -> tuple[ConsumerInput, ...]:
    """Return where rows come from, each once, in order."""
    return tuple(dict.fromkeys(linear_consumer.source for linear_consumer in linear_consumers))
