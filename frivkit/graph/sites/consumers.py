"""Who reads units by weights, and how: what a least-squares fit of those weights needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.layout import Layout, attribute, shape_of
from frivkit.graph.model import Model, is_constant
from frivkit.graph.names import node_label
from frivkit.graph.sites.site_map import SiteMap

LINEAR_CONSUMERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Which places a convolution takes together.

    Attributes:
        kernel: The size of its kernel along each place axis.
        strides: How far it moves, at least 1.
        dilations: How far apart the taps of the kernel are, at least 1.
        pads: Zeros in front along each axis, then behind; a cut counts negative.
        group: How many groups of channels are read apart.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    group: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A weighted node that reads units.

    Attributes:
        node: Its label.
        op: ``"Conv"``, ``"ConvTranspose"``, ``"Gemm"`` or ``"MatMul"``.
        tensor: The tensor that it reads: behind pooling, normalisation and Flatten.
        axis: The axis of that tensor that it sums over; positions on it are the rows of a fit.
        weight: The name of its weight.
        transposed: The weight of a Gemm has outputs on its first axis (``transB``).
        bias: The name of its constant bias, that which an Add behind a MatMul adds included.
        layouts: The sites that lie on that axis, and where.
        geometry: What a convolution takes together; None for Gemm and MatMul.
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
        """The sites whose units it reads, each once."""
        return tuple(dict.fromkeys(site for site, _ in self.layouts))


def find_consumers(model: Model, site_map: SiteMap) -> tuple[Consumer, ...]:
    """Return the weighted nodes with constant weights that read units, in the order of the graph.

    A depthwise convolution is one of them: it reads each unit into one of its own.

    Args:
        model: The model, with known shapes.
        site_map: What was found in that model.

    Raises:
        ModelError: the padding of a convolution depends on a size that is not known.
    """
    found = (_consumer(node, site_map.layouts) for node in model.graph)
    return tuple(consumer for consumer in found if consumer is not None)


def consumers_of(consumers: Sequence[Consumer], site: str) -> tuple[Consumer, ...]:
    """Return the consumers that read units of a site."""
    return tuple(consumer for consumer in consumers if site in consumer.sites)


def added_bias(node: ir.Node) -> tuple[ir.Node, int] | None:
    """Find the Add of a constant bias behind a MatMul, and which of its operands the bias is."""
    output, uses = node.outputs[0], list(node.outputs[0].uses())
    if len(uses) != 1 or uses[0].node.op_type != "Add" or output.is_graph_output():
        return None
    add, index = uses[0].node, 1 - uses[0].idx
    value, sizes, whole = add.inputs[index], shape_of(add.inputs[index]), shape_of(output)
    if value is None or not sizes or not whole or not is_constant(value):
        return None
    row = sizes[-1] == whole[-1] and all(size == 1 for size in sizes[:-1])
    return (add, index) if row and len(sizes) <= len(whole) else None


def _consumer(
    node: ir.Node, layouts: Mapping[str, tuple[tuple[str, Layout], ...]]
) -> Consumer | None:
    if node.op_type not in LINEAR_CONSUMERS or node.inputs[0] is None or node.inputs[1] is None:
        return None
    tensor, weight = node.inputs[0], node.inputs[1]
    convolves = node.op_type in ("Conv", "ConvTranspose")
    axis = 1 if convolves else len(shape_of(tensor) or ()) - 1
    located = tuple(each for each in layouts.get(tensor.name or "", ()) if each[1].axes == (axis,))
    if not located or not is_constant(weight) or attribute(node, "transA", 0):
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
    found = node.attributes.get(name)
    return tuple(default if found is None else found.as_ints())


def _same(
    node: ir.Node,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    *,
    late: bool,
) -> tuple[int, ...]:
    """Work out the padding that gives as many outputs as inputs, or as many for each stride."""
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    spread = [step * (size - 1) + 1 for step, size in zip(dilations, kernel, strict=True)]
    front, behind = [], []
    for axis, (stride, size) in enumerate(zip(strides, spread, strict=True), start=2):
        read = None if before is None else before[axis]
        made = None if after is None else after[axis]
        if read is None or made is None:
            raise ModelError(
                f"the padding of {node_label(node)} depends on the size of its input, which is "
                "unknown: give --input-shape"
            )
        forth = node.op_type == "Conv"
        inner, outer = (made, read) if forth else (read, made)
        total = max((inner - 1) * stride + size - outer, 0)
        half = total // 2
        front.append(half if late else total - half)
        behind.append(total - half if late else half)
    return (*front, *behind)
