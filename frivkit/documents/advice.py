"""The document of ``frivkit advise``."""

from typing import Literal, TypedDict

from frivkit.documents.fields import (
    AtLeastOne,
    AtLeastTwo,
    Digest,
    Fraction,
    NonNegative,
    Protocol,
    ScopeName,
    Some,
    SomeExamples,
    SomeUnits,
    TwoOf,
)
from frivkit.documents.parts import ModelFilePart, ProvenancePart


class AdvisedSharesPart(TypedDict):
    """The shares of a network's own units.

    Attributes:
        prunable: Those that are prunable.
        redundant: Those that are redundant.
    """

    prunable: Fraction
    redundant: Fraction


class AdvisedModelPart(ModelFilePart):
    """A network of the family.

    Attributes:
        width: The width, as a factor on that of the narrowest network.
        units: The number of units of all layers.
        accuracy: The accuracy on the labels of the data, as in an analysis.
        labels_in_largest_class: The share of the network's labels that are of the most
            frequent class.
        shares: What was measured of this network alone; `growth` has the mean over the
            networks of a width.
    """

    width: AtLeastOne
    units: SomeUnits
    accuracy: Fraction | None
    labels_in_largest_class: Fraction
    shares: AdvisedSharesPart


class AdviceDataPart(TypedDict):
    """The examples.

    Attributes:
        spec: The [data spec](data.md).
        sha256: Digest of the examples.
        examples: The number of examples.
    """

    spec: str
    sha256: Digest
    examples: SomeExamples


class FamilyLayerPart(TypedDict):
    """A layer of the family.

    Attributes:
        layer: Its name in the narrowest network.
        units: Its number of units in each of `models`.
        fixed: Whether these are equal.
    """

    layer: str
    units: list[SomeUnits]
    fixed: bool


class UnitCountPart(TypedDict):
    """How many units are of the kind at a width, the mean over the networks of that width.

    Attributes:
        width: The width.
        units: The number of all units.
        share: The share of the kind.
        interval: The ends of its 95 % interval, the lower first; null if there are too few
            examples for one.
        number: Share × units.
        used: The number of the other units.
        used_interval: The ends of its 95 % interval.
    """

    width: AtLeastOne
    units: SomeUnits
    share: Fraction
    interval: TwoOf[Fraction] | None
    number: NonNegative
    used: NonNegative
    used_interval: TwoOf[NonNegative] | None


class UsedGainPart(TypedDict):
    """The gain of the other units.

    Attributes:
        value: The mean factor of a doubling; null if it is not defined or infinite.
        interval: The ends of its 95 % interval; an infinite end is null. Null if it is not
            known, or would have no width.
        factors: The factor of each step between widths, as one of a doubling
            ([which](advise.md#what-is-measured)).
    """

    value: NonNegative | None
    interval: TwoOf[NonNegative | None] | None
    factors: list[NonNegative | None]


class GainPart(UsedGainPart):
    """The gain of the units of the kind.

    Attributes:
        covers: Whether the interval covers how networks of one width differ, or how
            exactly each was measured; null without an interval.
        verdict: Whether the interval is above 2, below 2, or contains 2; null without an
            interval, or if the layer is fixed. Where the interval covers the measurement, it is
            said of these files, not of other networks of their widths.
    """

    covers: Literal["networks", "measurement"] | None
    verdict: Literal["faster", "slower", "undecided"] | None


class NextWidthPart(TypedDict):
    """Twice the widest width, extrapolated.

    Attributes:
        width: Twice the widest width.
        units: The number of units there.
        used_added: The number of used units that it adds if their gain goes on, negative
            if they become fewer; null if the gain is not defined.
        used_added_interval: The ends of its 95 % interval.
    """

    width: AtLeastTwo
    units: SomeUnits
    used_added: float | None
    used_added_interval: TwoOf[float] | None


class GrowthPart(TypedDict):
    """How the units of a kind grow with the width.

    Attributes:
        kind: The kind of units.
        scope: Whether the network or a layer was measured.
        layer: The layer, as in `layers`; null for the network.
        fixed: Whether it has equally many units at all widths.
        counts: One for each width, narrowest first, the mean over the networks of that
            width.
        gain: The gain of the units of the kind.
        used_gain: The gain of the other units.
        holds: The narrowest width with as many units as are used at the widest, at the
            upper end of the interval if there is one.
        next: Twice the widest width, extrapolated.
    """

    kind: Literal["prunable", "redundant"]
    scope: ScopeName
    layer: str | None
    fixed: bool
    counts: Some[UnitCountPart]
    gain: GainPart
    used_gain: UsedGainPart
    holds: AtLeastOne
    next: NextWidthPart


class AdviceDocument(TypedDict):
    """What `frivkit advise` measured.

    Attributes:
        schema: The kind and the version of the document.
        models: The networks, narrowest first.
        data: The examples.
        protocol: Whether the paper's text or its published code was followed.
        layers: The layers, in the order of the network.
        growth: The units of both kinds, `prunable` before `redundant`: of the network,
            then of each layer.
        advice: Which width holds the used units, and what the next doubling buys; with one
            width the numbers of units, and that growth needs several.
        warnings: Warnings about data and measurements.
        provenance: Versions, command and time.
    """

    schema: Literal["frivkit.advice/1"]
    models: Some[AdvisedModelPart]
    data: AdviceDataPart
    protocol: Protocol
    layers: Some[FamilyLayerPart]
    growth: list[GrowthPart]
    advice: TwoOf[str]
    warnings: list[str]
    provenance: ProvenancePart
