"""Values of layers in the format that Model Explorer shows over the graph of a model.

Model Explorer (https://ai.google.dev/edge/model-explorer) reads ONNX files by its extension
``model_explorer_onnx``, and colours nodes by files of "custom node data".
"""

from collections.abc import Mapping
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from frivkit.errors import FrivkitError
from frivkit.graph.model import Model
from frivkit.graph.names import node_label
from frivkit.graph.sites.site_map import SiteMap

UNNAMED = "<main>"
"""What the extension calls a graph without a name."""
BANDS = ("#f7fbff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#084594")
"""Backgrounds from 0 to 1, the blues of ColorBrewer."""
DARK = 5
"""The first of them on which text is white."""


def node_data(
    model: Model, site_map: SiteMap, values: Mapping[str, float | None], name: str, *, shares: bool
) -> dict[str, Any]:
    """Return a file of custom node data: a value for each node that produces units of a layer.

    Args:
        model: The model, as it was analysed.
        site_map: Its layers.
        values: The value of each layer by its name; layers without one are left out.
        name: What the values are.
        shares: Whether they lie in [0, 1] and are coloured by what they are; else the least is
            pale and the largest dark.

    Returns:
        By the id of the graph its ``results``, ``name``, and ``thresholds`` or ``gradient``.

    Raises:
        FrivkitError: the file of the model cannot be read again.
    """
    graph, ids = _ids_of_nodes(model)
    outputs = {node_label(node): node.outputs[0].name for node in model.graph if node.outputs}
    results: dict[str, dict[str, float]] = {}
    for site in site_map.sites:
        value = values.get(site.layer)
        if value is None:
            continue
        tensors = [outputs.get(label) for label in site.producers] or [site.name]
        for node in (ids[tensor] for tensor in tensors if tensor in ids):
            results[node] = {"value": value}
    return {graph: {"results": results, "name": name, **_colours(shares=shares)}}


def _colours(*, shares: bool) -> dict[str, Any]:
    last = len(BANDS) - 1
    text = ["#ffffff" if i >= DARK else "#000000" for i in range(len(BANDS))]
    if shares:
        bands = enumerate(BANDS)
        thresholds = [
            {"value": (i + 1) / len(BANDS), "bgColor": colour, "textColor": text[i]}
            for i, colour in bands
        ]
        return {"thresholds": thresholds}
    ends = (0, last)
    gradient = [{"stop": i // last, "bgColor": BANDS[i], "textColor": text[i]} for i in ends]
    return {"gradient": gradient}


def _ids_of_nodes(model: Model) -> tuple[str, dict[str | None, str]]:
    """Return the id of the graph, and the id of the node that computes each tensor.

    Ids are those of the extension: the names of nodes, made unique by a pass of onnx-ir.
    """
    if model.format == "onnx" and model.path.is_file():
        try:
            found = ir.serde.deserialize_model(onnx.load(model.path, load_external_data=False))
        except Exception as error:  # protobuf raises errors of its own
            raise FrivkitError(f"cannot read {model.path} again: {error}") from error
    else:
        found = model.ir.clone()
    by_node = {id(node): [value.name for value in node.outputs] for node in found.graph}
    NameFixPass()(found)
    ids = {name: node.name or "" for node in found.graph for name in by_node[id(node)]}
    return (UNNAMED if found.graph.name is None else found.graph.name), ids
