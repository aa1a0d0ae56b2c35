"""The nodes that consume units, as matrices: outputs are patches of activations times a matrix."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.error_tensors import error_tensor_of
from frivkit.compression.stored_matrix import StoredMatrix
from frivkit.graph.layout import NO_GROUP, shape_of
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.names import node_label
from frivkit.graph.onnx_io.evaluate import constant_array
from frivkit.graph.onnx_io.finite import all_finite
from frivkit.graph.shapes import batch_first, batch_symbol, examples_axis
from frivkit.graph.sites.consumers import Consumer, Geometry, find_consumers, projects_tokens
from frivkit.graph.sites.groups import PruningGraph
from frivkit.graph.sites.norms_behind import norm_behind
from frivkit.graph.sites.shared_weights import shared_weights
from frivkit.graph.sites.site_map import SiteMap
from frivkit.units.moments import Float64Array


@dataclass(frozen=True, slots=True)
class ConsumerInput:
    """The input of a consumer, as rows of a matrix: equal for consumers of the same patches.

    Attributes:
        tensor: The tensor that is read.
        axis: The axis along which units lie.
        geometry: The patches of a convolution; None if each position is read alone.
        shape: The shape of one example of the tensor, without the batch axis.
        inner: Consecutive indices of the axis that belong to one unit.
    """

    tensor: str
    axis: int
    geometry: Geometry | None
    shape: tuple[int, ...]
    inner: int

    @property
    def name(self) -> str:
        """A text that differs for inputs that differ.

        It seeds the draw of positions, so it is spelled out: a text made of the names of classes
        and fields would give other draws, and so other weights, when these are renamed.

        Example:
            >>> ConsumerInput("x", 1, None, (8, 5, 5), 1).name
            "Source(tensor='x', axis=1, geometry=None, shape=(8, 5, 5), inner=1)"
        """
        patches = self.geometry
        geometry = patches and (
            f"Geometry(kernel={patches.kernel!r}, strides={patches.strides!r}, "
            f"dilations={patches.dilations!r}, pads={patches.pads!r}, group={patches.group!r})"
        )
        return (
            f"Source(tensor={self.tensor!r}, axis={self.axis!r}, geometry={geometry}, "
            f"shape={self.shape!r}, inner={self.inner!r})"
        )

    @property
    def kernel_size(self) -> int:
        """The number of positions in a patch."""
        return 1 if self.geometry is None else prod(self.geometry.kernel)

    @property
    def unit_columns(self) -> int:
        """The number of columns of one unit."""
        return self.inner * self.kernel_size

    @property
    def columns(self) -> int:
        """The number of columns: the size of the axis times the positions in a patch."""
        return self.shape[self.axis - 1] * self.kernel_size


@dataclass(frozen=True, slots=True, eq=False)
class LinearConsumer:
    """A node that multiplies units by constant weights, as a matrix that can be refitted.

    Attributes:
        consumer: The node.
        source: Its input.
        weights: The weights, of which ``matrix`` is made.
        bias: The bias, shape (outputs,).
        group_ids: The pruning group of each column, ``NO_GROUP`` if it has none, shape (columns,).
        output_groups: The pruning group of each output, shape (outputs,).
        shape: The shape of the weight in the file.
        output_scale: The constant factor on each output before it is added to or read by anything
            else, shape (outputs,).
        error_tensor: The tensor whose variance errors are a share of: the sum that the outputs are
            added to, or the outputs themselves.
        norm: The output of a norm that reads the error tensor; None if none does.
        error_scale: What an error in each output is multiplied by, so that the sum of squares is a
            share of the variance of the error tensor, or of what the norm makes of it, shape
            (outputs,); zeros before it is known.
        residual_input: The other summand there, of the same shape; None if there is no such sum.
        has_bias_freedom: Whether the bias can compensate a change of means: not for transposed
            convolutions, whose patches overlap, and not if the graph computes the bias.
        kept_as_is: Why its weights cannot be replaced by others, as those of 8 bits; None if they
            can be.
        shared: Which weight it is and in which orientation, if other nodes read it, too: the name
            of the stored weight and the axis of it along which columns lie; else None.
    """

    consumer: Consumer
    source: ConsumerInput
    weights: StoredMatrix
    bias: Float64Array
    group_ids: NDArray[np.intp]
    output_groups: NDArray[np.intp]
    shape: tuple[int, ...]
    output_scale: Float64Array
    error_tensor: str
    residual_input: str | None
    has_bias_freedom: bool
    norm: str | None = None
    error_scale: Float64Array = field(default_factory=lambda: np.zeros(0))
    kept_as_is: str | None = None
    shared: tuple[str, int] | None = None

    @property
    def matrix(self) -> Float64Array:
        """The weights, shape (columns, outputs), made anew of those that are stored."""
        return self.weights.matrix

    @property
    def reads_units(self) -> bool:
        """Whether it reads any unit that belongs to a pruning group."""
        return bool((self.group_ids != NO_GROUP).any())

    def narrowed(self, kept: NDArray[np.bool_]) -> "LinearConsumer":
        """Return the consumer without the outputs that are removed.

        Args:
            kept: Whether each group is kept, shape (groups + 1,); the last entry stands for
                ``NO_GROUP`` and is True.
        """
        outputs = kept[self.output_groups]
        if outputs.all():
            return self
        shape, kernel_size = list(self.shape), prod(self.shape[2:])
        if self.consumer.op == "ConvTranspose":
            shape[1] = int(outputs.sum()) // kernel_size
        elif self.consumer.op == "Conv":
            shape[0] = int(outputs.sum())
        return replace(
            self,
            weights=self.weights.with_outputs(outputs),
            bias=self.bias[outputs],
            output_groups=self.output_groups[outputs],
            output_scale=self.output_scale[outputs],
            error_scale=self.error_scale[outputs],
            shape=tuple(shape),
        )

    def weight(self, matrix: Float64Array, columns: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the weight in the layout of the narrowed node.

        Args:
            matrix: The refitted matrix, shape (kept columns, outputs).
            columns: Which columns are kept, shape (columns,), alike for all positions of a patch.
        """
        if self.consumer.op == "MatMul":
            return matrix
        if self.consumer.op == "Gemm":
            return matrix.T if self.consumer.transposed else matrix
        channels = int(columns.sum()) // self.source.kernel_size
        if self.consumer.op == "Conv":
            kernel = self.shape[2:]
            return matrix.T.reshape(self.shape[0], channels, *kernel)
        return matrix.reshape(channels, *self.shape[1:])


