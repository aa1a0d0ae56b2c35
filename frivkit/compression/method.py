"""How a model is made thinner: which basis, ranking, refit and allocation, all by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.layer_groups import LayerGroup
from frivkit.compression.plan import Plan, Resource, ridge_fits
from frivkit.compression.ridge import Fit
from frivkit.measure.study import Study

Allocation = Literal["global", "uniform"]
"""Whether the next unit to go is the cheapest of all layers, or all layers go alike."""


@dataclass(frozen=True, slots=True)
class Method:
    """What a model is made thinner by.

    Attributes:
        basis: The name of a refactorer: which units, or which directions, stay.
        ranking: The name of a ranking: in which order the units of a layer leave.
        refit: The name of a refit: how what reads them takes over.
        allocation: How a budget is shared out among layers.
    """

    basis: str = "select"
    ranking: str = "backward"
    refit: str = "sequential"
    allocation: Allocation = "global"


class Basis(Protocol):
    """Plans under budgets: what a refactorer gives for one model.

    Plans hold no fits: the refit adds them.
    """

    def for_budget(self, resource: Resource, share: float, multiple: int) -> Plan:
        """Return the plan of least predicted error under a budget.

        Args:
            resource: What is counted.
            share: What may be left of it, in (0, 1].
            multiple: What widths are rounded up to a multiple of.

        Raises:
            BudgetError: even the smallest model that can be made is larger.
            UsageError: this basis knows no such budget.
        """
        ...

    def for_tolerance(self, tolerance: float) -> Plan:
        """Return the smallest plan of which each reader loses a share of variance at most."""
        ...


Ranker = Callable[[LayerGroup, Study], NDArray[np.int64]]
"""Gives the places in ``layer_group.groups`` from the first group to leave to the last, each once.

The study is of the calibration examples; it is there for rankings that look at more than moments.
"""

BasisFactory = Callable[[Calibration, Ranker, Allocation], Basis]
"""Opens a basis for a model; raises ModelError where nothing of the model can leave."""

Fitter = Callable[[Calibration, Plan], tuple[Fit, ...]]
"""Gives new weights for what reads units that leave under a plan."""


@dataclass(frozen=True, slots=True)
class Refit:
    """How what reads units takes over from those that leave.

    Attributes:
        fit: Gives the new weights.
        quick: Stands in for it while a search tries many plans; takes no pass over the data.
    """

    fit: Fitter
    quick: Fitter = ridge_fits
