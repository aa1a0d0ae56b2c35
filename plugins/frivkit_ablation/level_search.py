"""The curves of one scope, one a repeat, measured level by level; all metrics here share it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from frivkit.errors import DataError, UsageError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.metric import Measurement
from frivkit.measure.study import Study
from frivkit.measure.unchanged import Unchanged
from frivkit.units.statistics import CHANGED, crossings
from frivkit_ablation.curve import AblationCurve, Flags, compact, interval

CurvePoint = tuple[int, float]
"""What is run at once: a repeat and a nominal level."""
BOUNDS = {
    "repeats": (1, 1000),
    "levels": (2, 10_000),
    "refine": (0, 20),
    "batch": (1, 2**31),
    "resamples": (1, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class CurveOptions:
    """Options of metrics with a curve.

    Attributes:
        tolerance: Share of labels that may change, in (0, 1).
        repeats: Random draws; the best one counts.
        levels: Levels of the grid, its two ends included.
        refine: How often the bracket around each crossing is halved after the grid (paper only).
        batch: Batch size that decides which examples the published code would use (reference).
        resamples: Bootstrap draws behind the interval.
    """

    tolerance: float = CHANGED
    repeats: int = 3
    levels: int = 7
    refine: int = 2
    batch: int = 128
    resamples: int = 1000

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance}; it must lie between 0 and 1")
        for name, (least, most) in BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise UsageError(f"{name} is {value}; it must be at least {least}, at most {most}")


class LevelSearch:
    """The curves of one scope: the levels measured so far, and those to measure next.

    Attributes:
        layer: The layer's name, None for the network.
    """

    def __init__(
        self,
        study: Study,
        layer: str | None,
        run: Callable[[Sequence[CurvePoint]], Unchanged],
        *,
        curve_level: Callable[[float], float] = float,
        examples: int | None = None,
    ) -> None:
        """Begin without any level measured.

        Args:
            study: The study.
            layer: The layer's name, None for the network.
            run: Returns how far the network stays what it was, a row for each point.
            curve_level: Returns the level on the curve of a nominal level, such as the share of
                units really ablated.
            examples: How many of the first examples count; None takes all.
        """
        self.layer = layer
        self._study, self._run, self._curve_level = study, run, curve_level
        self._examples = study.examples if examples is None else examples
        self._flags: dict[CurvePoint, Flags] = {}
        self._nominal: dict[float, float] = {}
        self._undefined = 0

    def measure_levels(self, points: Iterable[CurvePoint]) -> None:
        """Run those points whose level on the curve is not measured yet.

        Args:
            points: Repeats and nominal levels.
        """
        nominal = {(repeat, self._curve_level(level)): level for repeat, level in points}
        new = [(point[0], level) for point, level in nominal.items() if point not in self._flags]
        most = self._study.changes_at_once
        for first in range(0, len(new), most):
            self._measure(new[first : first + most])

    def _measure(self, points: Sequence[CurvePoint]) -> None:
        """Run points that are not measured yet, and keep what their curves need."""
        found = self._run(points)
        self._undefined += int(found.undefined[:, : self._examples].sum())
        for point, shares in zip(points, found.shares, strict=True):
            key = self._key(point)
            self._flags[key] = compact(shares[: self._examples])
            self._nominal.setdefault(key[1], point[1])

    def _key(self, point: CurvePoint) -> CurvePoint:
        """Return a repeat and the level on the curve of a repeat and a nominal level."""
        return point[0], self._curve_level(point[1])

    def evaluate_levels(
        self, grid: Sequence[float], repeats: int, rounds: int, threshold: float
    ) -> None:
        """Measure a grid, then halve the bracket of each crossing, all repeats at each level.

        Args:
            grid: Nominal levels.
            repeats: Random draws, each a curve.
            rounds: How often brackets are halved.
            threshold: 1 - tolerance.
        """
        self.measure_levels((repeat, level) for repeat in range(repeats) for level in grid)
        for _ in range(rounds):
            brackets = [self.bracket(repeat, threshold) for repeat in range(repeats)]
            middles = {(low + high) / 2 for low, high in (b for b in brackets if b is not None)}
            self.measure_levels((r, level) for r in range(repeats) for level in sorted(middles))

    def bracket(self, repeat: int, threshold: float) -> tuple[float, float] | None:
        """Return the nominal levels on both sides of a repeat's crossing, None if there is none."""
        curve = self._curve(repeat)
        _, r = crossings(curve.levels, curve.unchanged[:, np.newaxis], threshold)
        if r[0] < 0:
            return None
        low, high = curve.levels[r[0]], curve.levels[r[0] + 1]
        return self._nominal[float(low)], self._nominal[float(high)]

    def measurement(
        self,
        metric: str,
        options: CurveOptions,
        across: str,
        selector: str | None = None,
        **more: Any,
    ) -> Measurement:
        """Return the measurement of the levels measured so far.

        Args:
            metric: The metric's name.
            options: The options it was measured under.
            across: What a level is a share of, in words.
            selector: The unit selector's name, None if units play no part.
            more: Further entries of the detail.
        """
        threshold = 1 - options.tolerance
        curves = [self._curve(repeat) for repeat in range(options.repeats)]
        crossed = [crossings(c.levels, c.unchanged[:, np.newaxis], threshold) for c in curves]
        values = [float(x[0]) for x, _ in crossed]
        chosen = int(np.argmax(values))
        levels = sorted({level for _, level in self._flags})
        if self._undefined:
            self._study.warnings.append(
                f"{self.layer or 'network'}: {metric} made the network give NaN in "
                f"{self._undefined} runs of an example; such labels count as changed"
            )
        generator = np.random.default_rng([self._study.seed, 95])
        return Measurement(
            metric=metric,
            scope="network" if self.layer is None else "layer",
            layer=self.layer,
            value=values[chosen],
            units=selector,
            protocol=self._study.protocol,
            interval=interval(curves, threshold, options.resamples, generator),
            examples=self._examples,
            detail={
                "tolerance": options.tolerance,
                "levels": levels,
                "unchanged": [
                    [self._unchanged(repeat, level) for level in levels]
                    for repeat in range(options.repeats)
                ],
                "chosen_repeat": chosen,
                "values": values,
                "crossed": bool(crossed[chosen][1][0] >= 0),
                "across": across,
                **more,
            },
        )

    def _curve(self, repeat: int) -> AblationCurve:
        levels = sorted(level for r, level in self._flags if r == repeat)
        return AblationCurve(np.array(levels), [self._flags[repeat, x] for x in levels])

    def _unchanged(self, repeat: int, level: float) -> float | None:
        flags = self._flags.get((repeat, level))
        return None if flags is None else float(flags.mean())


