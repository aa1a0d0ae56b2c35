"""Dead units: units that are zero, or constant, on all examples.

Source: "ReLU neurons become inactive and only output 0 for any input" (Lu et al., "Dying ReLU and
Initialization: Theory and Numerical Examples", 2019, arXiv:1903.06733), here on any of
the examples.  Casper et al., "Frivolous Units", AAAI 2021, do not count dead units; they are both
prunable and redundant.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes, MeansDetail
from frivkit.documents.fields import Fraction
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit_unit_metrics.details import DeadUnitsDetail
from frivkit_unit_metrics.layers import (
    Options,
    Spread,
    layer_spreads,
    varying,
    with_network,
)


def zero(moments: Spread) -> NDArray[np.bool_]:
    """Return a mask of the units that are zero in every row, shape (units,).

    Example:
        >>> from frivkit.units.moments import Moments
        >>> zero(Moments.of(np.array([[0.0, 2.0], [0.0, 2.0]]))).tolist()
        [True, False]
    """
    dead: NDArray[np.bool_] = ~varying(moments) & (moments.mean == 0)
    return dead


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then the share of each layer's units that are always zero."""
    selector = study.units("map")
    layers = []
    for site, moments in layer_spreads(study, selector, "dead-units", exact=options.exact):
        dead, constant = zero(moments), ~varying(moments)
        layers.append(
            Measurement(
                metric="dead-units",
                scope="layer",
                layer=site.layer,
                value=float(dead.mean()),
                units=selector.name,
                protocol=study.protocol,
                examples=study.examples,
                detail={
                    "units": len(dead),
                    "rows": moments.count,
                    "zero_units": int(dead.sum()),
                    "constant_units": int(constant.sum()),
                    "constant_share": float(constant.mean()),
                    "per_unit": {
                        "value": dead.astype(int).tolist(),
                        "mean": moments.mean.tolist(),
                        "sd": np.where(constant, 0.0, np.sqrt(moments.variance)).tolist(),
                    },
                },
            )
        )
    yield from with_network(study, layers)


METRIC = Metric(
    measure,
    Options,
    per_unit=True,
    documented=DetailTypes(Fraction | None, DeadUnitsDetail, MeansDetail),
)
