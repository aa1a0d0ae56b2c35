"""The document of ``frivkit compress``."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import (
    AboveZero,
    AnyUnits,
    Digest,
    Examples,
    Natural,
    NonNegative,
    Positive,
    PositiveFraction,
    Seconds,
    Some,
    SomeExamples,
    ThreeOf,
)
from frivkit.documents.files import Int8Document
from frivkit.documents.parts import LayerGraphPart, ProvenancePart, SkippedNodePart
from frivkit.documents.verification import (
    AgreementPart,
    BeforeAfterPart,
    ComparedModelPart,
    LatencyPart,
    OutputsPart,
    WidthsPart,
)


class LeftPart(TypedDict):
    """The remaining shares of the original.

    Attributes:
        macs: The share of the multiply-accumulates.
        params: The share of the parameters; biases that a refit adds count.
        units: The share of the units of all layers.
    """

    macs: NonNegative | None
    params: NonNegative | None
    units: NonNegative | None


class OvershootPart(TypedDict):
    """Why less is left than the budget allows.

    Attributes:
        reached: The share that is left.
        reason: Why it is so little, in words that follow "since".
    """

    reached: NonNegative
    reason: str


class BudgetPart(TypedDict):
    """The budget, and what remains.

    Attributes:
        kind: What the budget is of; `plan` if a plan was given.
        share: The number given with the option; 1 for a plan.
        left: The remaining shares of the original.
        overshoot: Null unless less than nine tenths of the share that a budget of `macs`,
            `params` or `units` allows are left.
    """

    kind: Literal["tolerance", "agreement", "macs", "params", "units", "latency", "plan"]
    share: PositiveFraction
    left: LeftPart
    overshoot: OvershootPart | None


class BudgetPathPart(TypedDict):
    """What was predicted for other budgets, at points of the path on which the plan was found.

    Attributes:
        resource: What the path saves.
        left: The share of it that is left at each point, falling from 1, counted without the
            biases that a refit adds.
        predicted_error: The predicted reconstruction error at each point, summed over all steps.
        plan_error: The same of the plan.
    """

    resource: Literal["macs", "params", "units"]
    left: Some[NonNegative]
    predicted_error: Some[NonNegative]
    plan_error: NonNegative


class MethodPart(TypedDict):
    """How it was compressed.

    Attributes:
        basis: The name of a basis, such as `auto`.
        ranking: The name of a ranking, such as `backward`.
        refit: The name of a refit, such as `sequential`.
        allocation: How the budget is distributed over moves.
    """

    basis: str
    ranking: str
    refit: str
    allocation: Literal["global", "uniform"]


class KindsPart(TypedDict):
    """How many of the removed units are prunable or redundant.

    Attributes:
        leaving: The number of removed units of all layers.
        prunable: The number of them that need no refit: set to zero together, they cost no
            consumer more than 1 % of the variance of its outputs.
        redundant: The number of them whose variance the remaining units explain up to 5 %.
        both: The number of them that are both.
    """

    leaving: AnyUnits
    prunable: AnyUnits
    redundant: AnyUnits
    both: AnyUnits


class WholeLayerPart(TypedDict):
    """A layer of which no unit can be removed.

    Attributes:
        layer: Its name.
        op: The operator that produces its units.
        reason: Why they cannot be removed.
    """

    layer: str
    op: str
    reason: str


class RefitPart(TypedDict):
    """A node with new weights.

    Attributes:
        node: The node's name, or its operator and output if it has none.
        ridge: The strength of the ridge, as a share of the mean variance of the node's
            inputs; 0 under `--refit none`.
        error: The reconstruction error: the squared error of its outputs on held-out
            calibration examples, as a share of their variance, before a ReLU is taken into
            account and without errors of its other inputs; null under `--refit none` and
            if no examples were held out.
    """

    node: str
    ridge: NonNegative
    error: NonNegative | None


class FactorizedNodePart(TypedDict):
    """A factorized node.

    Attributes:
        node: The node's name, which the second of the two new nodes has.
        kind: `pca` (principal directions of its outputs) or `separable` (k × 1, then 1 ×
            k).
        columns: The number of columns of its weight as a matrix: numbers that one output
            is computed from.
        outputs: The number of outputs; of a transposed convolution, one for each position
            of its kernel.
        rank: The inner size of the two new nodes: the number of outputs of the first.
        weights_left: The weights of both nodes, as a share of those that the node would
            have without a factorization.
        error: The reconstruction error, as of a refit.
    """

    node: str
    kind: Literal["pca", "separable"]
    columns: Positive
    outputs: Positive
    rank: Positive
    weights_left: AboveZero
    error: NonNegative | None


class DroppedBranchPart(TypedDict):
    """A residual block whose branch was replaced by its mean.

    Attributes:
        node: The name of the node that adds the branch to the skip.
        error: The variance of the branch, as a share of the variance of the sum, or of what a norm
            behind it makes of both.
    """

    node: str
    error: NonNegative


class ErrorsPart(TypedDict):
    """An error before and after.

    Attributes:
        before: Before the first step.
        after: After the last step.
    """

    before: NonNegative
    after: NonNegative


class RecoveryPart(TypedDict):
    """What gradients did after the refit.

    Attributes:
        kept: Whether the new weights are in the compressed model; if not, it is as the
            refit left it.
        reason: Why it is as the refit left it.
        steps: The steps that were made.
        planned: The steps that were planned.
        passes: The passes over the examples that the steps are.
        examples: The calibration examples that gradients were computed on.
        held_out: The other calibration examples.
        error: The squared error of kept features and outputs on these, as a share of their
            variance; null if it was not measured.
        agreement: The agreement with the original on these, of the task that lost most,
            before the first step and after the last; null if it was not measured.
        stopped: Why steps ended: `done`, `flat` (the error no longer fell), `time`,
            `interrupted` or `undefined` (a loss that is no number).
        seconds: Seconds by the clock.
    """

    kept: bool
    reason: str | None
    steps: Natural
    planned: Natural
    passes: NonNegative
    examples: Examples
    held_out: Examples
    error: ErrorsPart | None
    agreement: BeforeAfterPart | None
    stopped: Literal["done", "flat", "time", "interrupted", "undefined"]
    seconds: Seconds


class CalibrationPart(TypedDict):
    """The calibration examples.

    Attributes:
        data: The [data spec](data.md), and in brackets which of its examples.
        sha256: Digest of these examples.
        examples: The number of examples.
    """

    data: str
    sha256: Digest
    examples: SomeExamples


class BudgetTimingPart(TypedDict):
    """How a budget in time was met.

    Attributes:
        batch: The examples of one run.
        threads: The threads of one run; null for those of the calibration.
        predicted: The share of the original's latency that the latency model predicted.
        measured: The first quartile, the median and the third quartile of the measured
            share.
        tries: The number of plans that were measured.
    """

    batch: Positive
    threads: Positive | None
    predicted: NonNegative
    measured: ThreeOf[NonNegative]
    tries: Positive


class CompressionDocument(TypedDict):
    """What `frivkit compress` did.

    Attributes:
        schema: The kind and the version of the document.
        original: The original model, as in a verification; its latency is null under
            `--dry-run`.
        thin: The compressed model, the same keys; null under `--dry-run`, as are the other
            results of the verification: `task`, `agreement`, `accuracy`, `outputs`,
            `latency`.
        budget: The budget, and what remains.
        method: Basis, ranking, refit and allocation.
        kinds: How many of the removed units are prunable or redundant.
        budget_path: What was predicted for other budgets; null if the plan was found on no path,
            as under `--tolerance` and `--plan`.
        layers: The layers with units, all of them, in the order of the network.
        skipped: What cannot be compressed: first the layers of which no unit can be
            removed, then the skipped nodes, whose units are not analysed, then in
            the same form the nodes that `--basis pca` or `separable` does not factorize.
        layer_graph: How the layers of the original are connected.
        refits: The nodes with new weights.
        factors: The factorized nodes.
        dropped_branches: The residual blocks whose branch was replaced by its mean.
        recovery: What gradients did after the refit; null if none were taken.
        calibration: The calibration examples.
        agreement: The label agreement on the verification examples, as in a verification.
        accuracy: As in a verification.
        outputs: As in a verification.
        latency: As in a verification.
        timing: How a budget in time was met; null for other budgets.
        int8: The int8 file, a [`frivkit.int8/1`](#frivkitint81); null without `--int8`.
        warnings: Warnings.
        provenance: Versions, command and time.
        task: The [task](tasks.md) of the output that counts.
    """

    schema: Literal["frivkit.compression/1"]
    original: ComparedModelPart
    thin: ComparedModelPart | None
    budget: BudgetPart
    method: MethodPart
    kinds: KindsPart
    budget_path: NotRequired[BudgetPathPart | None]
    layers: list[WidthsPart]
    skipped: list[WholeLayerPart | SkippedNodePart]
    layer_graph: LayerGraphPart
    refits: list[RefitPart]
    factors: list[FactorizedNodePart]
    dropped_branches: list[DroppedBranchPart]
    recovery: RecoveryPart | None
    calibration: CalibrationPart
    agreement: AgreementPart | None
    accuracy: BeforeAfterPart | None
    outputs: OutputsPart | None
    latency: LatencyPart | None
    timing: BudgetTimingPart | None
    int8: Int8Document | None
    warnings: list[str]
    provenance: ProvenancePart
    task: str | None
