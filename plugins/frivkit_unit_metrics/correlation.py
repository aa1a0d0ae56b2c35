"""Correlation: the absolute Pearson r between the units of a layer.

Source: the matrices of r between units that the published code of Casper et al., "Frivolous Units",
AAAI 2021, stores and draws as violins (figure 2 c-d), a feature map being a unit and each of its
positions an observation.  It drops r >= 0.99999, meaning the diagonal; here each pair of distinct
units counts once, and ``detail.dropped_by_the_code`` is how many that rule would drop.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes, MeansDetail
from frivkit.documents.fields import Fraction
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.moments import Moments
from frivkit_unit_metrics.details import CorrelationDetail
from frivkit_unit_metrics.layers import (
    NO_PAIR,
    Options,
    layer_moments,
    one_a_unit,
    varying,
    with_network,
)

BINS = 50
"""Bins of the histogram, of equal width in [0, 1]."""
LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Levels of the quantiles reported."""
SAME = 0.99999
"""The published code leaves out correlations of at least this."""


def absolute_correlation(moments: Moments) -> NDArray[np.float64]:
    """Return |r| between the units that vary.

    Returns:
        Shape (v, v) for v units with variance, in their order; symmetric, in [0, 1], 1 on the
        diagonal.

    Example:
        >>> rows = np.array([[0.0, 0.0, 5.0], [1.0, -2.0, 5.0], [2.0, -4.0, 5.0]])
        >>> absolute_correlation(Moments.of(rows)).round(6).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    vary = varying(moments)
    covariance = moments.covariance[np.ix_(vary, vary)]
    deviation = np.sqrt(covariance.diagonal())
    r = np.abs(covariance / deviation[:, np.newaxis] / deviation)
    np.fill_diagonal(r, 1.0)
    bounded: NDArray[np.float64] = np.minimum(r, 1.0)
    return bounded


def per_unit(between: NDArray[np.float64], vary: NDArray[np.bool_]) -> dict[str, list[Any]]:
    """Return the columns of ``per_unit``; None for a unit without another that varies.

    Args:
        between: The result of :func:`absolute_correlation`; its diagonal is overwritten.
        vary: True for each unit that varies, shape (units,).

    Returns:
        By column: ``value``, the mean |r| with the other units that vary; ``largest``, the largest
        |r|; and ``most_like``, the unit with it, counted from 0, the first of several.

    Example:
        >>> between = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 1.0], [0.0, 1.0, 1.0]])
        >>> per_unit(between, np.array([True, True, False, True]))["most_like"]
        [1, 3, None, 1]
    """
    others = len(between) - 1
    values, largest = np.zeros(len(vary)), np.zeros(len(vary))
    most_like = np.zeros(len(vary), np.int64)
    if others > 0:
        values[vary] = (between.sum(axis=1) - 1) / others
        np.fill_diagonal(between, -1.0)  # |r| to all others may be 0
        largest[vary] = between.max(axis=1)
        most_like[vary] = np.flatnonzero(vary)[between.argmax(axis=1)]
    defined = vary & (others > 0)
    return {
        "value": one_a_unit(values, defined),
        "largest": one_a_unit(largest, defined),
        "most_like": one_a_unit(most_like, defined),
    }


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
                    **({} if pairs.size else NO_PAIR),
                    "per_unit": per_unit(between, varying(moments)),
                },
            )
        )
    yield from with_network(study, layers)


METRIC = Metric(
    measure,
    Options,
    per_unit=True,
    documented=DetailTypes(Fraction | None, CorrelationDetail, MeansDetail),
)


def _distribution(pairs: NDArray[np.float64]) -> dict[str, Any]:
    """Return the entries of ``detail`` from which a violin is drawn; no quantiles without pairs."""
    below = pairs[pairs < SAME]
    return {
        "pairs": len(pairs),
        "dropped_by_the_code": len(pairs) - len(below),
        "mean_by_the_code": float(below.mean()) if below.size else None,
        "quantile_levels": list(LEVELS),
        "quantiles": np.quantile(pairs, LEVELS).tolist() if pairs.size else [],
        "histogram": np.histogram(pairs, bins=BINS, range=(0.0, 1.0))[0].tolist(),
    }
