"""Frivolity: both kinds of frivolous unit together, redundant ones folded and others pruned.

1. The redundant units of every layer are folded: units are removed by backward elimination as long
   as the others, by least squares, explain all but ``unexplained`` of the layer's variance, and are
   then computed from those that are kept.
2. The kept units are ablated at random, as for prunability; a unit that is zero is zero in every
   unit computed from it.
3. The value is the share of units that are gone, folded or ablated, at the level at which the share
   of unchanged labels falls to 1 - tolerance.

Source: Casper et al., "Frivolous Units", AAAI 2021, call compressing by both kinds a promising
possibility (section 6) and do not try it; the order of the two steps, the elimination and the fold
are ours.  Feature maps are units, since a fold is the same at every position.

If folding alone changes more labels than the tolerance, less is folded: a quarter of
``unexplained``, and so on; ``detail.unexplained`` is the share that was used.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.documents.details import DetailTypes
from frivkit.documents.fields import Fraction
from frivkit.errors import DataError, ModelError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.measure.unchanged import Unchanged
from frivkit.units.elimination import (
    Elimination,
    LinearReconstruction,
    eliminate,
    largest_removable,
    reconstruct,
)
from frivkit.units.masks import keep_mask, random_order
from frivkit.units.moments import Moments, merged
from frivkit.units.perturbations import LinearReplacement
from frivkit.units.selector import UnitSelector
from frivkit.units.statistics import UNEXPLAINED, ablated_units
from frivkit_ablation.details import FrivolityDetail
from frivkit_ablation.level_search import CurveOptions, CurvePoint, LevelSearch, scopes
from frivkit_ablation.mask_schedule import MaskSchedule

QUARTERS = 4
"""Tolerances tried, each a quarter of the one before, until only exact copies are folded."""


@dataclass(frozen=True, slots=True)
class Options(CurveOptions):
    """Options of frivolity.

    Attributes:
        unexplained: Share of a layer's variance that folding may leave unexplained, in (0, 1).
    """

    unexplained: float = UNEXPLAINED

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        CurveOptions.__post_init__(self)
        if not 0 < self.unexplained < 1:
            raise UsageError(f"unexplained is {self.unexplained}; it must lie between 0 and 1")


@dataclass(frozen=True, slots=True, eq=False)
class _Folding:
    """The fold of one layer.

    Attributes:
        keep: True for each unit that is kept, shape (units,).
        reconstruction: How all units are computed from those.
    """

    keep: NDArray[np.bool_]
    reconstruction: LinearReconstruction

    @property
    def map(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The matrix, shape (units, units), and the bias, shape (units,)."""
        return self.reconstruction.matrix, self.reconstruction.bias


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """The moments of a layer, and the order in which backward elimination removes its units."""

    moments: Moments
    elimination: Elimination

    def fold(self, unexplained: float) -> _Folding:
        """Return the fold that leaves at most a share of the variance unexplained."""
        mean, covariance = self.moments.mean, self.moments.covariance
        keep = largest_removable(mean, covariance, self.elimination, unexplained)
        if not keep.any():  # a layer that never changes is a bias, which one unit may carry
            keep[self.elimination.order[-1]] = True
        return _Folding(keep, reconstruct(mean, covariance, keep))

    def identity(self) -> _Folding:
        """Return the fold that keeps every unit."""
        keep = np.ones(self.moments.units, np.bool_)
        return _Folding(keep, reconstruct(self.moments.mean, self.moments.covariance, keep))


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone.

    Raises:
        UsageError: units are not feature maps, or the protocol is ``"reference"``.
        DataError: there is one example only.
        ModelError: a layer's activations are not finite.
    """
    if study.protocol == "reference":
        raise UsageError("the published code knows no frivolity; take --protocol paper")
    selector = study.units("map")
    if selector.name != "map":
        raise UsageError(f"frivolity folds feature maps, not units by {selector.name}")
    if study.examples < 2:
        raise DataError(f"frivolity compares examples and {study.data.spec} has one; give more")
    layers = {}
    for site, parts in study.moments(selector):
        moments = merged(parts)
        if not moments.finite:
            raise ModelError(
                f"layer {site.layer} gives activations that are not finite, so frivolity is "
                "undefined: leave it out with --layer, or change the data"
            )
        layers[site.name] = _Layer(moments, eliminate(moments.covariance))
    for layer, sites in scopes(study):
        scope = _Scope(study, selector, layer, sites=sites, layers=layers, options=options)
        yield scope.measurement()


METRIC = Metric(
    measure,
    Options,
    per_unit=True,
    documented=DetailTypes(Fraction, FrivolityDetail, FrivolityDetail),
)


class _Scope:
    """The network, or one layer."""

    def __init__(
        self,
        study: Study,
        selector: UnitSelector,
        layer: str | None,
        *,
        sites: Sequence[Site],
        layers: Mapping[str, _Layer],
        options: Options,
    ) -> None:
        self._study, self._selector, self._options = study, selector, options
        self._layer, self._sites, self._layers = layer, sites, layers
        self._units = sum(site.width for site in sites)

    def measurement(self) -> Measurement:
        """Fold, ablate the kept units, and compare with ablation alone."""
        options = self._options
        unexplained, folds, agreement = self._fold()
        kept = sum(int(fold.keep.sum()) for fold in folds.values())
        both = LevelSearch(
            self._study,
            self._layer,
            partial(self._run, folds),
            curve_level=lambda level: sum(_count(level, f.keep) for f in folds.values()) / kept,
        )
        alone = MaskSchedule(self._study, self._sites, self._selector, self._order).search(
            self._layer, None
        )
        grid = [float(level) for level in np.linspace(0.0, 1.0, options.levels)]
        for search in (alone, both):
            search.evaluate_levels(grid, options.repeats, options.refine, 1 - options.tolerance)
        prunability = alone.measurement("prunability", options, "units switched off")
        of_kept = both.measurement(
            "frivolity", options, "units folded or switched off", self._selector.name
        )
        folded_share = 1 - kept / self._units

        def of_all(share: float) -> float:
            return folded_share + share * kept / self._units

        interval = of_kept.interval and (of_all(of_kept.interval[0]), of_all(of_kept.interval[1]))
        detail = dict(of_kept.detail) | {
            "units": self._units,
            "unexplained": unexplained,
            "agreement_folded": agreement,
            "prunable_alone": prunability.value,
            "levels": [of_all(level) for level in of_kept.detail["levels"]],
            "values": [of_all(value) for value in of_kept.detail["values"]],
            **self._sets(folds, prunability, of_kept),
        }
        return Measurement(
            metric="frivolity",
            scope=of_kept.scope,
            layer=self._layer,
            value=of_all(of_kept.value or 0.0),
            units=self._selector.name,
            interval=interval,
            examples=of_kept.examples,
            detail=detail,
        )

    def _fold(self) -> tuple[float, dict[str, _Folding], float]:
        """Fold as much as the tolerance on labels allows.

        Returns:
            The share of variance that may stay unexplained, the fold of each site by name, and the
            share of labels that folding leaves unchanged.
        """
        tolerances = [self._options.unexplained / 4**i for i in range(QUARTERS)]
        for unexplained in (*tolerances, 0.0):
            folds = {s.name: self._layers[s.name].fold(unexplained) for s in self._sites}
            replacement = LinearReplacement({name: fold.map for name, fold in folds.items()})
            agreement = float(self._study.unchanged([replacement]).shares.mean())
            if agreement >= 1 - self._options.tolerance:
                return unexplained, folds, agreement
        return 0.0, {s.name: self._layers[s.name].identity() for s in self._sites}, 1.0

    def _order(self, site: Site, repeat: int) -> NDArray[np.int64]:
        return random_order(self._study.seed, site.layer, repeat, site.width)

    def _run(self, folds: Mapping[str, _Folding], points: Sequence[CurvePoint]) -> Unchanged:
        maps = {name: fold.map for name, fold in folds.items()}
        replacements = [
            LinearReplacement(
                maps, {s.name: self._remaining(s, folds[s.name].keep, *point) for s in self._sites}
            )
            for point in points
        ]
        return self._study.unchanged(replacements)

    def _remaining(
        self, site: Site, keep: NDArray[np.bool_], repeat: int, level: float
    ) -> NDArray[np.bool_]:
        """Return which units are neither folded nor ablated, shape (units,)."""
        order = self._order(site, repeat)
        order = order[keep[order]]
        remaining = keep.copy()
        remaining[order[: _count(level, keep)]] = False
        return remaining

    def _sets(
        self, folds: Mapping[str, _Folding], prunability: Measurement, of_kept: Measurement
    ) -> dict[str, Any]:
        """Return counts of units, and the overlap with what the best order prunes unfolded."""
        counts = dict.fromkeys(("redundant", "dropped", "left"), 0)
        overlap = {"redundant": 0, "prunable": 0, "both": 0, "by_chance": 0.0}
        per_unit: dict[str, list[Any]] = {}
        for site in self._sites:
            fold = folds[site.name]
            folded = ~fold.keep
            order = self._order(site, prunability.detail["chosen_repeat"])
            count = ablated_units(prunability.value or 0.0, site.width, "paper")
            prunable = ~keep_mask(order, count)
            repeat = of_kept.detail["chosen_repeat"]
            remaining = self._remaining(site, fold.keep, repeat, of_kept.value or 0.0)
            counts["redundant"] += int(folded.sum())
            counts["left"] += int(remaining.sum())
            counts["dropped"] += int((~folded & ~remaining).sum())
            overlap["redundant"] += int(folded.sum())
            overlap["prunable"] += int(prunable.sum())
            overlap["both"] += int((folded & prunable).sum())
            overlap["by_chance"] += float(folded.sum() * prunable.sum() / site.width)
            per_unit = self._table(site, fold, prunable, remaining)
        more: dict[str, Any] = {"per_unit": per_unit} if self._layer is not None else {}
        return counts | {"overlap": overlap} | more

    def _table(
        self,
        site: Site,
        fold: _Folding,
        prunable: NDArray[np.bool_],
        remaining: NDArray[np.bool_],
    ) -> dict[str, list[Any]]:
        """Return the columns of ``per_unit``, one value a unit."""
        layer = self._layers[site.name]
        folded = ~fold.keep
        rank = np.empty(site.width, np.int64)
        rank[layer.elimination.order] = np.arange(site.width)
        variance = layer.moments.variance
        share = [
            float(rest / whole) if whole > 0 and is_folded else None
            for rest, whole, is_folded in zip(
                fold.reconstruction.unexplained, variance, folded, strict=True
            )
        ]
        return {
            "elimination_rank": rank.tolist(),
            "redundant": folded.tolist(),
            "unexplained": share,
            "prunable_alone": prunable.tolist(),
            "left": remaining.tolist(),
        }


def _count(level: float, keep: NDArray[np.bool_]) -> int:
    return ablated_units(level, int(keep.sum()), "paper")
