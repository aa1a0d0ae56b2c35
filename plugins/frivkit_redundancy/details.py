"""The details of the metrics."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import (
    AnyUnits,
    Fraction,
    Natural,
    OpenFraction,
    Positive,
    Some,
    SomeUnits,
)


class RedundancyDetail(TypedDict):
    """The detail of `redundancy`.

    Attributes:
        tolerance: The share of variance that may remain unexplained.
        rank: The fewest components that explain at least 1 − tolerance; for the network,
            the sum over layers.
        units: The number of units; for the network, the sum over layers.
        rows: The number of observations of each unit.
        explained: The share of variance that the first 1, 2, … components explain, of the
            first 512 at most; null if no unit varies; empty for the network.
        method: How the eigenvalues were computed, `gram`, `examples` or `randomised`;
            absent for the network, as the next two.
        constant_units: The number of units that never change.
        fewer_rows_than_units: True if there are fewer observations than units, which
            limits the rank.
        note: A caveat about the value, if there is one.
        values: The value of each sampling; under the reference protocol only.
        layers: The layers' values; for the network only.
    """

    tolerance: OpenFraction
    rank: Natural
    units: SomeUnits
    rows: Positive
    explained: list[Fraction | None]
    method: NotRequired[Literal["gram", "examples", "randomised"]]
    constant_units: NotRequired[AnyUnits]
    fewer_rows_than_units: NotRequired[bool]
    note: NotRequired[str]
    values: NotRequired[Some[Fraction]]
    layers: NotRequired[Some[Fraction]]


class PredictabilityColumns(TypedDict):
    """Values of single units.

    Attributes:
        value: The share of the unit's variance that the others predict; null for a unit
            that never changes.
    """

    value: Some[Fraction | None]


class PredictabilityDetail(TypedDict):
    """The detail of `predictability`, of a layer.

    Attributes:
        ridge: The ridge, as a share of the largest eigenvalue of the correlation matrix.
        units: The number of units.
        rows: The number of observations of each unit.
        constant_units: The number of units that never change.
        by_chance: The mean value for the same number of independent units.
        fewer_rows_than_units: True if there are fewer observations than units; any unit is
            then predicted, whatever the network.
        per_unit: Values of single units.
        note: The reason why there is no value, or a caveat about it, if there is one.
    """

    ridge: OpenFraction
    units: SomeUnits
    rows: Positive
    constant_units: AnyUnits
    by_chance: Fraction
    fewer_rows_than_units: bool
    per_unit: PredictabilityColumns
    note: NotRequired[str]
