"""The document of ``frivkit inspect``."""

from typing import Literal, TypedDict

from frivkit.documents.fields import Macs, Natural, Parameters, Positive, Some
from frivkit.documents.parts import (
    LayerGraphPart,
    LayerPart,
    ModelPart,
    ProvenancePart,
    SkippedNodePart,
)


class InputPart(TypedDict):
    """An input of the model.

    Attributes:
        name: Its name.
        dtype: Its type as NumPy writes it, such as `float32`.
        shape: Its shape without the batch axis; a free size is null.
    """

    name: str
    dtype: str
    shape: list[Positive | None]


class InspectedModelPart(ModelPart):
    """The model, with what its file declares.

    Attributes:
        inputs: Its inputs.
        outputs: The names of the outputs.
        batch: The fixed batch size of the file; null if it is free.
        metadata: The metadata of the file.
    """

    inputs: Some[InputPart]
    outputs: Some[str]
    batch: Positive | None
    metadata: dict[str, str]


class InspectedLayerPart(LayerPart):
    """A layer with units, with its producers and consumers.

    Attributes:
        writers: The producers: the nodes whose weights compute the units; of a joined
            layer only those that produce no other layer, possibly none.
        readers: The consumers: the nodes with weights that read the units.
        not_followed: The nodes through which the units could not be followed, with the
            reasons; there may be further consumers behind them.
        parameters: The number of weights of the producers, including biases.
        macs: Multiply-accumulates of the producers for one example; null if a size is
            unknown.
        held: The reason why `compress` with its defaults can remove none of its units;
            null if it can remove one.
        cut_only: Whether units of it can be removed by `--refit none`, and only so.
    """

    writers: list[str]
    readers: list[str]
    not_followed: list[str]
    parameters: Parameters
    macs: Macs | None
    held: str | None
    cut_only: bool


class MergedPart(TypedDict):
    """A layer whose units meet others in a tensor.

    Attributes:
        site: The `name` of the layer, as in `sites`.
        offset: The position of its first unit.
    """

    site: str
    offset: Natural


class MergePointPart(TypedDict):
    """A tensor in which units meet.

    Attributes:
        tensor: The tensor in which they meet.
        kind: `sum`, `product`, `inner` (two tensors are multiplied and summed over the
            units), `depthwise` (a depthwise convolution), `stacked` (channels that a pixel
            shuffle lays out over the places of one) or `shared` (one weight tensor
            produces both): units at one position can only be removed together; the same
            holds for `joined` (a layer that a Concat joins, which comes first, and layers
            that remain beside it); `concat`: the parts are side by side, each unit can be
            removed alone, and the positions behind it move.
        parts: The layers that meet.
    """

    tensor: str
    kind: Literal["sum", "product", "concat", "depthwise", "stacked", "shared", "inner", "joined"]
    parts: Some[MergedPart]


class CouplingPart(TypedDict):
    """Layers whose units meet, so that removing units of one affects the others.

    Attributes:
        name: `coupling 1`, `coupling 2`, … in the order of the network.
        sites: The `name` of each site in it.
        junctions: The merge points, at which units meet.
    """

    name: str
    sites: Some[str]
    junctions: Some[MergePointPart]


class BranchPart(TypedDict):
    """A residual branch that `compress` can drop.

    Attributes:
        node: The node that adds the branch to the skip.
        layers: The layers that lie in it.
    """

    node: str
    layers: list[str]


class LinearNodePart(TypedDict):
    """A node that is linear in units.

    Attributes:
        node: The node's name, or its operator and output if it has none.
        held: The reason why `compress` cannot factorize it; null if it can.
    """

    node: str
    held: str | None


class InspectionDocument(TypedDict):
    """What `frivkit inspect` found.

    Attributes:
        schema: The kind and the version of the document.
        model: The model.
        sites: The layers with units; empty if there is nothing to analyse.
        couplings: Sets of layers whose units meet.
        branches: The residual branches that `compress` can drop.
        factors: The nodes that are linear in units.
        skipped: The nodes that are not analysed.
        layer_graph: How the layers are connected.
        advice: Advice for an analysis, a line each.
        provenance: Versions, command and time.
    """

    schema: Literal["frivkit.inspection/1"]
    model: InspectedModelPart
    sites: list[InspectedLayerPart]
    couplings: list[CouplingPart]
    branches: list[BranchPart]
    factors: list[LinearNodePart]
    skipped: list[SkippedNodePart]
    layer_graph: LayerGraphPart
    advice: list[str]
    provenance: ProvenancePart
