"""The basis of selection: some units are kept, and the others are removed from the graph."""

import numpy as np

from frivkit.compression.allocation import RemovalOrder, allocate_globally, allocate_uniformly
from frivkit.compression.calibration import Calibration
from frivkit.compression.method import Allocation, Ranker
from frivkit.compression.plan import Keep, Plan, Resource, amount
from frivkit.compression.ranking import Ranking, build_ranking, calibrate_error_curves
from frivkit.errors import BudgetError, ModelError
from frivkit.graph.surgery.narrow import narrow


class Select:
    """Plans that keep some units of each layer.

    Attributes:
        rankings: The ranking of each layer group.
    """

    def __init__(
        self, calibration: Calibration, ranker: Ranker, allocation: Allocation = "global"
    ) -> None:
        """Rank the units of every layer group.

        Raises:
            ModelError: no unit can be removed.
        """
        groups = calibration.pruning_graph.groups
        if not groups.free.any():
            reasons = "; ".join(dict.fromkeys(groups.locked.values())) or "it has no units"
            raise ModelError(
                f"no unit of {calibration.model.path.name} can be removed: {reasons[:300]}"
            )
        self._calibration, self._allocation = calibration, allocation
        self._removal_orders: dict[Resource, RemovalOrder] = {}
        self.rankings = calibrate_error_curves(calibration, _rankings(calibration, ranker))

    def for_budget(self, resource: Resource, share: float, multiple: int) -> Plan:
        """Remove the fewest groups that meet a budget, in the order of the allocation."""
        calibration = self._calibration
        removals = self._removals(resource)
        whole = amount(calibration.model.ir, calibration, resource, None)
        low, high = 0, len(removals.order)

        def cost(count: int) -> float:
            keep = self._keep(removals, count, multiple)
            narrowed = narrow(calibration.model, calibration.site_map, keep)
            return amount(narrowed, calibration, resource, keep)

        least = cost(high)
        if least > share * whole:
            raise BudgetError(
                f"{share:.4g} of the {resource} of {calibration.model.path.name} cannot be met: "
                f"the smallest model has {least / whole:.4g}; ask for more",
                least / whole,
            )
        while low < high:
            middle = (low + high) // 2
            if cost(middle) <= share * whole:
                high = middle
            else:
                low = middle + 1
        error = float(removals.errors[low - 1]) if low else 0.0
        return Plan(self._keep(removals, low, multiple), error)

    def for_tolerance(self, tolerance: float) -> Plan:
        """Remove as many groups of each layer group as the tolerance of its consumers allows."""
        groups = self._calibration.pruning_graph.groups
        kept, error = np.ones(groups.count, np.bool_), 0.0
        for ranking in self.rankings:
            count = int(np.searchsorted(ranking.errors, tolerance, side="right"))
            last = 0.0
            for group, cost in zip(ranking.order[:count], ranking.errors[:count], strict=True):
                kept[group] = False
                if not all(kept[groups.of[site]].any() for site in ranking.sites):
                    kept[group] = True  # the last of its site
                    continue
                last = float(cost)
            error += last
        return Plan(groups.flags(kept), error)

    def _removals(self, resource: Resource) -> RemovalOrder:
        if resource not in self._removal_orders:
            model, graph = self._calibration.model, self._calibration.pruning_graph
            self._removal_orders[resource] = (
                allocate_uniformly(graph, self.rankings)
                if self._allocation == "uniform"
                else allocate_globally(model, graph, self.rankings, resource)
            )
        return self._removal_orders[resource]

    def _keep(self, removals: RemovalOrder, count: int, multiple: int) -> Keep:
        """Return which units are kept when the first ``count`` groups are removed.

        The number of kept groups in each layer group is rounded up to a multiple: the groups that
        were removed last are kept after all.
        """
        groups = self._calibration.pruning_graph.groups
        kept = np.ones(groups.count, np.bool_)
        kept[removals.order[:count]] = False
        for ranking in self.rankings if multiple > 1 else ():
            members = np.unique(np.concatenate([groups.of[site] for site in ranking.sites]))
            removed = ranking.order[~kept[ranking.order]]
            back = -(len(members) - len(removed)) % multiple
            kept[removed[len(removed) - min(back, len(removed)) :]] = True
        return groups.flags(kept)


def _rankings(calibration: Calibration, ranker: Ranker) -> list[Ranking]:
    study = calibration.study
    return [
        build_ranking(layer_group, ranker(layer_group, study))
        for layer_group in calibration.layer_groups
    ]
