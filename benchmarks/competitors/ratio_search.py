"""The search for the pruning ratio at which a competitor meets a budget."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring.scoring import Amounts, amounts
from benchmarks.networks.trained import Kind, Network

COARSE, FINE = 32, 16
"""The number of coarse steps of the ratio, and of fine steps in each; 1/512 is less than a unit."""


class OutOfReach(Exception):  # noqa: N818  # a finding, and no error
    """A budget that a competitor cannot meet.

    Attributes:
        least: The smallest share that it reaches.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"cannot: stays at {least:.2f}")
        self.least = least


class RatioSearch:
    """Finds the least ratio at which a competitor meets a budget.

    The remaining share may grow with the ratio: Torch-Pruning does not prune a layer that would
    lose all of its channels.  So ratios are tried in rising order, and a bisection is made only
    between the first one that meets the budget and the one before it.

    Args:
        write: A function that writes the compressed file of a ratio in [0, 1).
        network: The network.
        path: The path of files.
    """

    def __init__(self, write: Callable[[float, Path], None], network: Network, path: Path) -> None:
        self._write, self._network, self._path = write, network, path
        self._whole = amounts(network, network.model)
        self._known: dict[int, Amounts] = {}

    def ratio(self, kind: Kind, level: float) -> float:
        """Return the least ratio at which at most the share ``level`` remains.

        Raises:
            OutOfReach: no ratio does.
        """
        steps = range(FINE, COARSE * FINE, FINE)
        high = next((step for step in steps if self._share(kind, step) <= level), None)
        if high is None:
            raise OutOfReach(min(self._share(kind, step) for step in steps))
        low = high - FINE
        while high - low > 1:
            middle = (low + high) // 2
            if self._share(kind, middle) <= level:
                high = middle
            else:
                low = middle
        return high / (COARSE * FINE)

    def _share(self, kind: Kind, step: int) -> float:
        if step not in self._known:
            self._write(step / (COARSE * FINE), self._path)
            self._known[step] = amounts(self._network, self._path)
        return self._known[step][kind] / self._whole[kind]
