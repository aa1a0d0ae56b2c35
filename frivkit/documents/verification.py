"""The document of ``frivkit verify``."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import (
    AnyUnits,
    Bytes,
    Digest,
    Fraction,
    Milliseconds,
    Natural,
    NonNegative,
    Positive,
    PositiveFraction,
    Some,
    SomeExamples,
    SomeUnits,
    ThreeOf,
    TwoOf,
)
from frivkit.documents.parts import (
    LayerGraphPart,
    ModelFilePart,
    ProvenancePart,
    SkippedNodePart,
    TaskChoicePart,
)


class ComparedModelPart(ModelFilePart):
    """One of two models that are compared.

    Attributes:
        output: The output that is compared.
        bytes: The size of the file with its external data; for a model without a file, of
            its weights.
        latency_ms: By batch size, `1` and `64`, the median time of a run in milliseconds;
            null if it was not measured.
        latency_quartiles_ms: By batch size the first and the third quartile.
        latency_rounds: By batch size the number of rounds.
    """

    output: str
    bytes: Bytes
    latency_ms: dict[str, Milliseconds | None]
    latency_quartiles_ms: dict[str, TwoOf[Milliseconds] | None]
    latency_rounds: dict[str, Positive | None]


class RemovedPart(TypedDict):
    """The removed units of a layer by kind, each counted once.

    Attributes:
        prunable: Those that are prunable and not redundant.
        redundant: Those that are redundant and not prunable.
        both: Those that are both.
        neither: Those that are neither.
        dropped: Those that left with a residual branch that was dropped.
    """

    prunable: AnyUnits
    redundant: AnyUnits
    both: AnyUnits
    neither: AnyUnits
    dropped: AnyUnits


class WidthsPart(TypedDict):
    """A layer before and after.

    Attributes:
        layer: Its name.
        units_before: Its units in the original.
        units_after: Its units in the compressed model; 0 if its branch was dropped.
        removed: Its removed units by kind; null in a verification, which does not know
            them.
        predicted_error: The predicted reconstruction error, the largest `error` among the
            refits of its consumers; null if none of them has one, and in a verification.
    """

    layer: str
    units_before: SomeUnits
    units_after: AnyUnits
    removed: RemovedPart | None
    predicted_error: NonNegative | None


class CountedAgreementPart(TypedDict):
    """How often two models agree.

    Attributes:
        outputs: The outputs that are compared together.
        compares: What is compared, in words, such as `labels`.
        interval: The ends of its 95 % interval, the lower first.
        same: The number of equal labels, of examples × positions.
        positions: The number of labels of one example.
        graded: Whether an example agrees by a degree, as for boxes; then `same` is the sum
            of the degrees, and `positions` is 1.
        undefined: The number of labels that are undefined because an output of the
            compressed model is NaN; they count as different.
        constant: The agreement of a network that gives the same whatever its input.
    """

    outputs: list[str]
    compares: str
    interval: TwoOf[Fraction]
    same: NonNegative
    positions: Positive
    graded: bool
    undefined: Natural
    constant: Fraction


class AgreementPart(CountedAgreementPart):
    """The agreement of the output that counts.

    Attributes:
        labels: The share of labels that are the same for both models; for other tasks the
            share of what is compared.
        examples: The number of examples.
        labels_in_largest_class: The share of the original's labels that are of the most
            frequent class; 1 for a task without labels.
        data: The [data spec](data.md) as it was read, with `n` if `--examples` was given.
        data_sha256: Digest of the examples, their preprocessing and their order.
    """

    labels: Fraction
    examples: SomeExamples
    labels_in_largest_class: PositiveFraction
    data: str
    data_sha256: Digest


class BeforeAfterPart(TypedDict):
    """A share of both models.

    Attributes:
        before: Of the original.
        after: Of the compressed model.
    """

    before: Fraction
    after: Fraction


class OutputDistancePart(TypedDict):
    """How far outputs are apart.

    Attributes:
        max_abs: The largest absolute difference; null if outputs are labels, or one is not
            finite.
        relative_l2: The norm of all differences over the norm of the original's outputs;
            null as above, or if all outputs of the original are zero.
    """

    max_abs: NonNegative | None
    relative_l2: NonNegative | None


class OutputComparisonPart(CountedAgreementPart, TaskChoicePart, OutputDistancePart):
    """The comparison of the outputs of one task.

    Attributes:
        task: The name of the [task](tasks.md).
        agreement: The share that agrees.
        figures: The figures of the task by name, such as `mean_iou`; null for one that is
            not defined.
    """

    task: str
    agreement: Fraction
    figures: dict[str, float | None]


class OutputsPart(OutputDistancePart):
    """The distance of the output that counts, and the comparison of all.

    Attributes:
        each: The comparison of each task, that of the requested or first output first.
        not_compared: By the name of an output why it is not compared.
    """

    each: Some[OutputComparisonPart]
    not_compared: dict[str, str]


class LatencyPart(TypedDict):
    """How latency was measured.

    Attributes:
        device: `cpu` or `cuda`.
        threads: The number of threads (`--threads`); null if ONNX Runtime chooses.
        ratio: By batch size the first quartile, the median and the third quartile of
            compressed / original, each ratio taken within one round; null if it was not
            measured.
        unmeasured: By batch size the reason why it was not measured.
        verdict: By batch size `faster`, `slower` or `no difference measured`, see
            [verify](verify.md#cost); null if it was not measured.
        left_fast_path: Nodes that ONNX Runtime ran in its blocked layout in the original
            and not in the compressed model; looked for on a CPU, where the latter is not
            faster.
    """

    device: str
    threads: Positive | None
    ratio: dict[str, ThreeOf[NonNegative] | None]
    unmeasured: dict[str, str]
    verdict: NotRequired[dict[str, Literal["faster", "slower", "no difference measured", None]]]
    left_fast_path: NotRequired[list[str]]


class VerificationDocument(TypedDict):
    """What `frivkit verify` measured.

    Attributes:
        schema: The kind and the version of the document.
        original: The original model.
        thin: The compressed model, the same keys.
        layers: The layers with units that both models have by name.
        skipped: The layers of the original whose names the compressed model does not have,
            in the form of skipped nodes.
        layer_graph: How the layers of the original are connected.
        agreement: The agreement of the output that counts.
        accuracy: The accuracy of both models on the labels of the data, `before` and
            `after`; null if the data have none, or if an example has several labels.
        outputs: The distance of the output that counts, and the comparison of all.
        latency: How latency was measured.
        warnings: Warnings.
        provenance: Versions, command and time.
        task: The [task](tasks.md) of the output that counts.
    """

    schema: Literal["frivkit.verification/1"]
    original: ComparedModelPart
    thin: ComparedModelPart
    layers: list[WidthsPart]
    skipped: list[SkippedNodePart]
    layer_graph: LayerGraphPart
    agreement: AgreementPart
    accuracy: BeforeAfterPart | None
    outputs: OutputsPart
    latency: LatencyPart
    warnings: list[str]
    provenance: ProvenancePart
    task: str
