"""The graph of layers as a part of documents, see ``docs/reference/json.md``."""

from frivkit.documents.parts import GraphEdgePart, GraphNodePart, LayerGraphPart
from frivkit.graph.model import Model
from frivkit.graph.sites.layer_graph import layer_graph
from frivkit.graph.sites.site_map import SiteMap


def layer_graph_document(model: Model, site_map: SiteMap) -> LayerGraphPart:
    """Return the part of a document that says how layers are connected."""
    graph = layer_graph(model, site_map)
    sites = {site.name: site for site in site_map.sites}
    couplings = site_map.coupling_names()
    nodes: list[GraphNodePart] = []
    for node in graph.nodes:
        site = sites[node.name] if node.kind == "layer" else None
        nodes.append(
            {
                "kind": node.kind,
                "name": node.name,
                "op": node.op,
                "layer": None if site is None else site.layer,
                "units": None if site is None else site.width,
                "coupling": couplings.get(node.name) if site else None,
            }
        )
    edges: list[GraphEdgePart] = [
        {"from": edge.source, "to": edge.target, "merges": edge.merges} for edge in graph.edges
    ]
    return {"nodes": nodes, "edges": edges}
