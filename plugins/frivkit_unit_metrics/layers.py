"""Shared parts of the metrics of this plugin: moments of each layer, and the mean over layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement
from frivkit.measure.study import Study
from frivkit.units.moments import Moments, RunningVariance, merged
from frivkit.units.selector import UnitSelector

Spread: TypeAlias = Moments | RunningVariance
"""Sums that tell the mean and the variance of each unit."""
NO_PAIR = {"note": "fewer than two units vary, so there is no pair of them"}


@dataclass(frozen=True, slots=True)
class Options:
    """Options of metrics of second moments.

    Attributes:
        exact: Sum in float64 throughout.
    """

    exact: bool = False


def layer_moments(
    study: Study,
    selector: UnitSelector,
    metric: str,
    *,
    exact: bool,
    sites: Sequence[Site] | None = None,
) -> Iterator[tuple[Site, Moments]]:
    """Yield each site under study with its moments over all examples.

    Metrics with the same selector and ``exact`` share the moments that the study stores: one pass
    over the data, if the Gram matrices of all layers fit into memory together.

    Args:
        study: The study.
        selector: How a tensor is read as units.
        metric: The name of the metric, for messages.
        exact: Sum in float64 throughout.
        sites: Which sites; None takes all that are under study.

    Raises:
        DataError: there is one example only.
        ModelError: a layer's sums are not finite, or its Gram matrix alone does not fit into
            memory.
    """
    if study.examples < 2:
        raise DataError(f"{metric} compares examples and {study.data.spec} has one; give more")
    for site, parts in study.moments(selector, sites, exact=exact):
        moments = merged(parts)
        if not moments.finite:
            remedy = "" if exact else ", or give --option exact=true for numbers above 1e19"
            raise ModelError(
                f"layer {site.layer} gives activations that are not finite (or overflow when "
                f"squared), so {metric} is undefined: leave it out with --layer, or change the "
                f"data{remedy}"
            )
        yield site, moments


def layer_spreads(
    study: Study, selector: UnitSelector, metric: str, *, exact: bool
) -> Iterator[tuple[Site, Spread]]:
    """Yield each site under study with the mean and the variance of its units.

    They are those of :func:`layer_moments`.  A layer whose Gram matrix does not fit into memory has
    its variances summed alone, in one more pass over the data.

    Args:
        study: The study.
        selector: How a tensor is read as units.
        metric: The name of the metric, for messages.
        exact: Sum in float64 throughout.

    Raises:
        DataError: there is one example only.
        ModelError: a layer's sums are not finite.
    """
    narrow = [site for site in study.sites if study.fits(selector, site)]
    wide = {site.name: RunningVariance() for site in study.sites if site not in narrow}
    moments = layer_moments(study, selector, metric, exact=exact, sites=narrow) if narrow else None
    if wide and study.examples < 2:
        raise DataError(f"{metric} compares examples and {study.data.spec} has one; give more")
    chosen = [site for site in study.sites if site.name in wide]
    for _, batch in study.activations(selector, chosen) if wide else ():
        for name, sums in wide.items():
            with np.errstate(over="ignore", invalid="ignore"):  # seen below
                sums.add(batch[name])
    for site in study.sites:
        if site.name not in wide and moments is not None:
            yield next(moments)
            continue
        sums = wide[site.name]
        if not (np.isfinite(sums.total).all() and np.isfinite(sums.squares).all()):
            raise ModelError(
                f"layer {site.layer} gives activations that are not finite, so {metric} is "
                "undefined: leave it out with --layer, or change the data"
            )
        yield site, sums


def varying(moments: Spread) -> NDArray[np.bool_]:
    """Return a mask of the units that vary over the rows, shape (units,).

    Example:
        >>> varying(Moments.of(np.array([[1.0, 2.0], [1.0, 4.0]]))).tolist()
        [False, True]
    """
    vary: NDArray[np.bool_] = moments.variance > 0
    return vary


def with_network(study: Study, layers: Sequence[Measurement]) -> Iterator[Measurement]:
    """Yield the mean over layers, each with equal weight, then the layers.

    Layers without a value do not count; if no layer has one, neither has the network.  The mean is
    left out if only some layers are under study.
    """
    if study.complete:
        values = [layer.value for layer in layers]
        known = [value for value in values if value is not None]
        yield Measurement(
            metric=layers[0].metric,
            scope="network",
            layer=None,
            value=float(np.mean(known)) if known else None,
            units=layers[0].units,
            protocol=study.protocol,
            examples=study.examples,
            detail={"layers": values, "undefined_layers": len(values) - len(known)}
            | ({} if known else {"note": "no layer has a value"}),
        )
    yield from layers


def one_a_unit(values: NDArray[Any], defined: NDArray[np.bool_]) -> list[Any]:
    """Return a column of ``per_unit``: one value a unit, None if it is undefined.

    Example:
        >>> one_a_unit(np.array([0.5, 7.0]), np.array([True, False]))
        [0.5, None]
    """
    return [
        value if known else None
        for value, known in zip(values.tolist(), defined.tolist(), strict=True)
    ]
