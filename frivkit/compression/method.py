"""How a model is compressed: the basis, the ranking, the refit and the allocation, by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from frivkit.compression.allocation import Allocation
from frivkit.compression.calibration import Calibration
from frivkit.compression.logit_refit import with_logits
from frivkit.compression.moves import Moves
from frivkit.compression.plan import Plan, ridge_fits
from frivkit.compression.ranking import Ranker
from frivkit.compression.ridge import Fit
from frivkit.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Method:
    """The method of a compression.

    Attributes:
        basis: The name of a basis: which moves make the network smaller.
        ranking: The name of a ranking: in which order the units of a layer are removed.
        refit: The name of a refit: how consumers compensate removed units.
        allocation: How a budget is distributed among layers.
    """

    basis: str = "auto"
    ranking: str = "backward"
    refit: str = "sequential"
    allocation: Allocation = "global"

    def __post_init__(self) -> None:
        """Raise UsageError if there is no such allocation."""
        if self.allocation not in get_args(Allocation):
            raise unknown_name("allocation", self.allocation, get_args(Allocation))


Basis = Callable[[Calibration, Ranker], Moves]
"""Returns the moves that a model allows; those of units follow the ranker."""

Fitter = Callable[[Calibration, Plan], tuple[Fit, ...]]
"""Returns new weights for the nodes that a plan affects, with factors for those it factorizes."""


@dataclass(frozen=True, slots=True)
class Refit:
    """How consumers compensate removed units.

    Attributes:
        fit: Returns the new weights.
        quick: A substitute while a search tries many plans; takes no pass over the data.
        keeps_weights: Whether weights stay as they are, so that units may leave whose consumers
            cannot be refitted.
        recovers: Whether gradients through the whole compressed network follow.
    """

    fit: Fitter
    quick: Fitter = ridge_fits
    keeps_weights: bool = False
    recovers: bool = False

    def refitted(self, calibration: Calibration, plan: Plan, *, quickly: bool = False) -> Plan:
        """Return a plan with new weights.

        Args:
            calibration: The model and its statistics.
            plan: The plan, without fits.
            quickly: Whether to take the substitute.
        """
        if not self.keeps_weights:
            plan = with_logits(calibration, plan)
        fitter = self.quick if quickly else self.fit
        return replace(plan, fits=fitter(calibration, plan))
