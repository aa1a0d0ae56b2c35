"""Predictability: the share of a unit's variance that the other units of its layer predict.

It is the R² of a linear regression of the unit on all others, and follows from the covariance C:
1 - 1 / (diag(C) diag(C⁻¹)).  The value of a layer is the mean over its units with variance.
Redundancy counts the units that could be removed, predictability ranks them.

Source: the squared multiple correlation, Guttman, "Image theory for the structure of quantitative
variates", Psychometrika 18, 1953.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes, MeansDetail
from frivkit.documents.fields import Fraction
from frivkit.errors import DataError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.moments import Moments, merged
from frivkit.units.statistics import FLOAT32_ROUNDING
from frivkit_redundancy.details import PredictabilityDetail
from frivkit_redundancy.jackknife import interval, leave_one_out
from frivkit_redundancy.spectrum import not_finite


@dataclass(frozen=True, slots=True)
class Options:
    """Options of predictability.

    Attributes:
        ridge: Share of the largest eigenvalue of the correlations that is added to all of them, so
            that the matrix of a layer with copies can be inverted; in (0, 1).  The default is the
            rounding of float32 sums.
        exact: Sum in float64 throughout.
    """

    ridge: float = FLOAT32_ROUNDING
    exact: bool = False

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        if not 0 < self.ridge < 1:
            raise UsageError(f"ridge is {self.ridge}; it must lie between 0 and 1")


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then each layer.

    The mean is left out if only some layers are under study.

    Raises:
        UsageError: the protocol is ``"reference"``.
        DataError: there is one example only.
        ModelError: a layer's activations are not finite, or its Gram matrix does not fit into
            memory.
    """
    if study.protocol == "reference":
        raise UsageError("the published code has no predictability; take --protocol paper")
    if study.examples < 2:
        raise DataError(
            f"predictability compares examples and {study.data.spec} has one; give more"
        )
    selector = study.units("map")
    layers = [
        _layer(study, selector.name, site, parts, options)
        for site, parts in study.moments(selector, exact=options.exact)
    ]
    if study.complete:
        values = [layer.value for layer in layers]
        known = [value for value in values if value is not None]
        yield Measurement(
            metric="predictability",
            scope="network",
            layer=None,
            value=float(np.mean(known)) if known else None,
            units=selector.name,
            examples=study.examples,
            detail={"layers": values, "undefined_layers": len(values) - len(known)}
            | ({} if known else {"note": "no unit of any layer varies"}),
        )
    yield from layers


METRIC = Metric(
    measure,
    Options,
    per_unit=True,
    documented=DetailTypes(Fraction | None, PredictabilityDetail, MeansDetail),
)


def squared_correlations(moments: Moments, ridge: float) -> NDArray[np.float64]:
    """Return each unit's squared multiple correlation with all others.

    Args:
        moments: Of one layer.
        ridge: Share of the largest eigenvalue of the correlations that is added to all of them;
            it is subtracted from the unexplained variance again, so that unrelated units keep 0.

    Returns:
        Values in [0, 1], NaN for a unit that never changes, shape (units,).

    Example:
        >>> rows = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [1.0, 3.0, 1.0], [1.0, 3.0, 2.0]])
        >>> squared_correlations(Moments.of(rows), 1e-6).round(4).tolist()
        [1.0, 1.0, 0.0]
    """
    squares = np.full(moments.units, np.nan)
    variance = moments.variance
    varies = variance > 0
    if varies.sum() < 2:
        squares[varies] = 0.0  # a unit alone has no others
        return squares
    scale = np.sqrt(variance[varies])
    correlations = moments.covariance[np.ix_(varies, varies)] / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(correlations)
    added = ridge * values[-1]
    precision = (vectors**2 / (np.maximum(values, 0.0) + added)).sum(axis=1)
    squares[varies] = np.clip(1 - (1 / precision - added), 0.0, 1.0)
    return squares


def _layer(
    study: Study, units: str, site: Site, parts: Sequence[Moments], options: Options
) -> Measurement:
    whole = merged(parts)
    if not whole.finite:
        raise not_finite(site, exact=options.exact)
    squares = squared_correlations(whole, options.ridge)
    value = _mean(squares)
    without = [_mean(squared_correlations(other, options.ridge)) for other in leave_one_out(parts)]
    known = [x for x in without if x is not None]
    detail: dict[str, Any] = {
        "ridge": options.ridge,
        "units": whole.units,
        "rows": whole.count,
        "constant_units": int(np.isnan(squares).sum()),
        "by_chance": min(1.0, (whole.units - 1) / (whole.count - 1)),
        "fewer_rows_than_units": whole.count <= whole.units,
        "per_unit": {
            "value": [None if np.isnan(square) else float(square) for square in squares],
        },
    }
    if value is None:
        detail["note"] = "no unit varies over these examples, so there is nothing to predict"
    elif len(squares) - detail["constant_units"] == 1:
        detail["note"] = "only one unit varies, which no other can predict"
    elif whole.count <= whole.units:
        detail["note"] = "with no more rows than units the others predict any unit"
    return Measurement(
        metric="predictability",
        scope="layer",
        layer=site.layer,
        value=value,
        units=units,
        interval=None if value is None or len(known) < len(without) else interval(value, known),
        examples=study.examples,
        detail=detail,
    )


def _mean(squares: NDArray[np.float64]) -> float | None:
    known = squares[~np.isnan(squares)]
    return float(known.mean()) if len(known) else None
