"""How a model is compressed: the basis, the ranking, the refit and the allocation, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.layer_groups import LayerGroup
from frivkit.compression.plan import Plan, Resource, ridge_fits
from frivkit.compression.ridge import Fit
from frivkit.errors import unknown_name
from frivkit.measure.study import Study

Allocation = Literal["global", "uniform"]
"""Whether the next unit to be removed is the cheapest of all layers, or all layers lose alike."""


@dataclass(frozen=True, slots=True)
class Method:
    """The method of a compression.

    Attributes:
        basis: The name of a basis: which units, or which directions, are kept.
        ranking: The name of a ranking: in which order the units of a layer are removed.
        refit: The name of a refit: how consumers compensate removed units.
        allocation: How a budget is distributed among layers.
    """

    basis: str = "select"
    ranking: str = "backward"
    refit: str = "sequential"
    allocation: Allocation = "global"

    def __post_init__(self) -> None:
        """Raise UsageError if there is no such allocation."""
        if self.allocation not in get_args(Allocation):
            raise unknown_name("allocation", self.allocation, get_args(Allocation))


class Basis(Protocol):
    """Makes plans for one model, under a budget or a tolerance.

    Plans hold no fits: the refit adds them.
    """

    def for_budget(self, resource: Resource, share: float, multiple: int) -> Plan:
        """Return the plan of least predicted error under a budget.

        Args:
            resource: The resource that the budget limits.
            share: The share of the original's amount that may be left, in (0, 1].
            multiple: The number that widths are rounded up to a multiple of.

        Raises:
            BudgetError: even the smallest model is larger.
            UsageError: the basis has no such budget.
        """
        ...

    def for_tolerance(self, tolerance: float) -> Plan:
        """Return the smallest plan under a tolerance.

        Args:
            tolerance: The share of its variance that each consumer may lose, in (0, 1).
        """
        ...


Ranker = Callable[[LayerGroup, Study], NDArray[np.int64]]
"""Returns indices into ``layer_group.groups``, the first group to be removed first, each once.

The study is of the calibration examples, for rankings that need more than moments.
"""

BasisFactory = Callable[[Calibration, Ranker, Allocation], Basis]
"""Creates a basis for a model; raises ModelError if nothing of the model can be removed."""

Fitter = Callable[[Calibration, Plan], tuple[Fit, ...]]
"""Returns new weights for the consumers of units that a plan removes."""


@dataclass(frozen=True, slots=True)
class Refit:
    """How consumers compensate removed units.

    Attributes:
        fit: Returns the new weights.
        quick: A substitute while a search tries many plans; takes no pass over the data.
    """

    fit: Fitter
    quick: Fitter = ridge_fits
