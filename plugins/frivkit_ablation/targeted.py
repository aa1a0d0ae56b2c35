"""Targeted prunability: ablating a unit and those most correlated with it first.

Each repeat picks one unit of each layer at random and ablates units in the order of |r| with it,
the unit itself first.  Where units that resemble each other do the same work, this hurts more than
ablating as many at random: compare with ``prunability``.

Source: perturbation type 4 of the published code of Casper et al., "Frivolous Units", AAAI 2021,
which computes the curves and does not plot them.  It takes the correlations from the training set;
a study has one set of examples, which serves for both.  Where the curve falls below the tolerance,
and which repeat counts, is read as for prunability; a unit is a feature map under both protocols,
as in the code.  Units that never change correlate with nothing and go last.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.units.masks import random_order
from frivkit.units.moments import Moments, merged
from frivkit.units.selector import UnitSelector
from frivkit_ablation.level_search import CurveOptions, evaluate_shared_levels, scopes
from frivkit_ablation.mask_schedule import MaskSchedule


def measure(study: Study, options: CurveOptions) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone.

    Raises:
        DataError: there is but one example, so that nothing correlates.
        ModelError: a layer's activations are not finite.
    """
    if study.examples < 2:
        raise DataError(f"correlations need more than one example; {study.data.spec} has one")
    selector = study.units("map")
    examples, rounds = evaluate_shared_levels(study, options)
    orders = _orders(study, selector, options.repeats)
    grid = [float(level) for level in np.linspace(0.0, 1.0, options.levels)]
    for layer, sites in scopes(study):
        steps = MaskSchedule(study, sites, selector, lambda site, repeat: orders[site.name][repeat])
        ladder = steps.ladder(layer, examples)
        ladder.evaluate_levels(grid, options.repeats, rounds, 1 - options.tolerance)
        firsts = [int(order[0]) for order in orders[sites[0].name]] if layer else []
        yield ladder.measurement(
            "targeted-prunability",
            options,
            "units switched off, the most alike first",
            selector.name,
            units=steps.units,
            targets=firsts,
        )


METRIC = Metric(measure, CurveOptions)


def resembling(correlations: NDArray[np.float64], target: int) -> NDArray[np.int64]:
    """Return the units from the most to the least correlated with one, that one first.

    Args:
        correlations: r of each unit with the target, NaN where undefined, shape (units,).
        target: The target.

    Example:
        >>> resembling(np.array([0.1, 1.0, -0.8, np.nan]), 1).tolist()
        [1, 2, 0, 3]
    """
    size = np.nan_to_num(np.abs(correlations), nan=-1.0)
    size[target] = np.inf
    order: NDArray[np.int64] = np.argsort(-size, kind="stable")
    return order


def _orders(
    study: Study, selector: UnitSelector, repeats: int
) -> dict[str, list[NDArray[np.int64]]]:
    """Return each site's orders, one a repeat, in one pass over the data (two with wide layers)."""
    targets = {
        site.name: [
            int(random_order(study.seed, site.layer, repeat, selector.count(site))[0])
            for repeat in range(repeats)
        ]
        for site in study.sites
    }
    narrow = [site for site in study.sites if study.fits(selector, site)]
    wide = [site for site in study.sites if site not in narrow]
    found: dict[str, NDArray[np.float64]] = {}
    for site, parts in study.moments(selector, narrow) if narrow else ():
        moments = merged(parts)
        _check(site, moments.finite)
        found[site.name] = _from_moments(moments, targets[site.name])
    if wide:
        found |= _from_activations(study, selector, wide, targets)
    return {
        name: [resembling(r, unit) for r, unit in zip(found[name], units, strict=True)]
        for name, units in targets.items()
    }


def _from_moments(moments: Moments, targets: Sequence[int]) -> NDArray[np.float64]:
    covariance = moments.covariance[targets]
    return _normalised(covariance, moments.variance, targets)


def _from_activations(
    study: Study, selector: UnitSelector, sites: Sequence[Site], targets: dict[str, list[int]]
) -> dict[str, NDArray[np.float64]]:
    """Correlate with the targets alone, for layers whose Gram would not fit into memory."""
    shifts: dict[str, NDArray[np.float64]] = {}
    sums: dict[str, tuple[int, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]] = {}
    for _, batch in study.activations(selector, sites):
        for site in sites:
            rows = batch[site.name].astype(np.float64)
            _check(site, bool(np.isfinite(rows).all()))
            shift = shifts.setdefault(site.name, rows.mean(axis=0))
            rows -= shift
            new = (len(rows), rows.sum(axis=0), (rows**2).sum(axis=0))
            cross = rows[:, targets[site.name]].T @ rows
            old = sums.get(site.name)
            sums[site.name] = (
                (*new, cross)
                if old is None
                else (old[0] + new[0], old[1] + new[1], old[2] + new[2], old[3] + cross)
            )
    found = {}
    for name, (count, total, squares, cross) in sums.items():
        mean = total / count
        covariance = cross / count - np.outer(mean[targets[name]], mean)
        variance = np.maximum(squares / count - mean**2, 0.0)
        found[name] = _normalised(covariance, variance, targets[name])
    return found


def _normalised(
    covariance: NDArray[np.float64], variance: NDArray[np.float64], targets: Sequence[int]
) -> NDArray[np.float64]:
    spread = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: NDArray[np.float64] = covariance / np.outer(spread[targets], spread)
    return np.where(np.isfinite(found), found, np.nan)


def _check(site: Site, finite: bool) -> None:
    if not finite:
        raise ModelError(
            f"layer {site.layer} gives activations that are not finite, so nothing can be said of "
            "their correlation: leave it out with --layer, or change the data"
        )
