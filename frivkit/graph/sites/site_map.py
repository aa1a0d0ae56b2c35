"""Find the sites of a model: the tensors whose units are analysed."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.cost import Cost, node_cost
from frivkit.graph.coupling import Coupling, couple
from frivkit.graph.layout import Layout, shape_of
from frivkit.graph.model import Model
from frivkit.graph.names import layer_names, node_label
from frivkit.graph.operators.table import operators_of
from frivkit.graph.shapes import batch_first, batch_symbol, examples_axis
from frivkit.graph.sites.batch_first import with_examples_first
from frivkit.graph.sites.concat_sites import ConcatSites, find_concats, matching
from frivkit.graph.sites.hook_point import find_hook_point
from frivkit.graph.sites.producers import (
    Skip,
    SkipCause,
    SkipReason,
    find_producers,
    values_leading_to_output,
    values_leading_to_weights,
)
from frivkit.graph.sites.propagation import SiteDraft, propagate
from frivkit.graph.sites.shared_weights import shared_merge_points


@dataclass(frozen=True, slots=True)
class Site:
    """A tensor of the graph whose units are analysed, behind the nonlinearity of its layer.

    Attributes:
        name: The name of the tensor in the file.
        layer: The name that ``--layer`` matches and that measurements carry.
        op: The operator that produces the units, for example ``"Conv"``, and ``"Concat"`` for a
            concat site.
        axis: The axis of the tensor along which units change, at least 1 (the batch is axis 0,
            wherever it lies in the graph).
        shape: The shape of one example, without the batch axis.
        producers: Labels of the weighted nodes that produce the tensor and no other site.
        consumers: Labels of the weighted nodes that consume its units.
        not_followed: Reasons why its units cannot be followed to all their consumers, or why they
            cannot be removed because they meet entries that are no units.
        unknown_operators: Operators at which its units cannot be followed because frivkit does not
            know them.
    """

    name: str
    layer: str
    op: str
    axis: int
    shape: tuple[int, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    not_followed: tuple[str, ...]
    unknown_operators: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """The number of feature maps (or of units, in a dense layer)."""
        return self.shape[self.axis - 1]

    @property
    def spatial(self) -> tuple[int, ...]:
        """The sizes of the spatial axes, empty for a dense layer."""
        return self.shape[: self.axis - 1] + self.shape[self.axis :]

    @property
    def positions(self) -> int:
        """The number of spatial positions of one unit, 1 for a dense layer."""
        return prod(self.spatial)


@dataclass(frozen=True, slots=True)
class SiteMap:
    """The sites of a model, and the weighted nodes that are skipped.

    Attributes:
        sites: The sites, in the order of the graph.
        couplings: Sets of them that merge points connect.
        skipped: The weighted nodes that are not analysed.
        weights: By the name of a site, the cost of its producers.
        layouts: By the name of a tensor, the sites whose units lie in it and their layouts.
    """

    sites: tuple[Site, ...]
    couplings: tuple[Coupling, ...]
    skipped: tuple[Skip, ...]
    weights: Mapping[str, Cost]
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]]

    def coupling_names(self) -> dict[str, str]:
        """Return the name of the coupling of each site that has one, by the site's name."""
        return {name: coupling.name for coupling in self.couplings for name in coupling.sites}


def find_sites(
    model: Model,
    output: str | None = None,
    concats: Sequence[str] = (),
    *,
    any_batch_axis: bool = False,
    every_output: bool = False,
) -> SiteMap:
    """Find sites, couplings and the weighted nodes that are not analysed.

    Args:
        model: A model whose tensor shapes are known (see
            ``frivkit.runtime.shape_probe.infer_shapes_by_running``).
        output: The output whose labels are compared; None takes the first.
        concats: Patterns for the names of layers of Concat nodes: each is one site, in place of the
            branches that it alone consumes.
        any_batch_axis: Whether a tensor can be a site whose examples lie on another axis than the
            first.  Its units can be removed, and no mask be put on them.
        every_output: Whether layers are sites that lead to any output, if ``output`` is None.

    Raises:
        ModelError: the model has no such output, a pattern matches no Concat of units, or the parts
            of one cannot be one layer.

    Example:
        >>> from pathlib import Path
        >>> from onnx import parser
        >>> from frivkit.graph.shapes import infer_shapes
        >>> text = '<ir_version: 8, opset_import: ["": 17]> net (float[N, 1] x) => (float[N, 1] y)'
        >>> text += "<float[1, 2] v = {1, 2}, float[2, 1] w = {3, 4}>"
        >>> text += "{ a = MatMul(x, v) h = Relu(a) y = MatMul(h, w) }"
        >>> network = ir.from_proto(parser.parse_model(text))
        >>> infer_shapes(network)
        >>> model = Model(network, Path("net.onnx"), "onnx", "", (), None)
        >>> [(site.name, site.op, site.width) for site in find_sites(model).sites]
        [('h', 'MatMul', 2)]
    """
    graph, operators = model.graph, operators_of(model)
    named = model.output(output)
    target = None if every_output and output is None else named
    producers, skipped = find_producers(graph, operators)
    to_output = values_leading_to_output(graph, target)
    unfit = _unfit(model, target, to_output, any_batch_axis=any_batch_axis)
    drafts: dict[str, SiteDraft] = {}
    order = {id(node): i for i, node in enumerate(graph)}
    for node, produced_layout in producers:
        value, layout = find_hook_point(node.outputs[0], produced_layout, order, operators)
        value, layout = with_examples_first(value, layout, model.batch, operators) or (
            value,
            layout,
        )
        reason = unfit(value, layout)
        draft = SiteDraft(value, layout)
        if reason is not None:
            skipped.append(Skip.of(node, reason))
        elif (draft := drafts.setdefault(value.name or "", draft)).layout != layout:
            skipped.append(Skip.of(node, _OTHER_LAYOUT))
        else:
            draft.producers.append(node)
    produced = {id(node): layout for node, layout in producers}
    propagation = propagate(graph, drafts, produced, operators)
    firsts = [draft.producers[0] for draft in drafts.values()]
    names = layer_names(firsts)
    if concats:
        nodes = find_concats(graph, propagation.layouts)
        names = layer_names([*firsts, *nodes])
        chosen = {names[id(n)]: n for n in matching(nodes, names, concats, model.path.name)}
        concat_sites = ConcatSites(model, propagation.layouts, to_output, unfit)
        drafts, produced = concat_sites.replace(chosen, drafts, produced)
        propagation = propagate(graph, drafts, produced, operators)
    sites = _sites(drafts, order, names, _batch_axes(model, drafts))
    couplings = couple(
        [site.name for site in sites],
        [*propagation.merge_points, *shared_merge_points(graph, propagation.layouts)],
    )
    skipped.sort(key=lambda skip: skip.position(order))
    weights = {
        name: node_cost(*draft.producers, operators=operators) for name, draft in drafts.items()
    }
    return SiteMap(sites, couplings, tuple(skipped), weights, propagation.layouts)