def find_linear_consumers(
    model: Model, site_map: SiteMap, pruning_graph: PruningGraph
) -> tuple[LinearConsumer, ...]:
    """Return every node that is linear in units that it reads, by weights of its own.

    Its weights can be refitted when such units are removed, unless it says why they stay as they
    are.

    Nodes that read a weight of such a node are among them whatever they read, since one fit serves
    all of them; so are projections of tokens, which can be factorized if no units lie in these.
    Grouped convolutions are not among them: each of their channel groups is removed as a whole or
    not at all, so other channels have nothing to compensate.
    """
    nodes = {node_label(node): node for node in model.graph}
    shared = {
        node_label(use.node): (use.root.name or "", use.inputs)
        for uses in shared_weights(model.graph)
        for use in uses
    }
    wanted = {*shared, *(label for label, node in nodes.items() if projects_tokens(node))}
    linear_consumers = []
    for consumer in find_consumers(model, site_map, wanted):
        tensor = nodes[consumer.node].inputs[0]
        batch = None if tensor is None else _batch_axis(tensor, model)
        if tensor is None or batch is None or batch >= consumer.axis:
            continue
        grouped = consumer.geometry is not None and consumer.geometry.group > 1
        group_ids = pruning_graph.assignment.group_ids.get(consumer.tensor, {}).get(consumer.axis)
        if group_ids is None and consumer.node in wanted:
            sizes = shape_of(tensor) or ()
            size = sizes[consumer.axis] if consumer.axis < len(sizes) else None
            group_ids = None if size is None else np.full(size, NO_GROUP, np.intp)
        others = group_ids is None or (group_ids == NO_GROUP).all()
        if grouped or group_ids is None or (others and consumer.node not in wanted):
            continue
        node = nodes[consumer.node]
        axis = -1 if consumer.op == "MatMul" else 1
        by_axis = pruning_graph.assignment.at(node.outputs[0])
        output_groups = by_axis.get(axis % len(shape_of(node.outputs[0]) or (0, 0)))
        linear_consumer = _linear_consumer(
            node, consumer, group_ids, output_groups, model, batch_axis=batch
        )
        if linear_consumer is not None:
            linear_consumers.append(replace(linear_consumer, shared=shared.get(consumer.node)))
    read_shared = {each.shared[0] for each in linear_consumers if each.shared and each.reads_units}
    return tuple(
        each
        for each in linear_consumers
        if each.reads_units or each.shared is None or each.shared[0] in read_shared
    )


def _batch_axis(tensor: ir.Value, model: Model) -> int | None:
    """Return the axis of examples of a tensor, None if they lie on no axis of their own."""
    if batch_first(tensor, model.batch):
        return 0
    return examples_axis(tensor, batch_symbol(model.graph))


