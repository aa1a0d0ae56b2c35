"""Our own implementations of two published factorizations of whole networks, on ONNX files.

``weights``: singular value decompositions of the weights alone.  A k x k convolution becomes a
k x 1 and a 1 x k one (Jaderberg et al., "Speeding up Convolutional Neural Networks with Low Rank
Expansions", BMVC 2014, scheme 2), a 1 x 1 convolution or a dense layer two of its kind.

``activations``: BALF (González Martínez, "BALF: Budgeted Activation-Aware Low-Rank Factorization
for Fine-Tuning-Free Compression", arXiv:2509.25136, 2025): the singular value decomposition of the
weights times the square root of the second moments of their inputs.  A convolution becomes one of
fewer maps and a 1 x 1.  The singular vectors are the eigenvectors of the second moments of the
layer's outputs, so that these are summed and no input has to be unfolded.

Ranks: both maximise the sum over layers of the share of the squared singular values that is kept,
under a budget of multiply-accumulates, by a Lagrange multiplier, as BALF does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from benchmarks.competitors.ratio_search import OutOfReach
from benchmarks.measuring.scoring import amounts
from benchmarks.networks.trained import Network

Kind = Literal["weights", "activations"]
Floats = NDArray[np.float64]

BATCH = 25
BISECTIONS = 100


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of one group or a dense layer.

    Attributes:
        node: Its node.
        weight: Its weights, shape (o, i, h, w) or (o, i).
        bias: The name of its bias, None if it has none.
        positions: The height and width of its output, (1, 1) for a dense layer.
        width_before: The width of its input.
    """

    node: NodeProto
    weight: Floats
    bias: str | None
    positions: tuple[int, int]
    width_before: int

    @property
    def macs(self) -> int:
        """The multiply-accumulates for one example."""
        return int(self.weight.size * np.prod(self.positions))


@dataclass(frozen=True, slots=True)
class Factors:
    """A layer that can be written as two, at any rank.

    Attributes:
        layer: The layer.
        first: The weights of the first one at full rank, shape (rank, ...).
        second: Those of the second one, shape (o, rank, ...).
        energies: The squares of the singular values, falling.
        macs_of_rank: The multiply-accumulates of both for one example, at rank 1.
        separable: Whether the first convolution runs along the height and the second one along the
            width.
    """

    layer: Layer
    first: Floats
    second: Floats
    energies: Floats
    macs_of_rank: int
    separable: bool

    def costs(self) -> Floats:
        """Return the multiply-accumulates of every rank from 1 on that saves some, and of all."""
        ranks = np.arange(1, len(self.energies) + 1)
        costs = ranks[ranks * self.macs_of_rank < self.layer.macs] * self.macs_of_rank
        return np.append(costs, self.layer.macs).astype(np.float64)

    def shares(self) -> Floats:
        """Return the shares of the squared singular values that these ranks keep."""
        kept = np.cumsum(self.energies)[: len(self.costs()) - 1] / self.energies.sum()
        return np.append(kept, 1.0)


def factorize(network: Network, share: float, path: Path, *, kind: Kind) -> None:
    """Write a network with factorized layers.

    Args:
        network: The network.
        share: The share of multiply-accumulates that may be left.
        path: The file.
        kind: What is decomposed.

    Raises:
        OutOfReach: even rank 1 everywhere leaves more.
    """
    model = onnx.load(network.model)
    x, _ = network.examples
    layers = find_layers(model, x)
    if kind == "weights":
        factors = [weight_factors(layer) for layer in layers]
    else:
        moments = output_moments(model, layers, x)
        factors = [activation_factors(layer, moments[layer.node.output[0]]) for layer in layers]
    whole = amounts(network, network.model)["macs"]
    fixed = whole - sum(layer.macs for layer in layers)
    ranks = choose_ranks(factors, share * whole - fixed)
    if ranks is None:
        least = fixed + sum(each.costs()[0] for each in factors)
        raise OutOfReach(float(least / whole))
    for each, rank in zip(factors, ranks, strict=True):
        if rank is not None:
            replace_layer(model, each, rank)
    onnx.save(_without_unused(model), path)


