"""Frivolity: both kinds of frivolous unit together.

First the redundant units of every layer are folded away: units leave by backward elimination as
long as the others, by least squares, explain all but ``unexplained`` of the layer's variance, and
from then on are computed from those that stay.  Then what stays is ablated at random, as for
prunability; a unit that is zero is zero in whatever is computed from it.  The value is the share of
units that are gone, folded or ablated, when the share of labels that stay what they were falls to
1 - tolerance.

Source: Casper et al., "Frivolous Units", AAAI 2021, call compressing by both kinds a promising
possibility (section 6) and do not try it; the order of the two steps, the elimination and the fold
are ours.  Feature maps are units, since a fold acts alike at every place.

Where folding alone would change more labels than the tolerance, less is folded: a quarter of
``unexplained``, and so on; ``detail`` says how much was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import DataError, ModelError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
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
from frivkit_ablation.level_search import CurveOptions, LevelSearch, Try, scopes
from frivkit_ablation.mask_schedule import MaskSchedule

QUARTERS = 4
"""How often a quarter less is folded before only what costs nothing is."""


@dataclass(frozen=True, slots=True)
class Options(CurveOptions):
    """How frivolity is measured.

    Attributes:
        unexplained: Share of a layer's variance that folding may leave unexplained, in (0, 1).
    """

    unexplained: float = 0.05

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        CurveOptions.__post_init__(self)
        if not 0 < self.unexplained < 1:
            raise UsageError(f"unexplained is {self.unexplained}; it must lie between 0 and 1")


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """What the moments of a layer tell."""

    moments: Moments
    elimination: Elimination

    def folded(self, unexplained: float) -> tuple[NDArray[np.bool_], LinearReconstruction]:
        """Return the units that stay, and how the others are computed from them."""
        mean, covariance = self.moments.mean, self.moments.covariance
        keep = largest_removable(mean, covariance, self.elimination, unexplained)
        if not keep.any():  # a layer that never changes is a bias, which one unit may carry
            keep[self.elimination.order[-1]] = True
        return keep, reconstruct(mean, covariance, keep)

    def baseline(self) -> tuple[NDArray[np.bool_], LinearReconstruction]:
        """Return the same where nothing is folded."""
        keep = np.ones(self.moments.units, np.bool_)
        return keep, reconstruct(self.moments.mean, self.moments.covariance, keep)


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone.

    Raises:
        UsageError: units are not feature maps, or the protocol is the reference.
        DataError: there is but one example.
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


METRIC = Metric(measure, Options, per_unit=True)


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
        """Fold, ablate what stays, and compare with ablation alone."""
        options = self._options
        unexplained, folded, agreement = self._fold()
        stays = {name: keep for name, (keep, _) in folded.items()}
        kept = sum(int(keep.sum()) for keep in stays.values())
        maps = {name: (found.matrix, found.bias) for name, (_, found) in folded.items()}
        both = LevelSearch(
            self._study,
            self._layer,
            partial(self._run, stays, maps),
            share=lambda level: sum(_count(level, keep) for keep in stays.values()) / kept,
        )
        alone = MaskSchedule(self._study, self._sites, self._selector, self._order).ladder(
            self._layer, None
        )
        grid = [float(level) for level in np.linspace(0.0, 1.0, options.levels)]
        for ladder in (alone, both):
            ladder.evaluate_levels(grid, options.repeats, options.refine, 1 - options.tolerance)
        pruned = alone.measurement("prunability", options, "units switched off")
        found = both.measurement(
            "frivolity", options, "units folded or switched off", self._selector.name
        )
        gone = 1 - kept / self._units

        def of_all(share: float) -> float:
            return gone + share * kept / self._units

        interval = found.interval and (of_all(found.interval[0]), of_all(found.interval[1]))
        detail = dict(found.detail) | {
            "units": self._units,
            "unexplained": unexplained,
            "agreement_folded": agreement,
            "prunable_alone": pruned.value,
            "levels": [of_all(level) for level in found.detail["levels"]],
            "values": [of_all(value) for value in found.detail["values"]],
            **self._sets(folded, pruned, found),
        }
        return Measurement(
            metric="frivolity",
            scope=found.scope,
            layer=self._layer,
            value=of_all(found.value or 0.0),
            units=self._selector.name,
            interval=interval,
            examples=found.examples,
            detail=detail,
        )

    def _fold(
        self,
    ) -> tuple[float, dict[str, tuple[NDArray[np.bool_], LinearReconstruction]], float]:
        """Fold as much as the labels allow."""
        tries = [self._options.unexplained / 4**i for i in range(QUARTERS)]
        for unexplained in (*tries, 0.0):
            folded = {s.name: self._layers[s.name].folded(unexplained) for s in self._sites}
            fold = LinearReplacement(
                {name: (found.matrix, found.bias) for name, (_, found) in folded.items()}
            )
            labels = self._study.perturb([fold])[0]
            agreement = float((labels == self._study.labels()).mean())
            if agreement >= 1 - self._options.tolerance:
                return unexplained, folded, agreement
        return 0.0, {s.name: self._layers[s.name].baseline() for s in self._sites}, 1.0

    def _order(self, site: Site, repeat: int) -> NDArray[np.int64]:
        return random_order(self._study.seed, site.layer, repeat, site.width)

    def _run(
        self,
        stays: Mapping[str, NDArray[np.bool_]],
        maps: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
        tries: Sequence[Try],
    ) -> NDArray[np.int32]:
        folds = [
            LinearReplacement(
                maps, {s.name: self._left(s, stays[s.name], *one) for s in self._sites}
            )
            for one in tries
        ]
        return self._study.perturb(folds)

    def _left(
        self, site: Site, stays: NDArray[np.bool_], repeat: int, level: float
    ) -> NDArray[np.bool_]:
        """Return the flags of what is left of the units that stay."""
        order = self._order(site, repeat)
        order = order[stays[order]]
        keep = stays.copy()
        keep[order[: _count(level, stays)]] = False
        return keep

    def _sets(
        self,
        folded: Mapping[str, tuple[NDArray[np.bool_], LinearReconstruction]],
        pruned: Measurement,
        found: Measurement,
    ) -> dict[str, Any]:
        """Count what is gone and left, and compare with what the best random order prunes alone."""
        counts = dict.fromkeys(("redundant", "dropped", "left"), 0)
        overlap = {"redundant": 0, "prunable": 0, "both": 0, "by_chance": 0.0}
        per_unit: dict[str, list[Any]] = {}
        for site in self._sites:
            stays, stood_in = folded[site.name]
            away = ~stays
            order = self._order(site, pruned.detail["chosen_repeat"])
            drop = ~keep_mask(order, int((pruned.value or 0.0) * site.width + 0.5))
            repeat = found.detail["chosen_repeat"]
            left = self._left(site, stays, repeat, found.value or 0.0)
            counts["redundant"] += int(away.sum())
            counts["left"] += int(left.sum())
            counts["dropped"] += int((~away & ~left).sum())
            overlap["redundant"] += int(away.sum())
            overlap["prunable"] += int(drop.sum())
            overlap["both"] += int((away & drop).sum())
            overlap["by_chance"] += float(away.sum() * drop.sum() / site.width)
            per_unit = self._table(site, stood_in, away, drop, left)
        more: dict[str, Any] = {"per_unit": per_unit} if self._layer is not None else {}
        return counts | {"overlap": overlap} | more

    def _table(
        self,
        site: Site,
        stood_in: LinearReconstruction,
        away: NDArray[np.bool_],
        drop: NDArray[np.bool_],
        left: NDArray[np.bool_],
    ) -> dict[str, list[Any]]:
        """Return of each unit what became of it."""
        layer = self._layers[site.name]
        rank = np.empty(site.width, np.int64)
        rank[layer.elimination.order] = np.arange(site.width)
        variance = layer.moments.variance
        share = [
            float(rest / whole) if whole > 0 and gone else None
            for rest, whole, gone in zip(stood_in.unexplained, variance, away, strict=True)
        ]
        return {
            "elimination_rank": rank.tolist(),
            "redundant": away.tolist(),
            "unexplained": share,
            "prunable_alone": drop.tolist(),
            "left": left.tolist(),
        }


def _count(level: float, stays: NDArray[np.bool_]) -> int:
    return int(level * stays.sum() + 0.5)
