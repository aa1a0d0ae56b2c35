"""Activation noise, weight noise and weight knock-out: the largest level that labels withstand.

The value is the level at which the share of labels that stay what they were falls below 1 -
tolerance, by linear interpolation, for the best of a few random draws, as for prunability.  A
network that withstands the largest level has that level as its value, and ``detail.crossed`` is
false.

Source: perturbation types 3, 0 and 1 of the published code of Casper et al., "Frivolous Units",
AAAI 2021, at levels from 0 to 1.  It computes the curves of activation noise and does not plot
them; noise and knock-out of weights are written there for dense layers and never run, so the
reference protocol has neither.  Here they act on the weights of every layer that has units.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from frivkit.documents.details import CurveDetail, DetailTypes
from frivkit.documents.fields import Fraction, NonNegative
from frivkit.errors import UsageError
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.measure.unchanged import Unchanged
from frivkit.units.perturbations import Noise, Perturbation, WeightKnockout, WeightNoise
from frivkit_ablation.details import AblationDetail
from frivkit_ablation.level_search import (
    CurveOptions,
    CurvePoint,
    LevelSearch,
    examples_and_rounds,
    scopes,
)

Make = Callable[[Mapping[str, str], CurvePoint], Perturbation]
"""Returns the perturbation of sites (layer names by site name) at a repeat and a level."""


@dataclass(frozen=True, slots=True)
class NoiseOptions(CurveOptions):
    """Options of noise.

    Attributes:
        most: The largest level, above 0, in standard deviations.
    """

    most: float = 1.0

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        CurveOptions.__post_init__(self)
        if self.most <= 0:
            raise UsageError(f"most is {self.most}; it must be above 0")


def measure_activation_noise(study: Study, options: NoiseOptions) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone."""

    def make(layers: Mapping[str, str], point: CurvePoint) -> Noise:
        return Noise(layers, point[1], study.seed, point[0])

    across = "the activations' s.d. as noise"
    yield from _measure(
        study, "activation-noise", options, across=across, most=options.most, make=make
    )


def measure_weight_noise(study: Study, options: NoiseOptions) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone."""

    def make(layers: Mapping[str, str], point: CurvePoint) -> WeightNoise:
        return WeightNoise(layers, point[1], study.seed, point[0])

    _require_paper_protocol(study)
    across = "the weights' s.d. as noise"
    yield from _measure(study, "weight-noise", options, across=across, most=options.most, make=make)


def measure_weight_knockout(study: Study, options: CurveOptions) -> Iterator[Measurement]:
    """Measure the whole network jointly, then each layer alone."""

    def make(layers: Mapping[str, str], point: CurvePoint) -> WeightKnockout:
        return WeightKnockout(layers, point[1], study.seed, point[0])

    _require_paper_protocol(study)
    yield from _measure(
        study, "weight-knockout", options, across="weights set to zero", most=1.0, make=make
    )


ACTIVATION_NOISE = Metric(
    measure_activation_noise,
    NoiseOptions,
    documented=DetailTypes(NonNegative, CurveDetail, CurveDetail),
)
WEIGHT_NOISE = Metric(
    measure_weight_noise,
    NoiseOptions,
    documented=DetailTypes(NonNegative, CurveDetail, CurveDetail),
)
WEIGHT_KNOCKOUT = Metric(
    measure_weight_knockout,
    CurveOptions,
    documented=DetailTypes(Fraction, AblationDetail, AblationDetail),
)


def _measure(
    study: Study, metric: str, options: CurveOptions, *, across: str, most: float, make: Make
) -> Iterator[Measurement]:
    examples, rounds = examples_and_rounds(study, options)
    grid = [float(level) for level in np.linspace(0.0, most, options.levels)]
    for layer, sites in scopes(study):
        run = partial(_run, study, make, {site.name: site.layer for site in sites})
        search = LevelSearch(study, layer, run, examples=examples)
        search.evaluate_levels(grid, options.repeats, rounds, 1 - options.tolerance)
        yield search.measurement(metric, options, across)


def _run(
    study: Study, make: Make, layers: Mapping[str, str], points: Sequence[CurvePoint]
) -> Unchanged:
    return study.unchanged([make(layers, point) for point in points])


def _require_paper_protocol(study: Study) -> None:
    if study.protocol == "reference":
        raise UsageError("the published code never perturbs weights; take --protocol paper")
