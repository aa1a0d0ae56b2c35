"""What a user demands of a plan beside the budget: widths, layers left whole, shares of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import UsageError, nearest
from frivkit.graph.model import Model
from frivkit.graph.sites.groups import PruningGraph
from frivkit.latency.fast_widths import fast_counts, is_fast_between
from frivkit.latency.target import TargetMachine, target_named, this_machine


@dataclass(frozen=True, slots=True)
class Constraints:
    """What a plan must keep to.

    Attributes:
        round_to: ``"auto"``: layers keep widths at which the kernels of the target are fast.  A
            number: they keep multiples of it; 1 allows every width.  A layer may keep its own
            width in any case.
        target: The name of the machine whose kernels count; None for this one.
        keep_layers: Patterns of layers that are left whole.
        least: Units that each layer keeps at least, if it has that many.
        ratios: Shares of units, in (0, 1], that layers keep, by patterns of their names.
    """

    round_to: int | Literal["auto"] = "auto"
    target: str | None = None
    keep_layers: tuple[str, ...] = ()
    least: int = 1
    ratios: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise UsageError if a number is out of range."""
        if self.round_to != "auto" and self.round_to < 1:
            raise UsageError(f"widths cannot be multiples of {self.round_to}; give 1 or more")
        if self.target is not None:
            target_named(self.target)
        if self.least < 1:
            raise UsageError(f"a layer cannot keep {self.least} units at least; give 1 or more")
        for pattern, share in self.ratios.items():
            if not 0 < share <= 1:
                raise UsageError(
                    f"the share of units of {pattern} is {share:g}; it must lie between 0 and 1"
                )

    def check_layers(self, layers: Sequence[str]) -> None:
        """Raise UsageError if a pattern matches no layer."""
        for pattern in (*self.keep_layers, *self.ratios):
            if not any(fnmatchcase(layer, pattern) for layer in layers):
                raise UsageError(
                    f"no layer matches {pattern!r};{nearest(pattern, layers)} "
                    f"it has {', '.join(layers) or 'none'}"
                )

    def keeps_whole(self, layer: str) -> bool:
        """Whether a layer is left whole."""
        return any(fnmatchcase(layer, pattern) for pattern in self.keep_layers)

    def share_of(self, layer: str) -> float | None:
        """Return the share of units that a layer keeps, None if the budget decides."""
        return next(
            (share for pattern, share in self.ratios.items() if fnmatchcase(layer, pattern)), None
        )


class Widths:
    """The widths that plans may use: numbers of pruning groups of a layer group, and ranks.

    Attributes:
        target: The machine whose kernels count; None if widths are free or given.
    """

    def __init__(
        self,
        model: Model,
        pruning_graph: PruningGraph,
        constraints: Constraints,
        *,
        fine: bool = False,
    ) -> None:
        """Find the widths.

        Args:
            model: The model, with known shapes.
            pruning_graph: Its groups.
            constraints: What is demanded.
            fine: Whether it is enough that convolutions stay fast, see
                :func:`~frivkit.latency.fast_widths.fast_counts`.
        """
        self._fine = fine
        self._groups = pruning_graph.groups
        self._multiple = 1 if constraints.round_to == "auto" else constraints.round_to
        self.target: TargetMachine | None = None
        self._fast: dict[tuple[str, ...], NDArray[np.intp]] = {}
        if constraints.round_to == "auto":
            named = constraints.target
            self.target = this_machine() if named is None else target_named(named)
            counts = fast_counts(model, pruning_graph, self.target, fine=fine)
            self._fast = dict(zip(self._groups.layer_groups, counts, strict=True))

    def counts(self, sites: tuple[str, ...]) -> NDArray[np.intp]:
        """Return the numbers of pruning groups that a layer group may keep, rising."""
        fast = self._fast.get(sites)
        if fast is not None:
            return fast
        total = len(np.unique(np.concatenate([self._groups.of[site] for site in sites])))
        multiples = np.arange(self._multiple, total, self._multiple, dtype=np.intp)
        return np.append(multiples, total)

    def allows_rank(self, rank: int, *, convolves: bool) -> bool:
        """Whether a node may be factorized at a rank.

        Args:
            rank: The rank.
            convolves: Whether the node is a convolution; dense layers have no fast widths.
        """
        if self.target is not None:
            return not convolves or is_fast_between(rank, self.target, fine=self._fine)
        return rank % self._multiple == 0 or rank == 1
