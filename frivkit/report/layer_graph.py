"""The graph of layers as a part of documents, see ``docs/json.md``."""

from typing import Any

from frivkit.graph.model import Model
from frivkit.graph.sites.layer_graph import layer_graph
from frivkit.graph.sites.site_map import SiteMap


def layer_graph_document(model: Model, site_map: SiteMap) -> dict[str, Any]:
    """Return the part of a document that says how layers are connected."""
    graph = layer_graph(model, site_map)
    sites = {site.name: site for site in site_map.sites}
    couplings = site_map.coupling_names()
    nodes = []
    for node in graph.nodes:
        site = sites[node.name] if node.kind == "layer" else None
        nodes.append(
            {
                "kind": node.kind,
                "name": node.name,
                "op": node.op,
                "layer": site and site.layer,
                "units": site and site.width,
                "coupling": couplings.get(node.name) if site else None,
            }
        )
    edges = [
        {"from": edge.source, "to": edge.target, "merges": edge.merges} for edge in graph.edges
    ]
    return {"nodes": nodes, "edges": edges}
