"""Predictability: the share of a unit's variance that the other units of its layer predict.

That is the R² of a linear regression of the unit on all others, which the covariance alone tells:
1 - 1 / (diag(C) diag(C⁻¹)).  A layer's value is the mean over its units with variance.  Where
redundancy says how many units could go, this says which.

Source: the squared multiple correlation, Guttman, "Image theory for the structure of quantitative
variates", Psychometrika 18, 1953.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.moments import Moments, merged
from frivkit_redundancy.jackknife import interval, others
from frivkit_redundancy.spectrum import infinite


@dataclass(frozen=True, slots=True)
class Options:
    """How predictability is measured.

    Attributes:
        ridge: What is added to all eigenvalues of the correlations, as a share of the largest, so
            that copies can be inverted: what float32 sums cannot tell from 0.
        exact: Sum in float64 throughout.
    """

    ridge: float = 1e-6
    exact: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 < self.ridge < 1:
            raise UsageError(f"ridge is {self.ridge}; it must lie between 0 and 1")


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the mean over layers, then each layer.

    The mean is left out when only some layers are under study.
    """
    if study.protocol == "reference":
        raise UsageError("the published code knows no predictability; take --protocol paper")
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


METRIC = Metric(measure, Options, per_unit=True)


def squared_correlations(moments: Moments, ridge: float) -> NDArray[np.float64]:
    """Return each unit's squared multiple correlation with all others.

    Args:
        moments: Of one layer.
        ridge: Share of the largest eigenvalue of the correlations that is added to all of them;
            it is taken off the unexplained variance again, so that unrelated units keep 0.

    Returns:
        Values in [0, 1], NaN for a unit that never changes, shape (units,).

    Example:
        >>> rows = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [1.0, 3.0, 1.0], [1.0, 3.0, 2.0]])
        >>> squared_correlations(Moments.of(rows), 1e-6).round(4).tolist()
        [1.0, 1.0, 0.0]
    """
    found = np.full(moments.units, np.nan)
    variance = moments.variance
    varies = variance > 0
    if varies.sum() < 2:
        found[varies] = 0.0  # a unit alone has no others
        return found
    scale = np.sqrt(variance[varies])
    correlations = moments.covariance[np.ix_(varies, varies)] / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(correlations)
    added = ridge * values[-1]
    precision = (vectors**2 / (np.maximum(values, 0.0) + added)).sum(axis=1)
    found[varies] = np.clip(1 - (1 / precision - added), 0.0, 1.0)
    return found


def _layer(
    study: Study, units: str, site: Site, parts: Sequence[Moments], options: Options
) -> Measurement:
    whole = merged(parts)
    if not whole.finite:
        raise infinite(site, exact=options.exact)
    squares = squared_correlations(whole, options.ridge)
    value = _mean(squares)
    without = [_mean(squared_correlations(other, options.ridge)) for other in others(parts)]
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
