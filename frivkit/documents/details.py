"""The keys of the detail of a measurement, and where a metric says which keys it gives."""

from typing import Any, NamedTuple, NotRequired, TypedDict

from frivkit.documents.fields import Fraction, Natural, NonNegative, OpenFraction, Several, Some


class CurveDetail(TypedDict):
    """The detail of a metric that sets units to zero, or changes them, at rising levels.

    Attributes:
        tolerance: The share of labels that may change.
        levels: The levels that were measured, rising; for ablations, the shares of units
            that were set to zero.
        unchanged: For each repeat and level the share of unchanged labels, from 0 to 1;
            null if the repeat was not measured at that level.
        chosen_repeat: The repeat that gave the value: the best one.
        values: The value of each repeat.
        crossed: False when the chosen curve never falls below 1 − tolerance; the value
            then is 1.
        across: The quantity of which a level is a share, in words; the title of the axis.
    """

    tolerance: OpenFraction
    levels: Several[NonNegative]
    unchanged: Some[Several[Fraction | None]]
    chosen_repeat: Natural
    values: Some[NonNegative]
    crossed: bool
    across: str


class MeansDetail(TypedDict):
    """The detail of a network whose value is the mean over its layers that have a value.

    Attributes:
        layers: The values of the layers, in their order.
        undefined_layers: The number of nulls among them.
        note: The reason, if there is no value.
    """

    layers: Some[Fraction | None]
    undefined_layers: Natural
    note: NotRequired[str]


class DetailTypes(NamedTuple):
    """What the measurements of a metric are.

    Attributes:
        value: The type of their values.
        layer: The type of the detail of a layer; None if layers are not measured.
        network: The type of the detail of the network; None if it is not measured.
    """

    value: Any
    layer: type | None
    network: type | None
