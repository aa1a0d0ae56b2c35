"""Random rows of each layer, drawn as in the published code."""

from itertools import islice

import numpy as np

from frivkit.errors import DataError, ModelError
from frivkit.measure.study import Study
from frivkit.units.moments import Moments, merged
from frivkit.units.selector import UnitSelector


def sampled_moments(
    study: Study, selector: UnitSelector, samples: int, samplings: int, batch: int
) -> dict[str, list[Moments]]:
    """Return the moments of randomly drawn rows, several times.

    From each of the first b = ⌊n / batch⌋ - 1 batches, at most ⌊samples / b⌋ rows of a layer are
    drawn without replacement.

    Args:
        study: The study.
        selector: How a tensor is read as units.
        samples: Rows drawn from a layer, over all batches, at least 1.
        samplings: How often they are drawn, at least 1.
        batch: Examples of a batch, at least 1.

    Source:
        ``get_activations.py`` of the published code (``MAX_SAMPLES`` 5e4, three draws).

    Returns:
        For each site by name the moments of each sampling.

    Raises:
        DataError: there are fewer than two full batches.
        ModelError: a layer's moments do not fit into memory.
    """
    for site in study.sites:
        if not study.fits(selector, site):
            raise ModelError(
                f"layer {site.layer} has {selector.count(site)} units, too many for the reference "
                "protocol in this memory: give more --memory, or --units map"
            )
    batches = study.examples // batch - 1
    if batches < 1:
        raise DataError(
            f"the reference protocol uses all full batches of {batch} but one and "
            f"{study.data.spec} has {study.examples} examples: give more, or --option batch=N"
        )
    quota = max(1, samples // batches)
    generators = [np.random.default_rng([study.seed, draw]) for draw in range(samplings)]
    moments: dict[str, list[list[Moments]]] = {
        site.name: [[] for _ in generators] for site in study.sites
    }
    for _, rows in islice(study.activations(selector, batch=batch), batches):
        for name, part in rows.items():
            for draws, generator in zip(moments[name], generators, strict=True):
                drawn = part[generator.permutation(len(part))[:quota]]
                shift = draws[0].shift if draws else None
                draws[:] = [merged([*draws, Moments.of(drawn, shift)])]
    return {name: [draws[0] for draws in several] for name, several in moments.items()}
