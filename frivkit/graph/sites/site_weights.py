"""The weight tensors that produce a site."""

import onnx_ir as ir

from frivkit.errors import ModelError
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.names import node_label
from frivkit.graph.sites.site_map import Site


def weights_of(model: Model, site: Site) -> tuple[ir.Value, ...]:
    """Return the weights, without biases, of the nodes that produce a site, each once.

    Args:
        model: The model.
        site: One of its sites.

    Raises:
        ModelError: a weight is computed in the graph, from quantized numbers for example, or an
            attribute, or other layers produce all units of a concat site.
    """
    if not site.producers:
        raise ModelError(
            f"layer {site.layer} joins what other layers write and has no weights that could be "
            "edited: leave it out with --layer"
        )
    weights: dict[str, ir.Value] = {}
    for node in model.graph:
        if node_label(node) not in site.producers:
            continue
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if weight is None or constant_tensor(weight) is None:
            raise ModelError(
                f"the weights of layer {site.layer} are computed in the graph or are attributes, "
                "so they cannot be edited: leave the layer out with --layer"
            )
        weights[weight.name or ""] = weight
    return tuple(weights.values())
