"""What a mask must do to a network: what a product in the file does, and zeros in its weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site, SiteMap
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.session import Device
from frivkit.units.masks import Mask
from frivkit_unit_selectors.selectors import MAP
from tests.zoo.independent import Editable, ran

Arrays = Mapping[str, NDArray[Any]]
MEMORY = 1 << 30


def close(found: NDArray[Any], wanted: NDArray[Any], tolerance: float = 1e-5) -> None:
    """Hold outputs to others, within a share of the largest."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * max(1, abs(wanted).max()))


class Masked:
    """A network with masks on some sites, its inputs prepared."""

    def __init__(self, model: Model, sites: Sequence[Site], feeds: Arrays, output: str) -> None:
        self._way = PerturbedModel(model, sites, output, Device(threads=1), MEMORY)
        self._batch = self._way.prepare(feeds)

    def run(self, keep: Arrays) -> NDArray[Any]:
        """Run with the units of each site that are kept."""
        return self._way.run(self._batch, Mask(keep), MAP)


def check_masks(
    model: Model, found: SiteMap, feeds: Arrays, output: str, sites: Sequence[Site] | None = None
) -> int:
    """Check masks that keep everything, and masks of one unit of each site.

    The first change nothing.  A masked unit is one that a product puts to zero, and one whose
    weights are zero where that is the same thing as a zero unit.

    Args:
        model: The network.
        found: Its sites.
        feeds: Some examples.
        output: The output that is compared.
        sites: Those that are masked one by one; all if None.

    Returns:
        At how many sites zeros in weights were the same thing.
    """
    baseline = BaselineModel(model, output, Device(threads=1), MEMORY).run(feeds)
    close(baseline, ran(ir.to_proto(model.ir), feeds, output)[0], 1e-6)
    ones = {site.name: np.ones(site.width, bool) for site in found.sites}
    close(Masked(model, found.sites, feeds, output).run(ones), baseline, 1e-6)
    tried = found.sites if sites is None else sites
    file, by_weights = Editable(model, found, tried), 0
    for site in tried:
        unit = (7 * found.sites.index(site) + 3) % site.width
        masked = Masked(model, [site], feeds, output)
        close(masked.run({site.name: ones[site.name]}), baseline, 1e-6)
        zeroed = masked.run({site.name: np.arange(site.width) != unit})
        close(zeroed, file.zeroed(site, unit, feeds, output)[0])
        edited = file.without_weights(site, unit, feeds, output)
        if edited is not None:
            by_weights += 1
            close(zeroed, edited)
    return by_weights
