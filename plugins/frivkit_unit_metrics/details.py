"""The details of the metrics."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import (
    AnyUnits,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    PositiveFraction,
    Signed,
    Some,
    SomeUnits,
    TwoOrMore,
    UpToFour,
)


class CorrelationColumns(TypedDict):
    """Values of single units.

    Attributes:
        value: The mean absolute correlation with the other units; null for a constant unit
            and for a single one, as the next two.
        largest: The largest absolute correlation.
        most_like: The unit with the largest one, the first of several.
    """

    value: Some[Fraction | None]
    largest: Some[Fraction | None]
    most_like: Some[Natural | None]


class CorrelationDetail(TypedDict):
    """The detail of `correlation`, of a layer.

    Attributes:
        units: The number of units.
        rows: The number of observations of each unit.
        constant_units: The number of units that never change.
        pairs: The number of pairs of distinct units that are not constant.
        dropped_by_the_code: The number of pairs that the published code would drop as too
            similar.
        mean_by_the_code: The mean of the others; null if there are none.
        quantile_levels: The shares of pairs for which there are quantiles.
        quantiles: The absolute correlations at these quantiles; empty without pairs.
        histogram: Pairs in bins of equal width from 0 to 1.
        per_unit: Values of single units.
        note: The reason why there is no value, or a caveat about it, if there is one.
    """

    units: SomeUnits
    rows: Positive
    constant_units: AnyUnits
    pairs: Natural
    dropped_by_the_code: Natural
    mean_by_the_code: Fraction | None
    quantile_levels: list[Fraction]
    quantiles: list[Fraction]
    histogram: list[Natural]
    per_unit: CorrelationColumns
    note: NotRequired[str]


class SimilarityColumns(TypedDict):
    """Values of single units.

    Attributes:
        count: The number of other units to which the unit is similar.
    """

    count: Some[Natural]


class SimilarityDetail(TypedDict):
    """The detail of `similarity`, of a layer.

    Attributes:
        units: The number of units.
        rows: The number of observations of each unit.
        constant_units: The number of units that never change.
        threshold: The least absolute correlation of similar units.
        count_mean: The mean number of other units that a unit is similar to.
        count_sd: Its standard deviation over units.
        per_unit: Values of single units.
        note: The reason why there is no value, or a caveat about it, if there is one.
    """

    units: SomeUnits
    rows: Positive
    constant_units: AnyUnits
    threshold: PositiveFraction
    count_mean: NonNegative
    count_sd: NonNegative
    per_unit: SimilarityColumns
    note: NotRequired[str]


class SelectivityColumns(TypedDict):
    """Values of single units.

    Attributes:
        value: The unit's selectivity; null if it is undefined.
        favourite: The class with its largest mean, as labelled in the data; null if the
            selectivity is null.
    """

    value: Some[Fraction | None]
    favourite: Some[int | None]


class SelectivityDetail(TypedDict):
    """The detail of `selectivity`, of a layer.

    Attributes:
        units: The number of units.
        rows: The number of observations of each unit.
        classes: The number of classes in the labels of the data.
        undefined_units: The number of units without a selectivity.
        low: The selectivity below which a unit counts as unselective.
        low_share: The share of such units among those that have one; null if none has.
        first_half: The mean selectivity in the first half of the examples, of
            `generalisation_units`; null without any, as the next two.
        second_half: The same in the second half, for the favourite class of the first.
        generalisation: The mean squared difference of the two.
        generalisation_units: The number of units with a selectivity in both halves.
        per_unit: Values of single units.
        note: The reason why there is no value, or a caveat about it, if there is one.
    """

    units: SomeUnits
    rows: Positive
    classes: TwoOrMore
    undefined_units: AnyUnits
    low: PositiveFraction
    low_share: Fraction | None
    first_half: Signed | None
    second_half: Signed | None
    generalisation: UpToFour | None
    generalisation_units: AnyUnits
    per_unit: SelectivityColumns
    note: NotRequired[str]


class DeadUnitsColumns(TypedDict):
    """Values of single units.

    Attributes:
        value: 1 for a unit that is always 0.
        mean: The unit's mean activation.
        sd: Its standard deviation; 0 for a unit that never changes.
    """

    value: Some[Literal[0, 1]]
    mean: Some[float]
    sd: Some[NonNegative]


class DeadUnitsDetail(TypedDict):
    """The detail of `dead-units`, of a layer.

    Attributes:
        units: The number of units.
        rows: The number of observations of each unit.
        zero_units: The number of units that are always 0.
        constant_units: The number of units that never change.
        constant_share: The share of units that never change.
        per_unit: Values of single units.
    """

    units: SomeUnits
    rows: Positive
    zero_units: AnyUnits
    constant_units: AnyUnits
    constant_share: Fraction
    per_unit: DeadUnitsColumns
