"""Budgets: the size of a compressed model, or the quality that it must keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from frivkit.errors import UsageError

Kind = Literal["macs", "params", "units", "latency", "tolerance", "agreement", "plan"]


@dataclass(frozen=True, slots=True)
class Budget:
    """The size of the compressed model, or the quality that it must keep.

    Attributes:
        kind: ``"macs"``, ``"params"``, ``"units"`` or ``"latency"``: a share of the original's that
            may be left; ``"tolerance"``: a share of variance that each consumer may lose;
            ``"agreement"``: the least label agreement, at the lower end of its interval.
        share: The number, in (0, 1]; below 1 for a tolerance and an agreement.
    """

    kind: Kind
    share: float

    def __post_init__(self) -> None:
        """Raise UsageError if the number is out of range."""
        if not 0 < self.share <= 1 or (self.kind in ("tolerance", "agreement") and self.share == 1):
            raise UsageError(f"{self.kind} is {self.share:g}; it must lie between 0 and 1")


def one_budget(
    shares: Mapping[Kind, float | None], names: Mapping[Kind, str], *, plan: str | None = None
) -> Budget:
    """Return the one budget that is given.

    Args:
        shares: The share of each kind, None for those that are not given.
        names: The name of each kind in messages.
        plan: The name of a plan that is given beside them, None if none is.

    Raises:
        UsageError: there is none, or more than one, or its share is out of range.

    Example:
        >>> one_budget({"macs": 0.5, "params": None}, {"macs": "--macs", "params": "--params"})
        Budget(kind='macs', share=0.5)
    """
    given = [kind for kind, share in shares.items() if share is not None]
    if len(given) != 1 or plan is not None:
        several = " and ".join([*(names[kind] for kind in given), *filter(None, [plan])])
        problem = f"{several} are given" if given else "no budget is given"
        raise UsageError(f"{problem}; give exactly one of {', '.join(names.values())}")
    return Budget(given[0], shares[given[0]] or 0.0)
