"""The basis of selection: some of the units themselves stay, and the others leave the graph."""

import numpy as np

from frivkit.compression.allocation import Allocated, allocate, allocate_alike
from frivkit.compression.calibration import Calibration
from frivkit.compression.error_curves import calibrate_error_curves
from frivkit.compression.method import Allocation, Ranker
from frivkit.compression.plan import Keep, Plan, Resource, amount
from frivkit.compression.ranking import Ranking, ranked
from frivkit.errors import BudgetError, ModelError
from frivkit.graph.surgery.narrow import narrow


class Select:
    """Plans that keep some units of each layer.

    Attributes:
        rankings: The order in which the units of each bundle leave.
    """

    def __init__(
        self, calibration: Calibration, ranker: Ranker, allocation: Allocation = "global"
    ) -> None:
        """Rank the units of every bundle.

        Raises:
            ModelError: no unit can leave.
        """
        groups = calibration.pruning_graph.groups
        if not groups.free.any():
            reasons = "; ".join(dict.fromkeys(groups.locked.values())) or "it has no units"
            raise ModelError(f"no unit of {calibration.model.path.name} can leave: {reasons[:300]}")
        self._calibration, self._mode = calibration, allocation
        self._allocations: dict[Resource, Allocated] = {}
        self.rankings = calibrate_error_curves(calibration, _rankings(calibration, ranker))

    def for_budget(self, resource: Resource, share: float, multiple: int) -> Plan:
        """Let the fewest groups leave that a budget asks for, in the order of the allocation."""
        calibration = self._calibration
        allocation = self._allocation(resource)
        whole = amount(calibration.model.ir, calibration, resource, None)
        low, high = 0, len(allocation.order)

        def cost(count: int) -> float:
            keep = self._leave(allocation, count, multiple)
            thin = narrow(calibration.model, calibration.site_map, keep)
            return amount(thin, calibration, resource, keep)

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
        error = float(allocation.errors[low - 1]) if low else 0.0
        return Plan(self._leave(allocation, low, multiple), error)

    def for_tolerance(self, tolerance: float) -> Plan:
        """Let as many units of each bundle leave as its readers bear."""
        groups = self._calibration.pruning_graph.groups
        stays, error = np.ones(groups.count, np.bool_), 0.0
        for ranking in self.rankings:
            count = int(np.searchsorted(ranking.errors, tolerance, side="right"))
            last = 0.0
            for group, cost in zip(ranking.order[:count], ranking.errors[:count], strict=True):
                stays[group] = False
                if not all(stays[groups.of[site]].any() for site in ranking.sites):
                    stays[group] = True  # the last of its site
                    continue
                last = float(cost)
            error += last
        return Plan(groups.flags(stays), error)

    def _allocation(self, resource: Resource) -> Allocated:
        if resource not in self._allocations:
            calibration = self._calibration
            self._allocations[resource] = (
                allocate_alike(calibration.pruning_graph, self.rankings)
                if self._mode == "uniform"
                else allocate(calibration.model, calibration.pruning_graph, self.rankings, resource)
            )
        return self._allocations[resource]

    def _leave(self, allocation: Allocated, count: int, multiple: int) -> Keep:
        """Return the flags of units when the first groups of an allocation have left.

        The number of groups left in each bundle is rounded up to a multiple; the last to leave
        come back.
        """
        groups = self._calibration.pruning_graph.groups
        stays = np.ones(groups.count, np.bool_)
        stays[allocation.order[:count]] = False
        for ranking in self.rankings if multiple > 1 else ():
            members = np.unique(np.concatenate([groups.of[site] for site in ranking.sites]))
            gone = ranking.order[~stays[ranking.order]]
            back = -(len(members) - len(gone)) % multiple
            stays[gone[len(gone) - min(back, len(gone)) :]] = True
        return groups.flags(stays)


def _rankings(calibration: Calibration, ranker: Ranker) -> list[Ranking]:
    study = calibration.study
    return [
        ranked(layer_group, ranker(layer_group, study)) for layer_group in calibration.layer_groups
    ]
