"""A network as a function from images to the activations of one layer, with gradients."""

import torch
from torch import Tensor

from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site
from frivkit.runtime.session import Feeds
from frivkit.torch_io.from_onnx.to_torch import to_torch
from frivkit.torch_io.placement import torch_device
from frivkit_featurevis.ascent import Activations

FEW = 4
"""An axis of at most so many entries can hold colours (grey, or RGB with transparency)."""


def images_first(model: Model) -> bool:
    """Whether channels are the first axis of an image that a model takes, and not the last.

    Raises:
        ModelError: the model takes other things than images.
    """
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 3:
        taken = ", ".join(f"{each.name} {tuple(each.shape)}" for each in model.inputs)
        raise ModelError(
            f"{model.path.name} takes {taken or 'nothing'}; visualisation needs a model of one "
            "input of images, of shape (channels, height, width)"
        )
    first, _, last = model.inputs[0].shape
    return not (
        isinstance(last, int) and last <= FEW and not (isinstance(first, int) and first <= FEW)
    )


def activations_of(model: Model, site: Site, feeds: Feeds, device: str = "cpu") -> Activations:
    """Return the activations of a layer as a function of images (n, channels, height, width).

    Only the part of the network that leads to the layer is computed.

    Args:
        model: A model whose shapes are known.
        site: The layer.
        feeds: Inputs on which the converted network is compared with ONNX Runtime.
        device: Where the network is computed.

    Returns:
        A function whose result has shape (n, units, ...), on that device; gradients pass through
        it to images on the CPU.  A model that insists on a batch size is run so many images at a
        time, the last ones repeated.

    Raises:
        DeviceError: the device is not there.
        FrivkitError: the extra that converts networks is not installed.
        ModelError: the network cannot be converted to torch.
    """
    channels_first, placed = images_first(model), torch_device(device)
    network = to_torch(model, feeds, [site.name]).to(placed)
    for parameter in network.parameters():
        parameter.requires_grad_(False)  # torch takes it by position only

    def activations(images: Tensor) -> Tensor:
        there = images.to(placed)
        shown = there if channels_first else there.permute(0, 2, 3, 1)
        reached = network(shown) if model.batch is None else by_turns(shown, model.batch)
        units_second: Tensor = reached.movedim(site.axis, 1)
        return units_second

    def by_turns(images: Tensor, size: int) -> Tensor:
        missing = -len(images) % size
        padded = torch.cat([images, images[-1:].expand(missing, *images.shape[1:])])
        return torch.cat([network(part) for part in torch.split(padded, size)])[: len(images)]

    return activations
