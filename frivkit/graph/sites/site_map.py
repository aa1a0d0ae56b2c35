"""Find the sites of a model: the tensors where units live, tapped as the paper taps them."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.cost import Cost, node_cost
from frivkit.graph.coupling import Coupling, MergePoint, SitePart, couple
from frivkit.graph.layout import Layout, shape_of
from frivkit.graph.model import Model
from frivkit.graph.names import layer_names, node_label
from frivkit.graph.operators.table import operators_of
from frivkit.graph.shapes import batch_first
from frivkit.graph.sites.batch_first import with_examples_first
from frivkit.graph.sites.concat_sites import Joiner, concats, matching
from frivkit.graph.sites.hook_point import find_hook_point
from frivkit.graph.sites.producers import (
    Skip,
    find_producers,
    leading_to_outputs,
    leading_to_weights,
)
from frivkit.graph.sites.propagation import SiteDraft, propagate


@dataclass(frozen=True, slots=True)
class Site:
    """One tensor of the graph where units live, right after its layer's nonlinearity.

    Attributes:
        name: The tensor's name in the file.
        layer: The name that ``--layer`` matches and that measurements carry.
        op: The operator that writes the units, for example ``"Conv"``; ``"Concat"`` where one
            joins them and what it joins was asked for as one layer.
        axis: The axis of the tensor along which units change (the batch is axis 0).
        shape: The shape of one example, without the batch axis.
        producers: Labels of the weighted nodes that make the tensor, and no other site.
        consumers: Labels of the weighted nodes that read its units.
        ends: Why the units could not be followed further, where a reader is out of sight, or why
            they cannot leave, where they meet what no site writes.
    """

    name: str
    layer: str
    op: str
    axis: int
    shape: tuple[int, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    ends: tuple[str, ...]

    @property
    def width(self) -> int:
        """The number of feature maps (or of units, in a dense layer)."""
        return self.shape[self.axis - 1]

    @property
    def spatial(self) -> tuple[int, ...]:
        """The sizes of the place axes, empty for a dense layer."""
        return self.shape[: self.axis - 1] + self.shape[self.axis :]

    @property
    def positions(self) -> int:
        """The number of places of one unit."""
        return prod(self.spatial)


@dataclass(frozen=True, slots=True)
class SiteMap:
    """What a model holds: its sites in the order of the graph, and what was left out and why.

    Attributes:
        sites: Where units live.
        couplings: Which of them are connected.
        skipped: The weighted nodes that are not analysed.
        weights: What writing each site takes, by its name.
        layouts: The sites whose units lie in a tensor, by the tensor's name, and where.
    """

    sites: tuple[Site, ...]
    couplings: tuple[Coupling, ...]
    skipped: tuple[Skip, ...]
    weights: Mapping[str, Cost]
    layouts: Mapping[str, tuple[tuple[str, Layout], ...]]

    def coupling_of(self, site: Site) -> str | None:
        """Return the name of the coupling that a site belongs to, if any."""
        for coupling in self.couplings:
            if site.name in coupling.sites:
                return coupling.name
        return None


def find_sites(model: Model, output: str | None = None, joined: Sequence[str] = ()) -> SiteMap:
    """Find sites, couplings and the weighted nodes that are not analysed.

    Args:
        model: A model whose tensor shapes are known (see ``pipeline.infer_shapes_by_running``).
        output: The output whose labels are compared; None takes the first.
        joined: Patterns for the names of layers that a Concat joins: each is one site, in place of
            the branches that it alone reads.

    Raises:
        ModelError: the output asked for is not there, a pattern matches no Concat of units, or
            what one joins cannot be a layer.
    """
    graph, operators = model.graph, operators_of(model)
    target = model.output(output)
    weighted, skipped = find_producers(graph, operators)
    to_output = leading_to_outputs(graph, target)
    unfit = _unfit(model, target, to_output)
    found: dict[str, SiteDraft] = {}
    order = {id(node): i for i, node in enumerate(graph)}
    for node, layout in weighted:
        value, there = find_hook_point(node.outputs[0], layout, order, operators)
        value, there = with_examples_first(value, there, model.batch, operators) or (value, there)
        reason = unfit(value, there)
        if reason:
            skipped.append(Skip.of(node, reason))
        elif (site := found.setdefault(value.name or "", SiteDraft(value, there))).layout != there:
            skipped.append(Skip.of(node, "another layer's units lie otherwise in what it writes"))
        else:
            site.producers.append(node)
    fresh = {id(node): layout for node, layout in weighted}
    propagation = propagate(graph, found, fresh, operators)
    firsts = [site.producers[0] for site in found.values()]
    names = layer_names(firsts)
    if joined:
        nodes = concats(graph, propagation.layouts)
        names = layer_names([*firsts, *nodes])
        chosen = {names[id(n)]: n for n in matching(nodes, names, joined, model.path.name)}
        joiner = Joiner(model, propagation.layouts, to_output, unfit)
        found, fresh = joiner.join(chosen, found, fresh)
        propagation = propagate(graph, found, fresh, operators)
    sites = _sites(found, order, names)
    couplings = couple(
        [site.name for site in sites], [*propagation.merge_points, *_shared_weights(found, fresh)]
    )
    ranked = sorted(skipped, key=lambda skip: skip.position(order))
    weights = {
        name: node_cost(*site.producers, operators=operators) for name, site in found.items()
    }
    return SiteMap(sites, couplings, tuple(ranked), weights, propagation.layouts)


def _unfit(
    model: Model, target: str, to_output: Set[int]
) -> Callable[[ir.Value, Layout], str | None]:
    """Return what says why a tensor cannot be a site, or None where it can."""
    to_weights = leading_to_weights(model.graph, to_output, operators_of(model))

    def unfit(value: ir.Value, there: Layout) -> str | None:
        shape = shape_of(value)
        if id(value) not in to_output:
            return f"does not lead to output {target!r}"
        if id(value) not in to_weights:
            return "its units are the model's outputs"
        if not batch_first(value, model.batch):
            return "its examples lie on no axis of their own"
        if shape is None or None in shape[1:]:
            return "its shape is not known: give --input-shape"
        if not there.whole or shape[there.axis] != there.size:
            return "its nonlinearity comes after units were flattened"
        return None

    return unfit


def _sites(
    found: Mapping[str, SiteDraft], order: Mapping[int, int], names: Mapping[int, str]
) -> tuple[Site, ...]:
    made_by = {name: site.joint or site.producers[0] for name, site in found.items()}
    sites = [
        Site(
            name=name,
            layer=names[id(made_by[name])],
            op=made_by[name].op_type,
            axis=site.layout.axis,
            shape=tuple(size for size in (shape_of(site.value) or ())[1:] if size is not None),
            producers=tuple(node_label(node) for node in site.producers),
            consumers=tuple(site.consumers),
            ends=tuple(site.ends),
        )
        for name, site in found.items()
    ]
    producers = {name: site.value.producer() for name, site in found.items()}
    return tuple(sorted(sites, key=lambda site: order.get(id(producers[site.name]), -1)))


def _shared_weights(
    found: Mapping[str, SiteDraft], fresh: Mapping[int, Layout]
) -> Iterable[MergePoint]:
    """Sites written by one weight tensor narrow together."""
    users: dict[str, dict[SitePart, None]] = {}
    for name, site in found.items():
        for node in site.producers:
            for value in node.inputs[1:2]:
                if value is not None and value.name:
                    users.setdefault(value.name, {})[SitePart(name, fresh[id(node)])] = None
    for weight, parts in users.items():
        if len(parts) > 1:
            yield MergePoint(weight, "shared", tuple(parts))
