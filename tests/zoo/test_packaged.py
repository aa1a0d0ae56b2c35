"""Networks that others published: what is found in each, and that masks do as they say."""

from collections import Counter

import numpy as np
import pytest

from frivkit.graph.model import Model
from frivkit.graph.sites.producers import SkipCause
from frivkit.graph.sites.site_map import SiteMap
from frivkit.measure.pipeline import Request, inspect_model
from tests.zoo.independent import Editable
from tests.zoo.masks import Masked, check_masks, close
from tests.zoo.packaged import PACKAGED

pytestmark = [pytest.mark.assets, pytest.mark.slow]

TRIED = 5
"""Layers of a network on which masks are tried, spread over its depth."""


def feeds_of(model: Model) -> dict[str, np.ndarray]:
    """Draw inputs in the shapes that the file wants: as many as it insists on, or two."""
    generator = np.random.default_rng(0)
    drawn = {}
    for each in model.inputs:
        shape = (model.batch or 2, *(size or 16 for size in each.shape))
        noise = generator.standard_normal(shape)
        drawn[each.name] = (noise if each.dtype.startswith("f") else 97 + 5 * noise).astype(
            each.dtype
        )
    return drawn


@pytest.mark.parametrize("name", PACKAGED)
def test_what_is_found_is_what_the_architecture_has(name, tmp_path):
    known = PACKAGED[name]
    path = known.file(tmp_path)
    model, found = inspect_model(Request(path, input_shape=known.shape))
    merge_points = [
        merge_point.kind for each in found.couplings for merge_point in each.merge_points
    ]
    last = [skip for skip in found.skipped if skip.cause is SkipCause.MODEL_OUTPUT]
    others = [skip.op for skip in found.skipped if skip not in last]
    assert len(found.sites) == known.sites
    assert Counter(merge_points) == Counter(known.merge_points)
    assert Counter(others) == Counter(known.skipped)
    assert len(last) == known.last
    if known.laws:
        # Large weights of the light ones are computed, and norms read both layers of magika.
        small = name in {"light ShuffleNet", "light SqueezeNet"}
        without = (name.startswith("light") and not small) or name == "magika"
        assert (by_weights_and_masks(model, found) > 0) is not without


# Szegedy et al. 2014, arXiv:1409.4842, table 1; Huang et al. 2016, arXiv:1608.06993: 32 more maps a
# layer, halved between blocks; Iandola et al. 2016, arXiv:1602.07360, table 1.
JOINED = {
    "light Inception v1": [256, 480, 512, 512, 512, 528, 832, 832, 1024],
    "light DenseNet-121": [
        start + 32 * layer
        for start, layers in ((64, 6), (128, 12), (256, 24), (512, 16))
        for layer in range(1, layers + 1)
    ],
    "light SqueezeNet": [128, 128, 256, 256, 384, 384, 512, 512],
}


@pytest.mark.parametrize("name", JOINED)
def test_layers_that_concats_join_have_the_units_that_are_published(name, tmp_path):
    known = PACKAGED[name]
    request = Request(known.file(tmp_path), input_shape=known.shape, joined=("*",))
    model, found = inspect_model(request)
    joined = [site for site in found.sites if site.op == "Concat"]
    assert [site.width for site in joined] == JOINED[name]
    if name == "light SqueezeNet":
        feeds, output = feeds_of(model), model.output(None)
        file = Editable(model, found, joined[::4])
        for site in joined[::4]:
            masked = Masked(model, [site], feeds, output)
            zeroed = masked.run({site.name: np.arange(site.width) != 5})
            close(zeroed, file.zeroed(site, 5, feeds, output)[0])


def by_weights_and_masks(model: Model, found: SiteMap) -> int:
    """Try masks; give how many were held to zeros in weights, beside products in the file."""
    at = np.unique(np.linspace(0, len(found.sites) - 1, TRIED).astype(int))
    sites = [found.sites[number] for number in at]
    return check_masks(model, found, feeds_of(model), model.output(None), sites)
