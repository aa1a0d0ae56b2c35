"""What the map of a network shows of each layer: its width, and what its units are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from frivkit.report.format import percent, short
from frivkit.report.layer_map import (
    Face,
    ShareBar,
    Way,
    layer_map,
    ways_between_units,
    without_shortcuts,
)

MOSTLY = 0.5
"""The share of its units beyond which a layer counts as prunable or redundant."""
SHARES = {"prunability": "prunable", "redundancy": "redundant", "frivolity": "frivolous"}
"""Metrics whose values are shares of units, with the word for such units."""
SPOKEN = 80
"""Characters of a layer's name in words."""


@dataclass(frozen=True, slots=True)
class NetworkMap:
    """The map with its legend.

    Attributes:
        svg: The drawing.
        keys: The class and the meaning of each colour.
        notes: What else is to be known, a sentence each.
        boxes: By layer the ``id`` of its box.
    """

    svg: str
    keys: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    boxes: Mapping[str, str]


def analysis_map(shown: Mapping[str, Any]) -> NetworkMap | None:
    """Return the map of an analysis, None if the document does not say how layers are connected.

    Args:
        shown: ``frivkit.analysis/1``, its texts readable.
    """
    rows = {
        (row["metric"], row["layer"]): row["value"]
        for row in shown["measurements"]
        if row["layer"] is not None
    }
    metrics = [each for each in SHARES if any(metric == each for metric, _ in rows)][:2]

    def face(base: Face, node: Mapping[str, Any]) -> Face:
        values = {m: _share(rows.get((m, node["layer"]))) for m in metrics}
        words = [f"{SHARES[m]} {percent(v)}" for m, v in values.items() if v is not None]
        most = [SHARES[m] for m, v in values.items() if v is not None and v > MOSTLY]
        kind = "both" if len(most) == 2 else most[0] if most else "whole" if words else "plain"
        return replace(
            base,
            line=f"{node['units']} " + ("units" if kind in ("whole", "plain") else f"· {kind}"),
            kind=kind,
            bars=tuple(ShareBar(((SHARES[m], value or 0.0),)) for m, value in values.items()),
            spoken=", ".join([base.spoken, *words]),
        )

    words = [SHARES[m] for m in metrics]
    keys = [(word, f"more than half of its units are {word}") for word in words]
    if len(words) == 2:
        keys.append(("both", f"more than half are {words[0]}, and more than half {words[1]}"))
    if words:
        keys.append(("whole", "neither" if len(words) == 2 else "half of them or fewer are"))
        bars = " and ".join(f"the share of {word} units" for word in words)
        notes = [f"The bars in a box: {bars}{', from above' if len(words) == 2 else ''}."]
    else:
        notes = []
    return _map(shown, face, keys, notes)


def compression_map(shown: Mapping[str, Any]) -> NetworkMap | None:
    """Return the map of a compression, None if the document has no graph of layers.

    Args:
        shown: ``frivkit.compression/1`` or ``frivkit.verification/1``, its texts readable.
    """
    layers = {each["layer"]: each for each in shown["layers"]}
    known = any(each.get("removed") for each in shown["layers"])

    def face(base: Face, node: Mapping[str, Any]) -> Face:
        layer = layers.get(node["layer"])
        if layer is None:
            return replace(base, line=f"{node['units']} units")
        before, after = layer["units_before"], layer["units_after"]
        if before == after:
            kept = ShareBar((("kept", 1.0),))
            spoken = f"{base.spoken}, left whole"
            return replace(base, line=f"{before} units", kind="whole", bars=(kept,), spoken=spoken)
        removed = layer.get("removed") or {"neither": before - after}
        kind = max(removed, key=lambda each: removed[each]) if known else "removed"
        parts = [("kept", after / before)]
        parts += [(each if known else "removed", count / before) for each, count in removed.items()]
        counts = ", ".join(f"{count} {each}" for each, count in removed.items() if count and known)
        return replace(
            base,
            line=f"{before} → {after}" + (f" · {kind}" if known else ""),
            kind=kind,
            bars=(ShareBar(tuple(parts)),),
            spoken=f"{base.spoken}, {after} left" + (f"; removed: {counts}" if counts else ""),
        )

    if known:
        keys = [
            ("prunable", "most removed units are prunable: they needed no new weights"),
            ("redundant", "most are redundant: the others explain them"),
            ("both", "most are both"),
            ("neither", "most are neither: the budget asked for them"),
            ("dropped", "dropped with its residual branch"),
        ]
    else:
        keys = [("removed", "units left")]
    notes = ["The bar in a box: the units that are kept, then those that were removed, by kind."]
    return _map(shown, face, [*keys, ("whole", "left whole")], notes)


def _share(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None


def _map(
    shown: Mapping[str, Any], face: Any, keys: Sequence[tuple[str, str]], notes: Sequence[str]
) -> NetworkMap | None:
    graph = shown.get("layer_graph")
    if not graph or not graph["nodes"]:
        return None
    kept, every = ways_between_units(graph)
    ways = without_shortcuts(every)
    rows: dict[str, str] = {}  # the rows of the table of layers, by layer
    for layer in shown["sites"] if "sites" in shown else shown["layers"]:
        rows[layer["layer"]] = f"layer-{len(rows) + 1}"
    faces = {}
    for index in kept:
        node = graph["nodes"][index]
        base = _base(node, rows)
        faces[index] = face(base, node) if node["kind"] == "layer" else base
    layers = sum(node["kind"] == "layer" for node in graph["nodes"])
    label = f"Map of the network: {layers} layers, from input to output, each a link to its row"
    notes = [*notes, *_notes(graph, kept, ways)]
    if len(ways) < len(every):
        notes.append("Left out: connections that also lead through other boxes.")
    used = {face.kind for face in faces.values()}
    return NetworkMap(
        layer_map(faces, ways, label),
        tuple((css, text) for css, text in keys if css in used),
        tuple(notes),
        {
            graph["nodes"][at]["layer"]: f"map-{i}"
            for i, at in enumerate(faces)
            if _named(graph, at)
        },
    )


def _named(graph: Mapping[str, Any], index: int) -> bool:
    return graph["nodes"][index]["layer"] is not None


def _base(node: Mapping[str, Any], rows: Mapping[str, str]) -> Face:
    """Return what a box shows whatever was measured."""
    if node["kind"] != "layer":
        line = node["kind"] if node["kind"] != "skipped" else f"{node['op']}, not analysed"
        spoken = f"{short(node['name'], SPOKEN)}, {line}"
        target = "skipped" if node["kind"] == "skipped" else ""
        return Face(node["name"], line, node["kind"], target=target, spoken=spoken)
    coupling = (node["coupling"] or "").removeprefix("coupling ")
    spoken = f"{short(node['layer'], SPOKEN)}, {node['op']}, {node['units']} units"
    if coupling:
        spoken += f", {node['coupling']}"
    return Face(
        node["layer"],
        tag=coupling and f"c{coupling}",
        target=rows.get(node["layer"], ""),
        spoken=spoken,
    )


def _notes(graph: Mapping[str, Any], kept: Sequence[int], ways: Sequence[Way]) -> list[str]:
    notes = []
    if any(way.merges for way in ways):
        notes.append("Dashed: added, multiplied or joined without weights.")
    if any(node["coupling"] for node in graph["nodes"]):
        notes.append("Layers with the same c and number are coupled: their units leave together.")
    hidden = len(graph["nodes"]) - len(kept)
    if hidden:
        nodes = "1 node" if hidden == 1 else f"{hidden} nodes"
        notes.append(f"Left out: {nodes} with weights, not analysed.")
    return notes
