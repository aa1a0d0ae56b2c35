"""Parts that several documents have: models, layers, tasks, provenance."""

from typing import Literal, NotRequired, TypedDict

from frivkit.documents.fields import (
    Checksum,
    Digest,
    Macs,
    Moment,
    Natural,
    NonNegative,
    Parameters,
    Positive,
    Seconds,
    SomeUnits,
)


class SizedModelPart(TypedDict):
    """Which model it is, and how large.

    Attributes:
        path: The file as it was given; of a network in memory its variable or its class, in angle
            brackets.
        sha256: SHA-256 of the file, in hexadecimal; with external data, of the SHA-256s of all its
            files, the model first, 32 bytes each.
        parameters: Floating-point weights, and quantized ones (what DequantizeLinear
            reads), each counted once however often it is used.
        macs: Multiply-accumulates of one example: of convolutions, matrix products, also
            of two activations, `Einsum`, recurrent and fused operators; null if a size is
            unknown.
    """

    path: str
    sha256: Digest
    parameters: Parameters
    macs: Macs | None


class ModelFilePart(SizedModelPart):
    """A model that was read.

    Attributes:
        format: The format of the file: `onnx`, `torchscript`, `torch.export`, or
            `torch.nn.Module` from Python.
    """

    format: str


class ModelPart(ModelFilePart):
    """The model.

    Attributes:
        uncounted: Operators whose multiply-accumulates `macs` leaves out: those that
            nothing is known of, and `If`, `Loop` and `Scan` with weights in their bodies.
        trainable_parameters: Those that training changes; only present if they are in the
            file's metadata, as in files of `frivkit train`.
    """

    uncounted: NotRequired[list[str]]
    trainable_parameters: NotRequired[Parameters]


class LayerPart(TypedDict):
    """A layer with units.

    Attributes:
        name: The hook point: the tensor whose units are measured, right after the layer's
            nonlinearity.
        layer: The name that `--layer` matches and that measurements carry.
        op: The operator that produces the units, such as `Conv`; `Concat` for a [joined
            layer](models.md#layers-that-a-concat-joins).
        units: The number of feature maps, or of units of a dense layer.
        spatial: The sizes of the spatial axes; empty for a dense layer.
        coupling: The coupling it belongs to; null if its units meet no others.
    """

    name: str
    layer: str
    op: str
    units: SomeUnits
    spatial: list[Positive]
    coupling: str | None


class SkippedNodePart(TypedDict):
    """A node that is not analysed.

    Attributes:
        node: The node's name, or its operator and output if it has none.
        op: Its operator.
        reason: Why its units are not analysed.
    """

    node: str
    op: str
    reason: str


class GraphNodePart(TypedDict):
    """A node of the graph of layers.

    Attributes:
        kind: What it is.
        name: The tensor of an input, an output or a site; the name of a skipped node.
        op: Its operator; empty for inputs and outputs.
        layer: The layer, as in `sites`; null for what is no layer.
        units: Its number of units; null for what is no layer.
        coupling: The coupling it belongs to; null if its units meet no others, and for
            what is no layer.
    """

    kind: Literal["input", "layer", "skipped", "output"]
    name: str
    op: str
    layer: str | None
    units: SomeUnits | None
    coupling: str | None


class GraphEdgePart(TypedDict("GraphEdgeEnds", {"from": Natural, "to": Positive})):
    """A connection between two nodes of the graph of layers.

    Attributes:
        from: The place in `nodes` that it comes from.
        to: The place that it leads to, after `from`.
        merges: True if it also leads there without passing weights: what it comes from is
            added, multiplied or joined, as in a residual connection.
    """

    merges: bool


class LayerGraphPart(TypedDict):
    """How the layers are connected: the graph of the model without all that lies between them.

    Attributes:
        nodes: The inputs that lead to a layer or an output, the layers with units, the
            nodes with weights that are not analysed, and the outputs, in the order of the
            graph.
        edges: The connections between two of them without a third in between.
    """

    nodes: list[GraphNodePart]
    edges: list[GraphEdgePart]


class TaskChoicePart(TypedDict):
    """Why a task was chosen, and how it compares.

    Attributes:
        reason: Why this task, in words that follow "since".
        axis: The axis along which classes are; null for a task without classes.
        tolerance: The share of its standard deviation that a number may change by; null
            for other tasks.
    """

    reason: str
    axis: int | None
    tolerance: NonNegative | None


class TaskPart(TaskChoicePart):
    """A task: how outputs are compared.

    Attributes:
        name: Its name, such as `classify`.
        outputs: The outputs that it compares together.
        compares: What is counted, in words, such as `labels`.
    """

    name: str
    outputs: list[str]
    compares: str


class SettingPart(TypedDict):
    """An option that was not on the command line.

    Attributes:
        option: The option, such as `--threads`.
        value: Its value as a text.
        source: The variable or the file that it is from.
    """

    option: str
    value: str
    source: str


class ExecutionPart(TypedDict):
    """Where tasks ran.

    Attributes:
        threads: The threads of one task; null if ONNX Runtime chose.
        machines: The number of tasks by the kind of machine: the features of the processor, and
            the versions of the libraries that compute.
    """

    threads: Positive | None
    machines: dict[str, Natural]


class ProvenancePart(TypedDict):
    """Versions, command and time, by which a result can be repeated.

    Attributes:
        frivkit: The version of frivkit.
        python: The version of Python.
        packages: The versions of the packages that results may depend on, if they are
            installed.
        plugins: The versions of the loaded plugins.
        seed: The seed of all random choices; 0 if there are none.
        command: The command line; null if frivkit was called from Python.
        settings: Options that were not on the command line, each from variables or a
            [project file](settings.md).
        started: The time of the start, in UTC, ISO 8601 to the second.
        seconds: The duration.
        execution: Where tasks ran, if any did.
        crc32: [The checksum](#checksums) of the document; what `analyze --json`
            writes has one, and `results.json` of `visualize`.
    """

    frivkit: str
    python: str
    packages: dict[str, str]
    plugins: dict[str, str]
    seed: Natural
    command: list[str] | None
    settings: NotRequired[list[SettingPart]]
    started: Moment
    seconds: Seconds
    execution: NotRequired[ExecutionPart]
    crc32: NotRequired[Checksum]
