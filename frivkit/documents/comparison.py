"""The document of ``frivkit compare``."""

from typing import Literal, TypedDict

from frivkit.documents.fields import (
    AnyUnits,
    Digest,
    Examples,
    Fraction,
    NonNegative,
    OpenFraction,
    ScopeName,
    Several,
    Some,
    TwoOf,
)
from frivkit.documents.parts import ProvenancePart, SizedModelPart


class ComparedAnalysisPart(SizedModelPart):
    """An analysis that is compared.

    Attributes:
        label: Its name, different from that of the others.
        units: The number of units of all layers.
        data: The [data spec](data.md).
        data_sha256: Digest of the examples.
        examples: The number of examples.
        accuracy: The accuracy of the network on the labels of the data; null if they have
            none, or if an example has several labels.
    """

    label: str
    units: AnyUnits
    data: str
    data_sha256: Digest
    examples: Examples
    accuracy: Fraction | None


class ComparedLayerPart(TypedDict):
    """A layer of the analyses.

    Attributes:
        names: Its name in each analysis; null if that has none.
        units: Its number of units in each analysis.
    """

    names: Several[str | None]
    units: Several[AnyUnits | None]


class DifferencePart(TypedDict):
    """How far the value of an analysis lies above that of the first.

    Attributes:
        value: The difference; null if a value is undefined.
        interval: The ends of its 95 % interval; null unless both values have one.
        resolution: The smallest difference that both measurements can tell from none: one unit of
            the layer with fewer of them, as a share; 0 if values are no shares of units.
        verdict: Whether the interval is above 0, below 0, or contains 0; also `undecided` if the
            difference is no larger than the resolution; null without an interval.
    """

    value: float | None
    interval: TwoOf[float] | None
    resolution: NonNegative
    verdict: Literal["higher", "lower", "undecided"] | None


class OverNetworksPart(TypedDict):
    """The values over all networks, which say how networks differ that are trained anew.

    Attributes:
        mean: The mean.
        interval: The ends of its 95 % interval by Student's t.
    """

    mean: float
    interval: TwoOf[float]


class ComparedCurvePart(TypedDict):
    """The ablation curve of the chosen repeat in an analysis.

    Attributes:
        levels: The levels that were measured.
        unchanged: The share of unchanged labels at each.
        tolerance: The share of labels that may change.
        across: The quantity of which a level is a share, in words.
    """

    levels: list[Fraction]
    unchanged: list[Fraction]
    tolerance: OpenFraction
    across: str


class ComparedRowPart(TypedDict):
    """The values of the network, or of a layer.

    Attributes:
        scope: Whether the network or a layer was measured.
        layer: The layer, by its name in the first analysis that has it; null for the
            network.
        values: The value in each analysis; null if it is undefined or was not measured.
        intervals: The ends of the 95 % interval of each value.
        differences: For each analysis after the first, how far its value lies above the
            first one's.
        over_networks: The mean over all networks; null unless there are three or more of
            the same widths and all have a value.
        curves: The ablation curve of the chosen repeat in each analysis; null if it has
            none.
    """

    scope: ScopeName
    layer: str | None
    values: Several[float | None]
    intervals: Several[TwoOf[float] | None]
    differences: Some[DifferencePart]
    over_networks: OverNetworksPart | None
    curves: Several[ComparedCurvePart | None]


class ComparedMetricPart(TypedDict):
    """A metric that all analyses have.

    Attributes:
        metric: Its name.
        protocol: The protocol, in the first analysis.
        units: The unit selector, in the first analysis.
        rows: The values of the network, then of each layer.
    """

    metric: str
    protocol: str
    units: str | None
    rows: list[ComparedRowPart]


class ComparisonDocument(TypedDict):
    """What `frivkit compare` found.

    Attributes:
        schema: The kind and the version of the document.
        analyses: What is compared, the first being what the others are compared with.
        layers: The layers.
        metrics: The metrics that all analyses have in common.
        warnings: What makes the analyses hard to compare.
        provenance: Versions, command and time of the comparison.
    """

    schema: Literal["frivkit.comparison/1"]
    analyses: Several[ComparedAnalysisPart]
    layers: list[ComparedLayerPart]
    metrics: Some[ComparedMetricPart]
    warnings: list[str]
    provenance: ProvenancePart
