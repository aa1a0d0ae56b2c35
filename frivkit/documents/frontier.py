"""The document of ``frivkit compress --frontier``."""

from typing import Literal, TypedDict

from frivkit.documents.compression import CalibrationPart, MethodPart, OvershootPart, RecoveryPart
from frivkit.documents.fields import (
    Digest,
    Fraction,
    Milliseconds,
    NonNegative,
    Positive,
    PositiveFraction,
    Some,
    SomeExamples,
    ThreeOf,
    TwoOf,
)
from frivkit.documents.parts import ProvenancePart, TaskPart
from frivkit.documents.verification import ComparedModelPart


class PlanLeftPart(TypedDict):
    """The remaining shares of the original.

    Attributes:
        macs: The share of the multiply-accumulates.
        params: The share of the parameters; biases that a refit adds count.
        units: The share of the units of all layers.
    """

    macs: NonNegative
    params: NonNegative
    units: NonNegative


class PlanAgreementPart(TypedDict):
    """The label agreement with the original.

    Attributes:
        labels: The share of labels that are the same.
        interval: The ends of its 95 % interval.
        same: The number of labels that are the same.
    """

    labels: Fraction
    interval: TwoOf[Fraction]
    same: NonNegative


class PlanLatencyPart(TypedDict):
    """The latency at a batch size.

    Attributes:
        ratio: The first quartile, the median and the third quartile of the share of the
            original's latency, over pairs of turns.
        ms: The median over turns, in milliseconds.
        quartiles_ms: The first and the third quartile over turns.
        rounds: The number of pairs of turns.
        verdict: `faster` or `slower` if three quarters of the pairs say so; else `no
            difference measured`.
    """

    ratio: ThreeOf[NonNegative]
    ms: Milliseconds
    quartiles_ms: TwoOf[Milliseconds]
    rounds: Positive
    verdict: Literal["faster", "slower", "no difference measured"]


class DominatedPart(TypedDict):
    """Whether another plan agrees as often or more and costs no more, and one of both strictly.

    Attributes:
        macs: By multiply-accumulates.
        latency: By the latency at each batch size; null if it was not measured.
    """

    macs: bool
    latency: dict[str, bool | None]


class PlanPart(TypedDict):
    """A plan.

    Attributes:
        share: The budget: at most this share of the multiply-accumulates remains.
        path: The file that was written (`-o`); null without one.
        left: The remaining shares of the original.
        agreement: The label agreement with the original.
        latency: The latency by batch size; null if it was not measured.
        dominated: Whether another plan agrees as often or more and costs no more, and one
            of both strictly.
        predicted_error: The predicted reconstruction error, summed over all steps of the
            plan.
        recovery: What gradients did after the refit, as in a compression.
        overshoot: Why far less is left than the share allows, as in the budget of a compression;
            null if it is not.
    """

    share: PositiveFraction
    path: str | None
    left: PlanLeftPart
    agreement: PlanAgreementPart
    latency: dict[str, PlanLatencyPart | None]
    dominated: DominatedPart
    predicted_error: NonNegative
    recovery: RecoveryPart | None
    overshoot: OvershootPart | None


class LeftOutPart(TypedDict):
    """A requested share without a plan.

    Attributes:
        share: The share.
        reason: Why there is no plan for it.
    """

    share: PositiveFraction
    reason: str


class ChoicePart(TypedDict):
    """Which plan to take.

    Attributes:
        agreement: The least label agreement.
        cost: `latency` or `macs`: what is to be small; by latency, only plans whose
            verdict is `faster` count.
        batch: The batch size whose latency counts; null for `macs`.
        surely: True if the lower end of the 95 % interval must reach the agreement, false
            if the agreement that was found must.
        plan: The `share` of the plan to take; null if none agrees as often, so that the
            original is to be kept.
    """

    agreement: PositiveFraction
    cost: Literal["latency", "macs"]
    batch: Positive | None
    surely: bool
    plan: PositiveFraction | None


class HeldOutPart(TypedDict):
    """The examples on which labels were compared.

    Attributes:
        data: The [data spec](data.md), and in brackets which of its examples.
        sha256: Digest of these examples.
        examples: The number of examples.
        positions: The number of labels of one example.
    """

    data: str
    sha256: Digest
    examples: SomeExamples
    positions: Positive


class FrontierTimingPart(TypedDict):
    """What was timed.

    Attributes:
        device: `cpu` or `cuda`.
        threads: The number of threads (`--threads`); null if ONNX Runtime chooses.
        batches: The batch sizes (`--time-batch`); empty under `--no-time`.
        unmeasured: By batch size the reason why it was not measured.
    """

    device: str
    threads: Positive | None
    batches: list[Positive]
    unmeasured: dict[str, str]


class FrontierDocument(TypedDict):
    """What `frivkit compress --frontier` measured.

    Attributes:
        schema: The kind and the version of the document.
        original: The original model; its latency is the median over its turns beside all
            plans.
        method: Basis, ranking, refit and allocation, as in a compression.
        plans: The plans, at least one, the largest first.
        left_out: The requested shares without a plan.
        choices: Which plan to take.
        calibration: The calibration examples, as in a compression.
        held_out: The examples on which labels were compared.
        timing: What was timed.
        warnings: Warnings.
        provenance: Versions, command and time.
        task: The [task](tasks.md) of the output that was asked for, or of the first.
        tasks: The tasks of all compared outputs, as in an analysis.
    """

    schema: Literal["frivkit.frontier/1"]
    original: ComparedModelPart
    method: MethodPart
    plans: Some[PlanPart]
    left_out: list[LeftOutPart]
    choices: list[ChoicePart]
    calibration: CalibrationPart
    held_out: HeldOutPart
    timing: FrontierTimingPart
    warnings: list[str]
    provenance: ProvenancePart
    task: str
    tasks: Some[TaskPart]
