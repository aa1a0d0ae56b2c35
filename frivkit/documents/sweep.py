"""The document of the page of a sweep."""

from typing import Literal, TypedDict

from frivkit.documents.fields import NonNegative, Protocol, TwoOf
from frivkit.documents.parts import ProvenancePart


class SweepGainPart(TypedDict):
    """The factor on the number of units when the width doubles.

    Attributes:
        value: The gain; null if it is not defined or infinite.
        interval: The ends of its 95 % interval; null if some width has fewer than two
            trials.
    """

    value: NonNegative | None
    interval: TwoOf[float | None] | None


class SweepCurvePart(TypedDict):
    """A curve in the folder of the sweep.

    Attributes:
        figure: The figure of the paper that it was measured for; empty for none.
        panel: The quantity, such as `prunable`.
        series: The kind of network.
        widths: Factors on the width of the network.
        values: For each width the values of its trials, empty if there are none.
        fixed: Whether the number of measured units is the same at all widths.
        gain: The factor on the number of units when the width doubles; null for panels
            that are no units.
    """

    figure: str
    panel: str
    series: str
    widths: list[NonNegative]
    values: list[list[float]]
    fixed: bool
    gain: SweepGainPart | None


class SweepDocument(TypedDict):
    """What the page of `frivkit sweep --report` is made of and holds.

    Attributes:
        schema: The kind and the version of the document.
        title: The recipe.
        protocol: How gains are averaged.
        curves: The curves in the folder of the sweep.
        warnings: The reductions against the paper.
        provenance: Versions, command and time.
    """

    schema: Literal["frivkit.sweep/1"]
    title: str
    protocol: Protocol
    curves: list[SweepCurvePart]
    warnings: list[str]
    provenance: ProvenancePart