def find_layers(model: onnx.ModelProto, x: NDArray[np.float32]) -> list[Layer]:
    """Return the layers of a model that can be factorized, from input to output."""
    weights = {each.name: each for each in model.graph.initializer}
    nodes = [node for node in model.graph.node if _is_layer(node, weights)]
    exposed = [name for node in nodes for name in (node.input[0], node.output[0])]
    tensors = next(_outputs(model, exposed, x[:1]))
    layers = []
    for node in nodes:
        weight = numpy_helper.to_array(weights[node.input[1]]).astype(np.float64)
        if node.op_type == "MatMul" or (
            node.op_type == "Gemm" and not _attribute(node, "transB", 0)
        ):
            weight = weight.T
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        before, after = (tensors[name].shape for name in (node.input[0], node.output[0]))
        if node.op_type == "Conv":
            layers.append(Layer(node, weight, bias, (after[2], after[3]), before[3]))
        else:
            layers.append(Layer(node, weight, bias, (1, 1), 1))
    return layers


def weight_factors(layer: Layer) -> Factors:
    """Return the factors of the weights alone."""
    weight = layer.weight
    if weight.ndim == 4 and min(weight.shape[2:]) > 1:
        o, i, h, w = weight.shape
        matrix = weight.transpose(1, 2, 0, 3).reshape(i * h, o * w)  # (i h) x (o w)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        root = np.sqrt(values)
        first = (left * root).T.reshape(-1, i, h, 1)
        second = (root[:, None] * right).reshape(-1, o, 1, w).swapaxes(0, 1)
        height, width = layer.positions
        macs = i * h * height * layer.width_before + o * w * height * width
        return Factors(layer, first, second, values**2, macs, separable=True)
    matrix = weight.reshape(len(weight), -1)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return _channel_factors(layer, left * values, right, values**2)


def activation_factors(layer: Layer, moments: Floats) -> Factors:
    """Return the factors from the second moments of the outputs without bias, shape (o, o)."""
    values, vectors = np.linalg.eigh(moments)
    vectors, energies = vectors[:, ::-1], np.maximum(values[::-1], 0)
    matrix = layer.weight.reshape(len(layer.weight), -1)
    return _channel_factors(layer, vectors, vectors.T @ matrix, energies)


def output_moments(
    model: onnx.ModelProto, layers: Sequence[Layer], x: NDArray[np.float32]
) -> dict[str, Floats]:
    """Return the second moments of the outputs of layers without their biases, by output name."""
    biases = {each.name: each for each in model.graph.initializer}
    sums = {layer.node.output[0]: np.zeros((len(layer.weight),) * 2) for layer in layers}
    for outputs in _outputs(model, list(sums), x):
        for layer in layers:
            name = layer.node.output[0]
            rows = np.moveaxis(outputs[name], 1, -1).reshape(-1, len(layer.weight))
            if layer.bias is not None:
                rows = rows - numpy_helper.to_array(biases[layer.bias])
            sums[name] += rows.T @ rows
    return sums


def choose_ranks(factors: Sequence[Factors], budget: float) -> list[int | None] | None:
    """Return the rank of each layer, None for one that is left; None if no ranks fit.

    Args:
        factors: The layers.
        budget: The multiply-accumulates that all of them may take together.
    """
    costs, shares = [each.costs() for each in factors], [each.shares() for each in factors]

    def choice(multiplier: float) -> list[int]:
        pairs = zip(costs, shares, strict=True)
        return [int(np.argmax(share - multiplier * cost)) for cost, share in pairs]

    def cost(chosen: Sequence[int]) -> float:
        return float(sum(one[index] for one, index in zip(costs, chosen, strict=True)))

    if cost([0] * len(factors)) > budget:
        return None
    low, high = 0.0, 1 / max(float(one[-1]) for one in costs)
    if cost(choice(low)) <= budget:
        high = low
    while cost(choice(high)) > budget:
        high *= 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if cost(choice(middle)) <= budget else (middle, high)
    chosen = choice(high)
    return [
        None if index == len(one) - 1 else index + 1
        for one, index in zip(costs, chosen, strict=True)
    ]