def _linear_consumer(
    node: ir.Node,
    consumer: Consumer,
    group_ids: NDArray[np.intp],
    output_groups: NDArray[np.intp] | None,
    model: Model,
    *,
    batch_axis: int,
) -> LinearConsumer | None:
    opset = model.ir.opset_imports.get("", 1)
    array, sizes = constant_array(node.inputs[1], opset), shape_of(node.inputs[0])
    sizes = None if sizes is None else (*sizes[:batch_axis], *sizes[batch_axis + 1 :])
    if array is None or sizes is None or None in sizes:
        return None
    kept_as_is = _why_kept(node)
    if not all_finite(array):
        return None
    geometry = consumer.geometry if consumer.op == "Conv" else None
    shape = tuple(size or 0 for size in sizes)
    source = ConsumerInput(consumer.tensor, consumer.axis, geometry, shape, _inner(consumer, shape))
    bias = _bias(node, consumer, opset)
    if consumer.op == "ConvTranspose":
        bias = None if bias is None else np.repeat(bias, prod(array.shape[2:]))
    alpha = node.attributes.get("alpha") if consumer.op in ("Gemm", "MatMul") else None
    scale = None if alpha is None else alpha.as_float()
    weights = StoredMatrix(array, consumer.op, consumer.transposed, scale)
    outputs = weights.shape[1]
    if bias is None:
        bias = np.zeros(outputs)
    if bias.size == 1:
        bias = np.full(outputs, bias.item())
    if bias.shape != (outputs,):
        return None
    if output_groups is None:
        output_groups = np.full(outputs, NO_GROUP)
    if not len(output_groups) or outputs % len(output_groups):  # a shape that is not that declared
        return None
    output_scale, error_tensor, residual_input = error_tensor_of(node, outputs, model.batch)
    on_last_axis = consumer.op in ("MatMul", "Gemm")
    return LinearConsumer(
        consumer=consumer,
        source=source,
        weights=weights,
        bias=bias,
        group_ids=np.repeat(group_ids, source.kernel_size),
        # A transposed convolution has one output for each position of its kernel.
        output_groups=np.repeat(output_groups, outputs // len(output_groups)),
        shape=array.shape,
        output_scale=output_scale,
        error_tensor=error_tensor.name or "",
        norm=norm_behind(error_tensor) if on_last_axis else None,
        error_scale=np.zeros(outputs),
        residual_input=residual_input,
        has_bias_freedom=consumer.op != "ConvTranspose"
        and kept_as_is is None
        and not _computed_bias(node, consumer),
        kept_as_is=kept_as_is,
    )


def _why_kept(node: ir.Node) -> str | None:
    """Return why the weights of a node cannot be replaced, None if they can be."""
    pending = [value for value in node.inputs[1:2] if value is not None]
    while pending:
        value = pending.pop()
        maker = value.producer()
        if maker is None or constant_tensor(value) is not None:
            continue
        if maker.op_type == "DequantizeLinear":
            stored = maker.inputs[0]
            kind = None if stored is None else stored.dtype
            name = "" if kind is None else f" ({kind.name.lower()})"
            return f"quantized weights{name} are not refitted, only cut (--refit none)"
        pending.extend(each for each in maker.inputs if each is not None)
    return None


def _inner(consumer: Consumer, shape: tuple[int, ...]) -> int:
    """Return how many consecutive indices belong to one unit, 1 if the sites differ in that."""
    sizes = {layout.inner for _, layout in consumer.layouts}
    inner = sizes.pop() if sizes else 1
    return inner if not sizes and shape[consumer.axis - 1] % inner == 0 else 1


def _bias(node: ir.Node, consumer: Consumer, opset: int) -> Float64Array | None:
    """Return a constant bias with one number for each output, None if there is none."""
    if consumer.bias is None:
        return None
    candidates = [node, *(use.node for use in node.outputs[0].uses())]
    for value in (value for candidate in candidates for value in candidate.inputs):
        if value is not None and value.name == consumer.bias:
            array = constant_array(value, opset)
            if array is None:
                return None
            beta = node.attributes.get("beta") if consumer.op == "Gemm" else None
            factor = 1.0 if beta is None else beta.as_float()
            return factor * array.astype(np.float64).reshape(-1)
    return None


def _computed_bias(node: ir.Node, consumer: Consumer) -> bool:
    third = node.inputs[2] if consumer.op != "MatMul" and len(node.inputs) > 2 else None
    return third is not None and consumer.bias is None


def columns_by_unit(
    linear_consumer: LinearConsumer,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the columns of each unit that a consumer reads, equally many for every unit.

    Returns:
        The group of each unit, shape (units,), ``NO_GROUP`` for a channel without a group; and its
        columns, shape (units, columns of a unit).  Units whose number of columns is not the usual
        one are left out.
    """
    kernel_size = linear_consumer.source.kernel_size
    axis = linear_consumer.group_ids[::kernel_size]
    single = np.flatnonzero(axis == NO_GROUP)
    units: list[tuple[int, NDArray[np.intp]]] = [(NO_GROUP, np.array([p])) for p in single]
    order = np.argsort(axis, kind="stable")
    groups, starts = np.unique(axis[order], return_index=True)
    for group, part in zip(groups, np.split(order, starts[1:]), strict=True):
        if group != NO_GROUP:
            units.append((int(group), part))
    sizes = [len(part) for group, part in units if group != NO_GROUP]
    usual = max(set(sizes or [1]), key=sizes.count)
    regular = [(group, part) for group, part in units if len(part) == usual]
    channels = np.stack([part for _, part in regular])
    columns = channels[:, :, np.newaxis] * kernel_size + np.arange(kernel_size)
    return np.array([group for group, _ in regular], np.intp), columns.reshape(len(regular), -1)


def distinct_sources(linear_consumers: Sequence[LinearConsumer]) -> tuple[ConsumerInput, ...]:
    """Return the inputs of consumers, each once, in order."""
    return tuple(dict.fromkeys(linear_consumer.source for linear_consumer in linear_consumers))
