"""Interpretability: the total variation of the images that excite the units of a layer.

Source: Casper et al., "Frivolous Units", AAAI 2021, appendix E: a low total variation means images
of few, large shapes, which are easier to interpret.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from frivkit.documents.details import DetailTypes
from frivkit.documents.fields import NonNegative
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit_featurevis.documents import InterpretabilityDetail


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of the metric.

    Attributes:
        images: Units of each layer that images are found for.
        steps: Steps of gradient ascent.
        method: ``fourier`` or ``phase``.
        position: ``mean`` or ``centre``.
    """

    images: int = 8
    steps: int = 256
    method: Literal["fourier", "phase"] = "fourier"
    position: Literal["mean", "centre"] = "mean"


def measure(study: Study, options: Options) -> Iterator[Measurement]:
    """Measure each layer: the mean total variation of its images, as described in the paper.

    The interval is Student's, over units.
    """
    from frivkit.torch_io.threads import torch_threads
    from frivkit_featurevis.measures import layer_measures
    from frivkit_featurevis.render import Settings, render

    settings = Settings(
        units=options.images,
        steps=options.steps,
        method=options.method,
        position=options.position,
        seed=study.seed,
    )
    with torch_threads(study.execution.threads):
        for found in render(study, settings):
            measures = layer_measures(found)
            values = np.array(measures.values["pixels"])
            yield Measurement(
                metric="interpretability",
                scope="layer",
                layer=found.layer,
                value=float(values.mean()),
                protocol=study.protocol,
                interval=_interval(values),
                examples=study.examples,
                detail={
                    "units": found.width,
                    "chosen": list(found.units),
                    "total_variation": {name: list(v) for name, v in measures.values.items()},
                    "activation_before": list(found.before),
                    "activation_after": list(found.after),
                },
            )


def _interval(values: np.ndarray) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


METRIC = Metric(measure, Options, documented=DetailTypes(NonNegative, InterpretabilityDetail, None))
