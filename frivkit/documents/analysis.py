"""The document of ``frivkit analyze``."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import (
    AboveZero,
    Columns,
    Digest,
    Examples,
    Fraction,
    Positive,
    PositiveFraction,
    Protocol,
    ScopeName,
    Some,
    SomeExamples,
    TwoOf,
)
from frivkit.documents.parts import (
    LayerGraphPart,
    LayerPart,
    ModelPart,
    ProvenancePart,
    SkippedNodePart,
    TaskPart,
)


class AnalysisDataPart(TypedDict):
    """The examples.

    Attributes:
        spec: The [data spec](data.md) as it was read, with `n` if `--examples` was given.
        sha256: Digest of the examples, their preprocessing and their order; equal data
            have equal digests.
        examples: The number of examples.
        labels_in_largest_class: The share of the baseline network's labels that are of the
            most frequent class; 1 for a task without labels.
        accuracy: The accuracy of the baseline network on the labels of the data; null if
            the data have none, or if an example has several labels.
        warnings: Warnings about the data, for example that noise is used in place of them.
        constant_agreement: The agreement of a network that gives the same whatever its
            input, see [tasks](tasks.md#a-constant-network).
    """

    spec: str
    sha256: Digest
    examples: SomeExamples
    labels_in_largest_class: PositiveFraction
    accuracy: Fraction | None
    warnings: list[str]
    constant_agreement: Fraction


class LabelsPart(TypedDict):
    """How labels were read from the output.

    Attributes:
        output: The name of the output.
        axis: The axis of the output along which classes are, counted with the batch
            (`--label-axis`); null if the output holds quantities.
        change: For quantities (`--regression`): the tolerance, as a share of an entry's
            standard deviation over the data; an entry that changes by less counts as
            unchanged.
    """

    output: str
    axis: int | None
    change: AboveZero | None


class AnyDetail(TypedDict):
    """Further results of a metric, with keys of its own.

    Attributes:
        per_unit: Values of single units: columns by name, each with one number, string, boolean
            or null for each unit, in the order of the units.
    """

    per_unit: NotRequired[Columns]


class MeasurementPart(TypedDict):
    """A measured value.

    Attributes:
        metric: The metric's name.
        scope: Whether the network or a layer was measured.
        layer: The layer, as in `sites`; null for the network.
        units: The unit selector (`map`, `location` or a plugin's); null if units play no
            part.
        protocol: Whether the paper's text or its published code was followed.
        value: The value; null if it is undefined or not finite.
        interval: The ends of a 95 % interval of the value, the lower first; null if the
            metric gives none or an end is not finite.
        examples: The number of examples on which the value is based.
        detail: Further results; each metric has its own keys.
    """

    metric: str
    scope: ScopeName
    layer: str | None
    units: str | None
    protocol: Protocol
    value: float | None
    interval: TwoOf[float | None] | None
    examples: Examples
    detail: AnyDetail


class AnalysisProvenancePart(ProvenancePart):
    """Versions, command and time of an analysis, and what it covers.

    Attributes:
        reused: The number of results of each kind that were read from the cache.
        layers: The analysed layers: those that `--layer` selects, or all.
    """

    reused: dict[str, Positive]
    layers: Some[str]


class AnalysisDocument(TypedDict):
    """What `frivkit analyze` measured.

    Attributes:
        schema: The kind and the version of the document.
        model: The model.
        data: The examples.
        labels: How labels were read from the output.
        sites: The layers with units, all of them, in the order of the network.
        skipped: The nodes that are not analysed.
        layer_graph: How the layers are connected.
        measurements: The measured values.
        warnings: Warnings about the measurements.
        provenance: Versions, command and time.
        task: The [task](tasks.md) of the output that was asked for, or of the first.
        tasks: The tasks of all outputs, that one first.
    """

    schema: Literal["frivkit.analysis/1"]
    model: ModelPart
    data: AnalysisDataPart
    labels: LabelsPart
    sites: Some[LayerPart]
    skipped: list[SkippedNodePart]
    layer_graph: LayerGraphPart
    measurements: list[MeasurementPart]
    warnings: list[str]
    provenance: AnalysisProvenancePart
    task: str
    tasks: Some[TaskPart]
