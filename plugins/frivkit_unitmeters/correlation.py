"""Correlation: the absolute Pearson r between the units of a layer.

Source: the matrices of r between units that the published code of Casper et al., "Frivolous Units",
AAAI 2021, stores and draws as violins (figure 2 c-d), a feature map being a unit and each of its
places an example.  It drops r >= 0.99999, meaning the diagonal; here each pair of two distinct
units counts once, and how many that rule would drop is told.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.metric import Measurement, Metric
from frivkit.moments import Moments
from frivkit.study import Study
from frivkit_unitmeters.layers import Options, layer_moments, varying, with_network

BINS = 50
"""Bins of the histogram, of equal width in [0, 1]."""
LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""The quantiles that are given."""
SAME = 0.99999
"""The published code leaves out correlations from here on."""


def absolute_correlation(moments: Moments) -> NDArray[np.float64]:
    """Give |r| between the units that vary.

    Returns:
        Shape (v, v) for v units with variance, in their order; symmetric, in [0, 1], diagonal 1.

    Example:
        >>> rows = np.array([[0.0, 0.0, 5.0], [1.0, -2.0, 5.0], [2.0, -4.0, 5.0]])
        >>> absolute_correlation(Moments.of(rows)).round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    vary = varying(moments)
    covariance = moments.covariance[np.ix_(vary, vary)]
    spread = np.sqrt(covariance.diagonal())
    found = np.abs(covariance / spread[:, np.newaxis] / spread)
    np.fill_diagonal(found, 1.0)
    result: NDArray[np.float64] = np.minimum(found, 1.0)
    return result


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then each layer's mean |r| over distinct pairs of units.

    A layer without two units that vary has no value.
    """
    selector = study.units("map")
    layers = []
    for site, moments in layer_moments(study, selector, "correlation", exact=options.exact):
        between = absolute_correlation(moments)
        pairs = between[np.triu_indices(len(between), k=1)]
        layers.append(
            Measurement(
                metric="correlation",
                scope="layer",
                layer=site.layer,
                value=float(pairs.mean()) if pairs.size else None,
                units=selector.name,
                protocol=study.protocol,
                examples=study.examples,
                detail={
                    "units": moments.units,
                    "rows": moments.count,
                    "constant_units": moments.units - len(between),
                    **_distribution(pairs),
                },
            )
        )
    yield from with_network(study, layers)


METRIC = Metric(measure, Options)


def _distribution(pairs: NDArray[np.float64]) -> dict[str, Any]:
    """Give what a violin is drawn of; no quantiles without pairs."""
    kept = pairs[pairs < SAME]
    return {
        "pairs": len(pairs),
        "dropped_by_the_code": len(pairs) - len(kept),
        "mean_by_the_code": float(kept.mean()) if kept.size else None,
        "quantile_levels": list(LEVELS),
        "quantiles": np.quantile(pairs, LEVELS).tolist() if pairs.size else [],
        "histogram": np.histogram(pairs, bins=BINS, range=(0.0, 1.0))[0].tolist(),
    }
