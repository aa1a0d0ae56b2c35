"""Find the sites of a model: the tensors where units live, tapped as the paper taps them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from frivkit.graph.cost import Cost, node_cost
from frivkit.graph.coupling import Coupling, Junction, Part, couple
from frivkit.graph.layout import SHAPE_ONLY, Ends, Joins, Keeps, Layout, Reads, shape_of
from frivkit.graph.model import Model
from frivkit.graph.names import layer_names, node_label
from frivkit.graph.rules import effect
from frivkit.graph.tap import tap
from frivkit.graph.writers import Skip, find_writers, leading_to_outputs, leading_to_weights


@dataclass(frozen=True, slots=True)
class Site:
    """One tensor of the graph where units live, right after its layer's nonlinearity.

    Attributes:
        name: The tensor's name in the file.
        layer: The name that ``--layer`` matches and that measurements carry.
        op: The operator that writes the units, for example ``"Conv"``.
        axis: The axis of the tensor along which units change (the batch is axis 0).
        shape: The shape of one example, without the batch axis.
        writers: Labels of the weighted nodes that write the tensor.
        readers: Labels of the weighted nodes that read its units.
        ends: Why the units could not be followed further, where a reader is out of sight.
    """

    name: str
    layer: str
    op: str
    axis: int
    shape: tuple[int, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
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
    def places(self) -> int:
        """The number of places of one unit."""
        return prod(self.spatial)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a model holds: its sites in the order of the graph, and what was left out and why.

    Attributes:
        sites: Where units live.
        couplings: Which of them are connected.
        skipped: The weighted nodes that are not analysed.
        weights: What writing each site takes, by its name.
    """

    sites: tuple[Site, ...]
    couplings: tuple[Coupling, ...]
    skipped: tuple[Skip, ...]
    weights: Mapping[str, Cost]

    def coupling_of(self, site: Site) -> str | None:
        """Give the name of the coupling that a site belongs to, if any."""
        for coupling in self.couplings:
            if site.name in coupling.sites:
                return coupling.name
        return None


@dataclass(slots=True)
class _Found:
    """A site under construction."""

    value: ir.Value
    layout: Layout
    writers: list[ir.Node]
    readers: dict[str, None]
    ends: dict[str, None]


def survey(model: Model, output: str | None = None) -> Survey:
    """Find sites, couplings and the weighted nodes that are not analysed.

    Args:
        model: A model whose tensor shapes are known (see ``pipeline.complete_shapes``).
        output: The output whose labels are compared; None takes the first.

    Raises:
        ModelError: the output asked for is not there.
    """
    graph = model.graph
    target = model.output(output)
    weighted, skipped = find_writers(graph)
    to_weights = leading_to_weights(graph)
    to_output = leading_to_outputs(graph, target)
    found: dict[str, _Found] = {}
    order = {id(node): i for i, node in enumerate(graph)}
    for node, layout in weighted:
        value, there = tap(node.outputs[0], layout, order)
        shape = shape_of(value)
        if id(value) not in to_output:
            skipped.append(Skip.of(node, f"does not lead to output {target!r}"))
        elif id(value) not in to_weights:
            skipped.append(Skip.of(node, "its units are the model's outputs"))
        elif shape is None or None in shape[1:]:
            skipped.append(Skip.of(node, f"shape of {value.name!r} is unknown: give --input-shape"))
        elif there.size != there.width or shape[there.axis] != there.width:
            skipped.append(Skip.of(node, "its nonlinearity comes after units were flattened"))
        else:
            site = found.setdefault(value.name or "", _Found(value, there, [], {}, {}))
            site.writers.append(node)
    junctions = _follow(graph, found, {id(node): layout for node, layout in weighted})
    sites = _sites(found, order)
    couplings = couple([site.name for site in sites], [*junctions, *_shared_weights(found)])
    ranked = sorted(skipped, key=lambda skip: skip.position(order))
    weights = {name: node_cost(*site.writers) for name, site in found.items()}
    return Survey(sites, couplings, tuple(ranked), weights)


def _sites(found: dict[str, _Found], order: dict[int, int]) -> tuple[Site, ...]:
    first_writers = [site.writers[0] for site in found.values()]
    names = layer_names(first_writers)
    sites = [
        Site(
            name=name,
            layer=names[id(site.writers[0])],
            op=site.writers[0].op_type,
            axis=site.layout.axis,
            shape=tuple(size for size in (shape_of(site.value) or ())[1:] if size is not None),
            writers=tuple(node_label(node) for node in site.writers),
            readers=tuple(site.readers),
            ends=tuple(site.ends),
        )
        for name, site in found.items()
    ]
    producers = {name: site.value.producer() for name, site in found.items()}
    return tuple(sorted(sites, key=lambda site: order.get(id(producers[site.name]), -1)))


def _follow(graph: ir.Graph, found: dict[str, _Found], fresh: dict[int, Layout]) -> list[Junction]:
    """Follow every site's units through the graph; note readers, ends and where sites meet."""
    written = {id(node): name for name, site in found.items() for node in site.writers}
    lying: dict[int, list[tuple[str, Layout]]] = {}
    junctions = []
    for node in (node for node in graph if node.op_type not in SHAPE_ONLY):
        out: list[tuple[str, Layout]] = []
        parts: dict[Part, str] = {}
        for index, value in enumerate(node.inputs):
            for name, layout in lying.get(id(value), ()):
                what = effect(node, index, layout)
                if isinstance(what, Keeps):
                    out.append((name, what.layout))
                elif isinstance(what, Joins):
                    parts[Part(name, what.layout.offset)] = what.kind
                    if what.kind != "depthwise":
                        out.append((name, what.layout))
                elif isinstance(what, Reads):
                    found[name].readers[node_label(node)] = None
                elif isinstance(what, Ends):
                    found[name].ends[f"{node_label(node)}: {what.reason}"] = None
        if not node.outputs:
            continue
        result = node.outputs[0]
        writer = written.get(id(node))
        if writer is not None:
            out = [(writer, fresh[id(node)])]
            if parts:  # a depthwise convolution reads each unit into a unit of its own
                for part in parts:
                    found[part.site].readers[node_label(node)] = None
                parts[Part(writer, 0)] = "depthwise"
        if len(parts) > 1:
            kind = next(iter(parts.values()))
            junctions.append(Junction(result.name or "", kind, tuple(parts)))
        if result.name in found:
            out = [(result.name, found[result.name].layout)]
        lying[id(result)] = list(dict.fromkeys(out))
    return junctions


def _shared_weights(found: dict[str, _Found]) -> Iterable[Junction]:
    """Sites written by one weight tensor narrow together."""
    users: dict[str, list[str]] = {}
    for name, site in found.items():
        for node in site.writers:
            for value in node.inputs[1:2]:
                if value is not None and value.name:
                    users.setdefault(value.name, []).append(name)
    for weight, names in users.items():
        if len(set(names)) > 1:
            yield Junction(weight, "shared", tuple(Part(name, 0) for name in dict.fromkeys(names)))
