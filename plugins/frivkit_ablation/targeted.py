"""Targeted prunability: a unit and those most correlated with it are ablated first.

Each repeat picks one unit of each layer at random and ablates units in the order of |r| with it,
the unit itself first.  If correlated units do the same work, this changes more labels than
ablating as many at random: compare with ``prunability``.

Source: perturbation type 4 of the published code of Casper et al., "Frivolous Units", AAAI 2021,
which computes the curves and does not plot them.  It takes the correlations from the training set;
a study has one set of examples, which serves for both.  The crossing and the best repeat are as for
prunability; a unit is a feature map under both protocols, as in the code.  Units that never change
have no correlation and are ablated last.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes
from frivkit.documents.fields import Fraction
from frivkit.errors import DataError, ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.masks import random_order
from frivkit.units.moments import Moments, RunningVariance, merged
from frivkit.units.selector import UnitSelector
from frivkit_ablation.details import TargetedDetail
from frivkit_ablation.level_search import CurveOptions, examples_and_rounds, scopes
from frivkit_ablation.mask_schedule import MaskSchedule


def measure(study: Study, options: CurveOptions) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone.

    Raises:
        DataError: there is one example only, so correlations are undefined.
        ModelError: a layer's activations are not finite.
    """
    if study.examples < 2:
        raise DataError(f"correlations need more than one example; {study.data.spec} has one")
    selector = study.units("map")
    examples, rounds = examples_and_rounds(study, options)
    orders = _orders(study, selector, options.repeats)
    grid = [float(level) for level in np.linspace(0.0, 1.0, options.levels)]
    for layer, sites in scopes(study):
        schedule = MaskSchedule(
            study, sites, selector, lambda site, repeat: orders[site.name][repeat]
        )
        search = schedule.search(layer, examples)
        search.evaluate_levels(grid, options.repeats, rounds, 1 - options.tolerance)
        targets = [int(order[0]) for order in orders[sites[0].name]] if layer else []
        yield search.measurement(
            "targeted-prunability",
            options,
            "units switched off, the most alike first",
            selector.name,
            units=schedule.units,
            targets=targets,
        )


METRIC = Metric(
    measure, CurveOptions, documented=DetailTypes(Fraction, TargetedDetail, TargetedDetail)
)


def by_correlation(correlations: NDArray[np.float64], target: int) -> NDArray[np.int64]:
    r"""Return the units from the most to the least correlated with one, that one first.

    Args:
        correlations: r of each unit with the target, NaN if undefined, shape (units,).
        target: The target, an index of a unit.

    Returns:
        Indices of units by falling \|r\|, shape (units,); the target first, undefined ones last.

    Example:
        >>> by_correlation(np.array([0.1, 1.0, -0.8, np.nan]), 1).tolist()
        [1, 2, 0, 3]
    """
    size = np.nan_to_num(np.abs(correlations), nan=-1.0)
    size[target] = np.inf
    order: NDArray[np.int64] = np.argsort(-size, kind="stable")
    return order


def _orders(
    study: Study, selector: UnitSelector, repeats: int
) -> dict[str, list[NDArray[np.int64]]]:
    """Return the orders of each site, one a repeat, in one pass over the data, or two."""
    targets = {
        site.name: [
            int(random_order(study.seed, site.layer, repeat, selector.count(site))[0])
            for repeat in range(repeats)
        ]
        for site in study.sites
    }
    narrow = [site for site in study.sites if study.fits(selector, site)]
    wide = [site for site in study.sites if site not in narrow]
    correlations: dict[str, NDArray[np.float64]] = {}
    for site, parts in study.moments(selector, narrow) if narrow else ():
        moments = merged(parts)
        _check(site, moments.finite)
        correlations[site.name] = _from_moments(moments, targets[site.name])
    if wide:
        correlations |= _from_activations(study, selector, wide, targets)
    return {
        name: [by_correlation(r, unit) for r, unit in zip(correlations[name], units, strict=True)]
        for name, units in targets.items()
    }


def _from_moments(moments: Moments, targets: Sequence[int]) -> NDArray[np.float64]:
    """Return r of the targets with each unit, shape (targets, units)."""
    covariance = moments.covariance[targets]
    return _normalised(covariance, moments.variance, targets)


def _from_activations(
    study: Study, selector: UnitSelector, sites: Sequence[Site], targets: dict[str, list[int]]
) -> dict[str, NDArray[np.float64]]:
    """Return r with the targets alone, for layers whose Gram matrix does not fit into memory."""
    sums = {site.name: RunningVariance() for site in sites}
    products: dict[str, NDArray[np.float64]] = {}
    for _, batch in study.activations(selector, sites):
        for site in sites:
            rows = batch[site.name]
            _check(site, bool(np.isfinite(rows).all()))
            shifted = sums[site.name].add(rows)
            product = shifted[:, targets[site.name]].T @ shifted
            products[site.name] = products.get(site.name, 0.0) + product
    correlations = {}
    for name, each in sums.items():
        offset = each.total / each.count
        covariance = products[name] / each.count - np.outer(offset[targets[name]], offset)
        correlations[name] = _normalised(covariance, each.variance, targets[name])
    return correlations


def _normalised(
    covariance: NDArray[np.float64], variance: NDArray[np.float64], targets: Sequence[int]
) -> NDArray[np.float64]:
    """Return r from covariances with the targets, NaN for units that never change."""
    deviation = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        r: NDArray[np.float64] = covariance / np.outer(deviation[targets], deviation)
    return np.where(np.isfinite(r), r, np.nan)


def _check(site: Site, finite: bool) -> None:
    """Raise :class:`ModelError` if activations are not finite."""
    if not finite:
        raise ModelError(
            f"layer {site.layer} gives activations that are not finite, so their "
            "correlation is undefined: leave it out with --layer, or change the data"
        )
