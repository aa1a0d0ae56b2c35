"""A network as a function from images to the activations of one layer, with gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from frivkit.errors import ModelError
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site
from frivkit.torch_io.twin import to_torch
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


def activations_of(model: Model, site: Site) -> Activations:
    """Return the activations of a layer as a function of images (n, channels, height, width).

    Only the part of the network that leads to the layer is computed.

    Args:
        model: A model whose shapes are known.
        site: The layer.

    Returns:
        A function whose result has shape (n, units, ...); gradients pass through it.

    Raises:
        ModelError: the network cannot be converted to torch.
    """
    channels_first = images_first(model)
    part = replace(model, ir=with_outputs(model, [site.name]).ir)
    network = to_torch(part)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    network.eval()

    def activations(images: Tensor) -> Tensor:
        shown = images if channels_first else images.permute(0, 2, 3, 1)
        reached = network(shown)
        found = reached[0] if isinstance(reached, tuple | list) else reached
        units_second: Tensor = found.movedim(site.axis, 1)
        return units_second

    return activations


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Bound the threads of torch, and restore their number afterwards."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
