"""Metrics and what they give.  A metric asks the study and gives measurements, nothing else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from frivkit.documents.details import DetailTypes
from frivkit.hooks.options import NoOptions
from frivkit.measure.study import Study

Options = TypeVar("Options")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured value.

    Attributes:
        metric: The metric's name, such as ``"prunability"``.
        scope: ``"network"`` or ``"layer"``.
        layer: The layer's name, None for the network.
        value: The value, None when it is undefined (``detail`` then says why).
        units: The unit selector it was measured under, None when units play no part.
        protocol: ``"paper"`` or ``"reference"``.
        interval: A 95 % interval on ``value``; ``detail`` or the metric's page says of what.
        examples: How many examples it rests on.
        detail: What else was found, JSON types only.  Values of single units stand under
            ``per_unit``: ``{column: [one value a unit, None where it is undefined]}``, the column
            being ``value`` where the layer's value is the mean over it.
    """

    metric: str
    scope: str
    layer: str | None
    value: float | None
    examples: int
    units: str | None = None
    protocol: str = "paper"
    interval: tuple[float, float] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric(Generic[Options]):
    """A way to measure a network; what an offer of ``metrics`` names.

    Attributes:
        measure: Called with the study and the options; gives measurements.
        options: Dataclass of the settings that ``--option key=value`` sets, read by
            :func:`frivkit.hooks.options.parse_options`.
        per_unit: Whether the detail of a layer has ``per_unit``, so that a table can be made of it.
        documented: The types of its values and details, of which the reference of JSON is made;
            None if it has none.
    """

    measure: Callable[[Study, Options], Iterable[Measurement]]
    options: type[Options] = NoOptions  # type: ignore[assignment]  # the default of a generic
    per_unit: bool = False
    documented: DetailTypes | None = None
