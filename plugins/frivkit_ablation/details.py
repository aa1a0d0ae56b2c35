"""The details of the metrics."""

from typing import NotRequired, TypedDict

from frivkit.documents.fields import (
    AnyUnits,
    Columns,
    Fraction,
    Natural,
    NonNegative,
    OpenFraction,
    Several,
    Some,
    SomeUnits,
)


class AblationDetail(TypedDict):
    """The detail of `weight-knockout`; levels and values are shares.

    Attributes:
        tolerance: The share of labels that may change.
        levels: The shares of weights that were set to zero, rising.
        unchanged: For each repeat and level the share of unchanged labels, from 0 to 1;
            null if the repeat was not measured at that level.
        chosen_repeat: The repeat that gave the value: the best one.
        values: The value of each repeat.
        crossed: False when the chosen curve never falls below 1 − tolerance; the value
            then is 1.
        across: The quantity of which a level is a share, in words.
    """

    tolerance: OpenFraction
    levels: Several[Fraction]
    unchanged: Some[Several[Fraction | None]]
    chosen_repeat: Natural
    values: Some[Fraction]
    crossed: bool
    across: str


class FastPart(TypedDict):
    """What `--fast` saved.

    Attributes:
        runs: How many runs of an example were made over all levels and repeats.
        full_runs: How many there are without it.
    """

    runs: Natural
    full_runs: Natural


class PrunabilityDetail(AblationDetail):
    """The detail of `prunability`.

    Attributes:
        units: The number of units under the unit selector.
        fast: What `--fast` saved; absent without it.
    """

    units: SomeUnits
    fast: NotRequired[FastPart]


class TargetedDetail(PrunabilityDetail):
    """The detail of `targeted-prunability`.

    Attributes:
        targets: The target unit of each repeat; empty for the network.
    """

    targets: list[Natural]


class OverlapDetail(TypedDict):
    """How the folded units overlap with those that the best random order prunes if none is folded.

    Attributes:
        redundant: The number of folded units.
        prunable: The number of units that the best random order prunes if none is folded.
        both: The number of units that are prunable and redundant.
        by_chance: The expected number of such units if the two properties were
            independent.
    """

    redundant: AnyUnits
    prunable: AnyUnits
    both: AnyUnits
    by_chance: NonNegative


class FrivolityDetail(PrunabilityDetail):
    """The detail of `frivolity`.

    Attributes:
        redundant: The number of folded units.
        dropped: The number of other units that are set to zero at the value.
        left: The number of remaining units.
        agreement_folded: Label agreement with the original if units are only folded.
        unexplained: The share of variance that folding may leave unexplained.
        prunable_alone: Prunability of the same units if none is folded.
        overlap: The overlap of the folded units with the units that the best random order
            prunes if none is folded.
        per_unit: Values of single units.
    """

    redundant: AnyUnits
    dropped: AnyUnits
    left: AnyUnits
    agreement_folded: Fraction
    unexplained: Fraction
    prunable_alone: Fraction
    overlap: OverlapDetail
    per_unit: NotRequired[Columns]
