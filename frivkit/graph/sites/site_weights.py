"""The weight tensors that write a site."""

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.names import node_label
from frivkit.graph.sites.site_map import Site


def weights_of(model: Model, site: Site) -> tuple[ir.Value, ...]:
    """Return the weights, biases excepted, of the nodes that write a site, each once.

    Raises:
        ModelError: a weight is computed in the graph, from quantised numbers for example, or all
            units of a joined layer are written by other layers.
    """
    if not site.producers:
        raise ModelError(
            f"layer {site.layer} joins what other layers write and has no weights that could be "
            "edited: leave it out with --layer"
        )
    found: dict[str, ir.Value] = {}
    for node in model.graph:
        if node_label(node) not in site.producers:
            continue
        weight = node.inputs[1]
        if weight is None or constant_tensor(weight) is None:
            raise ModelError(
                f"the weights of layer {site.layer} are computed in the graph, so they cannot be "
                "edited: leave the layer out with --layer"
            )
        found[weight.name or ""] = weight
    return tuple(found.values())