def _channel_factors(layer: Layer, left: Floats, right: Floats, energies: Floats) -> Factors:
    """Return factors of which the second one has 1 x 1 kernels, or is dense."""
    tail = (1, 1) if layer.weight.ndim == 4 else ()
    first = right.reshape(-1, *layer.weight.shape[1:])
    second = left.reshape(*left.shape, *tail)
    positions = int(np.prod(layer.positions))
    macs = positions * (first[0].size + len(left))
    return Factors(layer, first, second, energies, macs, separable=False)


def _is_layer(node: NodeProto, weights: Mapping[str, onnx.TensorProto]) -> bool:
    if node.domain not in ("", "ai.onnx") or len(node.input) < 2 or node.input[1] not in weights:
        return False
    dims = len(weights[node.input[1]].dims)
    if node.op_type == "Conv":
        explicit = _attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        return dims == 4 and explicit and _attribute(node, "group", 1) == 1
    if node.op_type == "Gemm":
        scaled = _attribute(node, "alpha", 1.0) != 1 or _attribute(node, "beta", 1.0) != 1
        bias = len(node.input) < 3 or node.input[2] in weights
        return not scaled and bias and not _attribute(node, "transA", 0)
    return node.op_type == "MatMul" and dims == 2


def replace_layer(model: onnx.ModelProto, factors: Factors, rank: int) -> None:
    """Replace the node of a layer by two, in place; the old weights stay in the model."""
    layer, node = factors.layer, factors.layer.node
    stem = node.output[0]
    middle, names = f"{stem}/factor", [f"{stem}/first", f"{stem}/second"]
    for name, weight in zip(names, (factors.first[:rank], factors.second[:, :rank]), strict=True):
        values = np.ascontiguousarray(weight, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    bias = [layer.bias] if layer.bias is not None else []
    if node.op_type == "Conv":
        first, second = _convolution_attributes(factors)
        made = [
            helper.make_node("Conv", [node.input[0], names[0]], [middle], **first),
            helper.make_node("Conv", [middle, names[1], *bias], [stem], **second),
        ]
    elif node.op_type == "Gemm":
        made = [
            helper.make_node("Gemm", [node.input[0], names[0]], [middle], transB=1),
            helper.make_node("Gemm", [middle, names[1], *bias], [stem], transB=1),
        ]
    else:  # MatMul takes weights of shape (i, o)
        for tensor in list(model.graph.initializer)[-2:]:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).T, tensor.name))
        made = [
            helper.make_node("MatMul", [node.input[0], names[0]], [middle]),
            helper.make_node("MatMul", [middle, names[1]], [stem]),
        ]
    at = next(i for i, each in enumerate(model.graph.node) if each.output[:1] == [stem])
    del model.graph.node[at]
    for new in reversed(made):
        model.graph.node.insert(at, new)


def _convolution_attributes(factors: Factors) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of the first and of the second convolution."""
    node = factors.layer.node
    height, width = factors.layer.weight.shape[2:]
    strides, dilations = _attribute(node, "strides", [1, 1]), _attribute(node, "dilations", [1, 1])
    top, left, bottom, right = _attribute(node, "pads", [0, 0, 0, 0])
    if not factors.separable:
        whole = {"kernel_shape": [height, width], "strides": strides, "dilations": dilations}
        return whole | {"pads": [top, left, bottom, right]}, {"kernel_shape": [1, 1]}
    along_height = {"kernel_shape": [height, 1], "strides": [strides[0], 1]}
    along_width = {"kernel_shape": [1, width], "strides": [1, strides[1]]}
    return (
        along_height | {"dilations": [dilations[0], 1], "pads": [top, 0, bottom, 0]},
        along_width | {"dilations": [1, dilations[1]], "pads": [0, left, 0, right]},
    )


def _without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    read = {name for node in model.graph.node for name in node.input}
    kept = [each for each in model.graph.initializer if each.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _outputs(
    model: onnx.ModelProto, names: Sequence[str], x: NDArray[np.float32]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield tensors of the model by name, batch by batch."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    inputs = [each.name for each in exposed.graph.input]
    inner = [name for name in dict.fromkeys(names) if name not in inputs]
    del exposed.graph.output[:]
    exposed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inner)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    content = exposed.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for first in range(0, len(x), BATCH):
        batch = x[first : first + BATCH]
        yield {name: batch, **dict(zip(inner, session.run(inner, {name: batch}), strict=True))}


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
