"""How often one class is the label."""

from collections.abc import Iterable
from dataclasses import dataclass

from frivkit.plugin import Measurement, Metric, Study


@dataclass(frozen=True, slots=True)
class Options:
    """Settings, each with a default.

    Attributes:
        label: The number of the class.
    """

    label: int = 1


def measure(study: Study, options: Options) -> Iterable[Measurement]:
    """Return the share of examples whose label is the class number ``label``."""
    share = float((study.labels() == options.label).mean())
    yield Measurement("its-name", "network", None, share, study.examples)


METRIC = Metric(measure, Options)
