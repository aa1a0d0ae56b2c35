"""The weighted consumers of units, as a least-squares fit of their weights needs them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.layout import Layout, attribute, shape_of
from frivkit.graph.model import Model, is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.shared_weights import LINEAR_CONSUMERS
from frivkit.graph.sites.site_map import SiteMap


@dataclass(frozen=True, slots=True)
class Geometry:
    """The patches of a convolution.

    Attributes:
        kernel: The size of its kernel along each spatial axis, at least 1.
        strides: The distance of adjacent patches along each axis, at least 1.
        dilations: The distance of adjacent entries of the kernel along each axis, at least 1.
        pads: The number of zeros in front along each axis, then behind; negative if it crops.
        group: The number of groups of channels, at least 1.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    group: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A weighted node that consumes units.

    Attributes:
        node: Its label.
        op: ``"Conv"``, ``"ConvTranspose"``, ``"Gemm"`` or ``"MatMul"``.
        tensor: The tensor that it consumes: behind pooling, normalization and Flatten.
        axis: The axis of that tensor that it sums over.
        weight: The name of its weight.
        transposed: Whether the first axis of the weight of a Gemm are outputs (``transB``).
        bias: The name of its constant bias, which may be that of an Add behind a MatMul; None for
            none.
        layouts: The sites whose units lie on that axis, and their layouts.
        geometry: The patches of a convolution, None for Gemm and MatMul.
    """

    node: str
    op: str
    tensor: str
    axis: int
    weight: str
    transposed: bool
    bias: str | None
    layouts: tuple[tuple[str, Layout], ...]
    geometry: Geometry | None

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites whose units it consumes, each once."""
        return tuple(dict.fromkeys(site for site, _ in self.layouts))


def find_consumers(
    model: Model, site_map: SiteMap, others: Collection[str] = ()
) -> tuple[Consumer, ...]:
    """Return the nodes with constant weights that consume units, in the order of the graph.

    Depthwise convolutions are among them.

    Args:
        model: The model, with known shapes.
        site_map: Its sites.
        others: Labels of further nodes, whatever they consume.

    Raises:
        ModelError: the padding of a convolution depends on a size that is not known.
    """
    consumers = (_consumer(node, site_map.layouts, others) for node in model.graph)
    return tuple(consumer for consumer in consumers if consumer is not None)


def projects_tokens(node: ir.Node) -> bool:
    """Whether a node multiplies tokens, on an axis of their own, by a matrix of weights."""
    ranks = [len(shape_of(value) or ()) for value in node.inputs]
    return node.op_type == "MatMul" and ranks[0] > 2 and ranks[1] == 2


def added_bias(node: ir.Node) -> tuple[ir.Node, int] | None:
    """Return the Add of a constant bias behind a MatMul and the bias's operand index, or None."""
    output, uses = node.outputs[0], list(node.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add" or output.is_graph_output():
        return None
    add, index = uses[0].node, 1 - uses[0].idx
    value, sizes, shape = add.inputs[index], shape_of(add.inputs[index]), shape_of(output)
    if value is None or not sizes or not shape or not is_constant(value):
        return None
    is_row = sizes[-1] == shape[-1] and all(size == 1 for size in sizes[:-1])
    return (add, index) if is_row and len(sizes) <= len(shape) else None


def _consumer(
    node: ir.Node,
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]],
    others: Collection[str],
) -> Consumer | None:
    if node.op_type not in LINEAR_CONSUMERS or node.inputs[0] is None or node.inputs[1] is None:
        return None
    tensor, weight = node.inputs[0], node.inputs[1]
    convolves = node.op_type in ("Conv", "ConvTranspose")
    axis = 1 if convolves else len(shape_of(tensor) or ()) - 1
    located = tuple(_located_on(axis, layouts.get(tensor.name or "", ())))
    wanted = bool(located) or node_label(node) in others
    if not wanted or not is_constant(weight) or attribute(node, "transA", 0):
        return None
    return Consumer(
        node=node_label(node),
        op=node.op_type,
        tensor=tensor.name or "",
        axis=axis,
        weight=weight.name or "",
        transposed=bool(attribute(node, "transB", 0)),
        bias=_bias(node),
        layouts=located,
        geometry=_geometry(node) if convolves else None,
    )


def _located_on(axis: int, layouts: Sequence[tuple[str, Layout]]) -> Iterator[tuple[str, Layout]]:
    """Yield the layouts on one axis; those over the places of channels, as stacks on that axis."""
    for site, layout in layouts:
        if layout.axes == (axis,):
            yield site, layout
        elif layout.separating_axes == (axis,):
            yield from ((site, each) for each in layout.stacked(axis) or ())


def _bias(node: ir.Node) -> str | None:
    if node.op_type == "MatMul":
        added = added_bias(node)
        value = None if added is None else added[0].inputs[added[1]]
    else:
        value = node.inputs[2] if len(node.inputs) > 2 else None
    return value.name if value is not None and is_constant(value) else None


def _geometry(node: ir.Node) -> Geometry:
    weight = shape_of(node.inputs[1]) or ()
    kernel = _ints(node, "kernel_shape", [size or 1 for size in weight[2:]])
    ones = [1] * len(kernel)
    strides, dilations = _ints(node, "strides", ones), _ints(node, "dilations", ones)
    padding = node.attributes.get("auto_pad")
    mode = "NOTSET" if padding is None else padding.as_string()
    pads = _ints(node, "pads", [0] * 2 * len(kernel))
    if mode.startswith("SAME"):
        pads = _same(node, kernel, strides, dilations, late=mode == "SAME_UPPER")
    group = attribute(node, "group", 1)
    return Geometry(kernel, strides, dilations, pads, group)


def _ints(node: ir.Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    value = node.attributes.get(name)
    return tuple(default if value is None else value.as_ints())


def _same(
    node: ir.Node,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    *,
    late: bool,
) -> tuple[int, ...]:
    """Return the pads for ``auto_pad`` SAME: outputs x stride = inputs along each axis."""
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    extents = [step * (size - 1) + 1 for step, size in zip(dilations, kernel, strict=True)]
    front, behind = [], []
    for axis, (stride, extent) in enumerate(zip(strides, extents, strict=True), start=2):
        input_size = None if before is None else before[axis]
        output_size = None if after is None else after[axis]
        if input_size is None or output_size is None:
            raise ModelError(
                f"the padding of {node_label(node)} depends on the size of its input, which is "
                "unknown: give --input-shape"
            )
        patches, length = (
            (output_size, input_size) if node.op_type == "Conv" else (input_size, output_size)
        )
        total = max((patches - 1) * stride + extent - length, 0)
        half = total // 2
        front.append(half if late else total - half)
        behind.append(total - half if late else half)
    return (*front, *behind)
