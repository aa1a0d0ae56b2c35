"""Curves whose levels are run on as few examples as say on which side of the threshold they lie.

A crossing depends on the two levels around it; all others only say that it is not with them.  So
each level is run on examples that are drawn at random, more and more of them, until an interval of
its share of unchanged labels lies on one side of the threshold.  The two levels around each
crossing are run on all examples in the end.  So the crossing is that of the full measurement unless
an interval missed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from math import sqrt
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from frivkit.measure.metric import Measurement
from frivkit.measure.study import Study
from frivkit.measure.unchanged import Unchanged
from frivkit.units.statistics import FLOAT64_ROUNDING
from frivkit_ablation.level_search import CurveOptions, CurvePoint, LevelSearch

FIRST = 64
"""Examples that every level is run on; then twice as many, and so on."""
DEVIATIONS = 4.0
"""Half of an interval's width in standard deviations; it misses once in about 16,000 levels."""


class RunAmong(Protocol):
    """Returns how far the network stays what it was, a row for each point, a column an example."""

    def __call__(self, points: Sequence[CurvePoint], among: NDArray[np.int64] | None) -> Unchanged:
        """Run points on the examples of some indices, None for all."""


def side_is_sure(mean: float, drawn: int, threshold: float) -> bool:
    """Whether the interval of a share lies on one side of a threshold.

    The interval is Wilson's, which holds for shares between 0 and 1, too: their variance is at most
    that of flags.  Source: Wilson, "Probable Inference", JASA 22 (1927).

    Args:
        mean: The mean over the examples that were drawn, in [0, 1].
        drawn: How many were.
        threshold: What the share of all examples is compared with.

    Example:
        >>> side_is_sure(0.2, 64, 0.8), side_is_sure(0.75, 64, 0.8), side_is_sure(0.75, 4096, 0.8)
        (True, False, True)
    """
    z = DEVIATIONS**2
    centre = (drawn * mean + z / 2) / (drawn + z)
    half = DEVIATIONS * sqrt(drawn * mean * (1 - mean) + z / 4) / (drawn + z)
    return abs(centre - threshold) > half


class FastSearch(LevelSearch):
    """Curves of one scope, levels far from a crossing being run on some examples only.

    The share of a level counts, where examples were not run, as that of those that were.

    Attributes:
        made: How many runs of an example were made, over all levels.
        full: How many a full measurement of the same levels makes.
    """

    def __init__(
        self,
        study: Study,
        layer: str | None,
        run: RunAmong,
        threshold: float,
        *,
        curve_level: Callable[[float], float],
        examples: int | None,
    ) -> None:
        """Begin without any level measured.

        Args:
            study: The study.
            layer: The layer's name, None for the network.
            run: As for :class:`LevelSearch`, and takes the indices of the examples to run, None for
                all.
            threshold: 1 - tolerance.
            curve_level: As for :class:`LevelSearch`.
            examples: As for :class:`LevelSearch`.
        """
        everything = partial(run, among=None)
        super().__init__(study, layer, everything, curve_level=curve_level, examples=examples)
        self._run_among, self._threshold = run, threshold
        self._order = np.random.default_rng([study.seed, 18]).permutation(self._examples)
        self._seen: dict[CurvePoint, int] = {}
        whole = study.task.comparer.of_set  # an example is compared by all others
        self._first = self._examples if whole else min(FIRST, self._examples)
        self.made = self.full = 0

    def measurement(
        self,
        metric: str,
        options: CurveOptions,
        across: str,
        selector: str | None = None,
        **more: Any,
    ) -> Measurement:
        """Return the measurement, the levels around each crossing being run on all examples."""
        while True:
            brackets = [self.bracket(repeat, self._threshold) for repeat in range(options.repeats)]
            ends = [(i, x) for i, ends in enumerate(brackets) if ends is not None for x in ends]
            open_ends = [point for point in ends if self._seen[self._key(point)] < self._examples]
            if not open_ends:
                break
            self._run_until(open_ends, self._examples)
        saving: Mapping[str, int] = {"runs": self.made, "full_runs": self.full}
        return super().measurement(metric, options, across, selector, fast=saving, **more)

    def _measure(self, points: Sequence[CurvePoint]) -> None:
        self.full += self._examples * len(points)
        undecided, count = list(points), self._first
        while undecided:
            self._run_until(undecided, count)
            undecided = [point for point in undecided if not self._is_decided(point)]
            count = min(2 * count, self._examples)

    def _is_decided(self, point: CurvePoint) -> bool:
        key = self._key(point)
        mean, seen = float(self._flags[key].mean()), self._seen[key]
        if seen == self._examples:
            return True
        return side_is_sure(mean, seen, self._threshold - FLOAT64_ROUNDING)

    def _run_until(self, points: Iterable[CurvePoint], count: int) -> None:
        """Run points on the examples that are drawn next, until so many were."""
        by_seen = sorted(points, key=self._seen_by)
        for seen, group in groupby(by_seen, key=self._seen_by):
            some = list(group)
            drawn = np.sort(self._order[seen:count])
            found = self._run_among(some, among=None if len(drawn) == self._examples else drawn)
            if len(drawn) < len(found.shares[0]):  # all were run, and some do not count
                found = Unchanged(found.shares[:, drawn], found.undefined[:, drawn])
            self.made += len(some) * len(drawn)
            self._undefined += int(found.undefined.sum())
            for point, shares in zip(some, found.shares, strict=True):
                self._note(point, drawn, shares, count)

    def _note(
        self,
        point: CurvePoint,
        drawn: NDArray[np.int64],
        shares: NDArray[np.float64],
        count: int,
    ) -> None:
        """Keep the shares of examples; those that are not run yet get the mean of the others."""
        key = self._key(point)
        kept = self._flags.get(key, np.empty(self._examples))
        kept[drawn] = shares
        kept[self._order[count:]] = kept[self._order[:count]].mean()
        self._flags[key], self._seen[key] = kept, count
        self._nominal.setdefault(key[1], point[1])

    def _seen_by(self, point: CurvePoint) -> int:
        return self._seen.get(self._key(point), 0)
