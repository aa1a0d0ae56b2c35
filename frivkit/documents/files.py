"""The documents of files that ``frivkit compress`` writes: plans and int8 files."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import (
    Bytes,
    Checksum,
    Digest,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    SomeUnits,
    ThreeOf,
    TwoOf,
)
from frivkit.documents.verification import VerificationDocument


class FloatAgreementPart(TypedDict):
    """The agreement of the int8 file with the float file.

    Attributes:
        labels: The share of labels that are the same.
        interval: Its 95 % interval.
        compares: What is compared, in words, such as `labels`.
    """

    labels: Fraction
    interval: TwoOf[Fraction]
    compares: str


class FloatFilePart(TypedDict):
    """The int8 file against the float file that it was made of.

    Attributes:
        path: The float file.
        bytes: Its size.
        latency_ratio: By batch size the quartiles of the ratio of latencies, int8 / float,
            the median among them; null if it was not measured.
        agreement: The agreement with the float file.
    """

    path: str
    bytes: Bytes
    latency_ratio: dict[str, ThreeOf[NonNegative] | None]
    agreement: FloatAgreementPart


class Int8Document(TypedDict):
    """The int8 file that `frivkit compress --int8` wrote.

    Attributes:
        schema: The kind and the version of the document.
        path: The int8 file.
        weight_bits: 8, or 7 if products of 8 bits saturate on the processor.
        folded: The BatchNormalization nodes that became part of other layers.
        equalized: The tensors whose channels were scaled.
        refined: The nodes whose weights were rounded by the moments of their inputs.
        float_nodes: How many nodes of each operator still compute in float.
        verification: The int8 file against the original.
        against_float: The int8 file against the float file that it was made of.
        warnings: Where int8 loses, and other warnings.
    """

    schema: Literal["frivkit.int8/1"]
    path: str
    weight_bits: Literal[7, 8]
    folded: Natural
    equalized: Natural
    refined: Natural
    float_nodes: dict[str, Positive]
    verification: VerificationDocument
    against_float: FloatFilePart
    warnings: list[str]


class PlannedModelPart(TypedDict):
    """The model that a plan was made for; the plan fits no other.

    Attributes:
        name: Its file's name.
        sha256: SHA-256 of the file, in hexadecimal; with external data, of the SHA-256s of all its
            files, the model first, 32 bytes each.
    """

    name: str
    sha256: Digest


class PlannedLayerPart(TypedDict):
    """A layer in a plan.

    Attributes:
        layer: Its name.
        units: Its number of units in the original; it is not read.
        removed: The units that are removed, counted from 0.
    """

    layer: str
    units: SomeUnits
    removed: list[Natural]


class PlannedFactorPart(TypedDict):
    """A node that is factorized.

    Attributes:
        node: The node's name, or its operator and output if it has none.
        kind: `pca` or `separable`.
        rank: The number of outputs of the first of the two new nodes.
    """

    node: str
    kind: Literal["pca", "separable"]
    rank: Positive


class PlanDocument(TypedDict):
    """The plan that `frivkit compress --save-plan` wrote and `--plan` applies.

    Attributes:
        schema: The kind and the version of the document.
        model: The model that the plan was made for.
        predicted_error: The predicted error, summed over all moves.
        layers: The layers with units.
        factorized: The nodes that are factorized.
        dropped_branches: The names of the nodes that add the branches that are replaced by
            their means.
        crc32: [The checksum](#checksums); with a wrong one or none, `--plan`
            warns that the plan was edited or is damaged.
    """

    schema: Literal["frivkit.plan/1"]
    model: PlannedModelPart
    predicted_error: NonNegative
    layers: list[PlannedLayerPart]
    factorized: list[PlannedFactorPart]
    dropped_branches: list[str]
    crc32: NotRequired[Checksum]
