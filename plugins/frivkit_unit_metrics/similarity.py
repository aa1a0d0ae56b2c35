"""Similarity: the share of the other units of its layer with which a unit correlates.

Source: the published code of Casper et al., "Frivolous Units", AAAI 2021, which gives the mean and
the standard deviation over units of the number of other units with |r| >= 0.5.  That number is kept
in ``detail``; the value is its mean divided by the number of other units.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes, MeansDetail
from frivkit.documents.fields import Fraction
from frivkit.errors import UsageError
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.moments import Moments
from frivkit_unit_metrics.correlation import absolute_correlation
from frivkit_unit_metrics.details import SimilarityDetail
from frivkit_unit_metrics.layers import NO_PAIR, layer_moments, varying, with_network

SLACK = 1e-6
"""By how much |r|, of sums in float32, may miss the threshold and still count as reaching it."""


@dataclass(frozen=True, slots=True)
class Options:
    """The definition of similar units.

    Attributes:
        threshold: The least |r| of similar units, in (0, 1].
        exact: Sum in float64 throughout.
    """

    threshold: float = 0.5
    exact: bool = False

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        if not 0 < self.threshold <= 1:
            raise UsageError(f"threshold is {self.threshold}; it must lie above 0 and be at most 1")


def similar_units(moments: Moments, threshold: float) -> NDArray[np.int64]:
    """Return for each unit the number of other units similar to it, shape (units,).

    A unit that does not vary is similar to none.

    Example:
        >>> rows = np.array([[0.0, 0.0, 5.0], [1.0, -2.0, 5.0], [2.0, -4.0, 5.0]])
        >>> similar_units(Moments.of(rows), 0.5).tolist()
        [1, 1, 0]
    """
    counts = np.zeros(moments.units, np.int64)
    alike = absolute_correlation(moments) >= threshold - SLACK
    counts[varying(moments)] = alike.sum(axis=1) - 1  # not with itself
    return counts


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then the mean over each layer's units.

    A layer without two units that vary has no value.
    """
    selector = study.units("map")
    layers = []
    for site, moments in layer_moments(study, selector, "similarity", exact=options.exact):
        counts = similar_units(moments, options.threshold)
        vary = int(varying(moments).sum())
        layers.append(
            Measurement(
                metric="similarity",
                scope="layer",
                layer=site.layer,
                value=float(counts.mean()) / (moments.units - 1) if vary > 1 else None,
                units=selector.name,
                protocol=study.protocol,
                examples=study.examples,
                detail={
                    "units": moments.units,
                    "rows": moments.count,
                    "constant_units": moments.units - vary,
                    "threshold": options.threshold,
                    "count_mean": float(counts.mean()),
                    "count_sd": float(counts.std()),
                    **({} if vary > 1 else NO_PAIR),
                    "per_unit": {"count": counts.tolist()},
                },
            )
        )
    yield from with_network(study, layers)


METRIC = Metric(
    measure,
    Options,
    per_unit=True,
    documented=DetailTypes(Fraction | None, SimilarityDetail, MeansDetail),
)