def examples_and_rounds(study: Study, options: CurveOptions) -> tuple[int, int]:
    """Return how many examples count, and how often brackets are halved, under the protocol."""
    if study.protocol == "reference":
        return full_batches(study, options.batch), 0
    return study.examples, options.refine


def scopes(study: Study) -> list[tuple[str | None, Sequence[Site]]]:
    """Return what is measured together: the network if it is studied whole, then each layer.

    Returns:
        For each scope the layer's name, None for the network, and its sites.
    """
    layers: list[tuple[str | None, Sequence[Site]]] = [(s.layer, [s]) for s in study.sites]
    return [(None, study.sites), *layers] if study.complete else layers


def full_batches(study: Study, batch: int) -> int:
    """Return how many examples the published code uses: all full batches but one.

    Fewer than two full batches are replaced by two of half the examples, with a warning.

    Raises:
        DataError: there are fewer than two examples.
    """
    n = study.examples
    if n // batch >= 2:
        return (n // batch - 1) * batch
    if n < 2:
        raise DataError(
            f"the reference protocol leaves out a batch and {study.data.description} has {n}"
        )
    smaller = n // 2
    warning = (
        f"the reference protocol uses all full batches of {batch} but one; {n} examples are too "
        f"few, so batches of {smaller} were used"
    )
    if warning not in study.warnings:  # several metrics may give it
        study.warnings.append(warning)
    return (n // smaller - 1) * smaller