_FLATTENED = SkipReason("its nonlinearity comes after units were flattened")
LARGEST_WIDTH = 1 << 20
"""Units of a layer beyond which it is skipped: what is kept for each unit would fill memory."""
_OTHER_LAYOUT = SkipReason("another layer's units lie otherwise in what it writes")


def _not_leading(target: str | None) -> SkipReason:
    if target is None:
        return SkipReason("leads to no output")
    return SkipReason(f"does not lead to output {target!r}", SkipCause.OTHER_OUTPUT)


def _unfit(
    model: Model, target: str | None, to_output: Set[int], *, any_batch_axis: bool
) -> Callable[[ir.Value, Layout], SkipReason | None]:
    """Return a function that returns why a tensor cannot be a site, None if it can."""
    to_weights = values_leading_to_weights(model.graph, to_output, operators_of(model))
    symbol = batch_symbol(model.graph) if any_batch_axis else None

    def unfit(value: ir.Value, layout: Layout) -> SkipReason | None:
        shape = shape_of(value)
        if id(value) not in to_output:
            return _not_leading(target)
        if id(value) not in to_weights:
            return SkipReason("its units are the model's outputs", SkipCause.MODEL_OUTPUT)
        batch = 0 if batch_first(value, model.batch) else examples_axis(value, symbol)
        if batch is None:
            return SkipReason("its examples lie on no axis of their own")
        if shape is None or None in (*shape[:batch], *shape[batch + 1 :]):
            text = "its shape is not known: give --input-shape"
            return SkipReason(text, SkipCause.UNKNOWN_SHAPE)
        if layout.whole and layout.size > LARGEST_WIDTH:
            return SkipReason(f"it has {layout.size:,} units, more than {LARGEST_WIDTH:,}")
        flattened = not layout.whole or shape[layout.axis] != layout.size
        return _FLATTENED if flattened else None

    return unfit


def _batch_axes(model: Model, drafts: Mapping[str, SiteDraft]) -> dict[str, int]:
    """Return the axis of examples of each site's tensor."""
    symbol = batch_symbol(model.graph)
    return {
        name: 0 if batch_first(each.value, model.batch) else examples_axis(each.value, symbol) or 0
        for name, each in drafts.items()
    }


def _sites(
    drafts: Mapping[str, SiteDraft],
    order: Mapping[int, int],
    names: Mapping[int, str],
    batch_axes: Mapping[str, int],
) -> tuple[Site, ...]:
    """Return finished sites, in the order of the graph."""
    origins = {name: draft.concat or draft.producers[0] for name, draft in drafts.items()}
    sites = [
        Site(
            name=name,
            layer=names[id(origins[name])],
            op=origins[name].op_type,
            axis=draft.layout.axis + (draft.layout.axis < batch_axes[name]),
            shape=tuple(
                size or 0
                for axis, size in enumerate(shape_of(draft.value) or ())
                if axis != batch_axes[name]
            ),
            producers=tuple(node_label(node) for node in draft.producers),
            consumers=tuple(draft.consumers),
            not_followed=tuple(draft.not_followed),
            unknown_operators=tuple(draft.unknown_operators),
        )
        for name, draft in drafts.items()
    ]
    nodes = {name: draft.value.producer() for name, draft in drafts.items()}
    return tuple(sorted(sites, key=lambda site: order.get(id(nodes[site.name]), -1)))
