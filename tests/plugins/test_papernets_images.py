"""The paper's convolutional networks: sizes, protocols, and what frivkit finds in them."""

from copy import deepcopy
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from frivkit.data import open_data
from frivkit.errors import DataError, UsageError
from frivkit.experiments.train import train
from frivkit.hooks.options import parse_options
from frivkit.hooks.registry import installed
from frivkit.measure.pipeline import Request, analyze, inspect_model, load_model
from frivkit.progress import Silent
from frivkit.torch_io.export import exported
from frivkit.units.masks import random_order
from frivkit_papernets.alexnet import AlexNetOptions
from frivkit_papernets.inception import InceptionOptions, inception, inception_layer
from frivkit_papernets.layers import LocalResponseNorm, halving_pool
from frivkit_papernets.nonlinearity import Activation
from tests.zoo.independent import ran

WIDTHS = (0.25, 0.5, 1, 2, 4)

# Casper et al. 2021, figure E1, and the notebook it was drawn by.
PUBLISHED = {
    ("alexnet-cifar", (3, 32, 32), 10): (438746, 1749930, 6989642, 27938442, 111713546),
    ("resnet56", (3, 32, 32), 10): (54518, 215362, 856058, 3413482, 13632458),
    ("resnet18", (3, 224, 224), 1001): (831513, 3057225, 11694249, 45710697, 180713193),
    ("inception-v3", (3, 299, 299), 1001): (2286026, 7571266, 27145970),
    ("inception-v3-layer", (3, 299, 299), 1001): (
        *(25993598, 26350842, 27145970, 29058786, 34174658),
    ),
    ("mlp", (10,), 2): (418, 834, 1666, 3330, 6658),
    ("mlp", (10_000,), 2): (320098, 640194, 1280386, 2560770, 5121538),
}
CASES = [
    (*net, width, count)
    for net, counts in PUBLISHED.items()
    for width, count in zip(WIDTHS, counts, strict=False)
]


def build(name, shape, classes, width, **options):
    design = installed().load("architectures", name)
    if "protocol" not in design.options.__dataclass_fields__:
        options.pop("protocol", None)
    return design.build(shape, classes, width, parse_options(design.options, options))


def trainable(net):
    return sum(weight.numel() for weight in net.parameters() if weight.requires_grad)


def test_all_published_numbers_are_compared():
    assert len(CASES) == 33


@pytest.mark.parametrize(("name", "shape", "classes", "width", "published"), CASES)
def test_reference_has_the_published_number_of_parameters(name, shape, classes, width, published):
    with torch.device("meta"):
        net = build(name, shape, classes, width, protocol="reference")
    assert trainable(net) == published


@pytest.mark.parametrize(
    ("name", "shape", "classes", "number"),
    [
        ("resnet56", (3, 32, 32), 10, 856_058),
        # Of 16 kernels of 3 x 3 in the blocks, each grows by 40 places.
        ("resnet18", (3, 224, 224), 1001, 11_694_249 + 40 * sum(
            before * after + 3 * after * after
            for before, after in ((64, 64), (64, 128), (128, 256), (256, 512))
        )),
        # Without the auxiliary classifier: 768 -> 128 -> 768 (5 x 5) -> 1001.
        ("inception-v3", (3, 299, 299), 1001, 27_145_970 - (
            768 * 128 + 128 + 128 * 768 * 25 + 768 + 768 * 1001 + 1001
        )),
    ],
)  # fmt: skip
def test_paper_s_text_has_the_parameters_counted_by_hand(name, shape, classes, number):
    with torch.device("meta"):
        assert trainable(build(name, shape, classes, 1)) == number


def test_reference_inception_alone_keeps_one_branch_as_it_is():
    with torch.device("meta"):
        paper = build("inception-v3", (3, 299, 299), 10, 0.5)
        reference = build("inception-v3", (3, 299, 299), 10, 0.5, protocol="reference")
    branch = "mixed_17x17x768d.branch_pool.last"
    assert paper.get_submodule(branch).out_channels == 96
    assert reference.get_submodule(branch).out_channels == 192


def maps_at(net, layer, size):
    """Return the height of the maps of a layer in an image of ``size`` x ``size``."""
    seen = []
    net.get_submodule(layer).register_forward_hook(lambda *call: seen.append(call[2].shape[2]))
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, size, size))
    return seen[0]


@pytest.mark.parametrize(
    ("name", "size", "protocol", "heights"),
    [
        ("resnet56", 32, "paper", [32, 32, 32, 32]),
        ("resnet56", 32, "reference", [32, 32, 16, 8]),
        ("resnet20", 32, "paper", [32, 32, 32, 32]),
        ("resnet20", 32, "reference", [32, 32, 16, 8]),
        ("resnet18", 224, "paper", [112, 28, 14, 7, 4]),
        ("resnet18", 224, "reference", [112, 56, 28, 14, 7]),
    ],
)
def test_strides_are_those_of_the_protocol(name, size, protocol, heights):
    net = build(name, (3, size, size), 10, 1 / 16, protocol=protocol)
    layers = ["conv1", *(f"stage{stage}" for stage in range(1, len(heights)))]
    assert [maps_at(net, layer, size) for layer in layers] == heights


def test_resnet20_is_resnet56_of_three_blocks_a_stage():
    with torch.device("meta"):
        small, large = (build(name, (3, 32, 32), 10, 1) for name in ("resnet20", "resnet56"))
    shapes = {name: p.shape for name, p in large.named_parameters()}
    assert {name: p.shape for name, p in small.named_parameters()} == {
        name: shape
        for name, shape in shapes.items()
        if not any(f".block{number}." in name for number in range(4, 10))
    }


def test_inception_has_the_maps_its_modules_are_named_after():
    net = build("inception-v3", (3, 299, 299), 10, 1 / 16)
    modules = [name for name, _ in net.named_children() if name.startswith("mixed")]
    assert len(modules) == 11
    for name in modules:
        assert name.startswith(f"mixed_{maps_at(net, name, 299)}x")


@pytest.mark.parametrize(("name", "momentum", "eps"), [
    ("resnet56", {"paper": 0.1, "reference": 0.003}, 1e-5),
    ("inception-v3", {"paper": 0.0003, "reference": 0.0003}, 1e-3),
])  # fmt: skip
@pytest.mark.parametrize("protocol", ["paper", "reference"])
def test_batch_norm_is_that_of_the_protocol(name, momentum, eps, protocol):
    net = build(name, (3, 107, 107), 10, 1 / 16, protocol=protocol)
    norms = [each for each in net.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert {(each.momentum, each.eps) for each in norms} == {(momentum[protocol], eps)}


@pytest.mark.parametrize("size", range(1, 10))
def test_pooling_pads_as_tensorflow_does(size):
    x = -1 - np.random.default_rng(size).random((1, 1, size, size)).astype(np.float32)
    half = -(-size // 2)
    before = max(2 * (half - 1) + 3 - size, 0) // 2  # TensorFlow's SAME
    windows = [slice(max(2 * i - before, 0), 2 * i - before + 3) for i in range(half)]
    expected = [[x[0, 0, rows, columns].max() for columns in windows] for rows in windows]
    found = halving_pool(size, size)(torch.from_numpy(x))
    np.testing.assert_array_equal(found[0, 0].numpy(), expected)


@pytest.fixture
def loud():
    """Return response normalisation strong enough to be seen, images of 7 maps, and its result."""
    x = np.random.default_rng(0).normal(size=(2, 7, 3, 4)).astype(np.float32)
    around = [(x[:, max(i - 2, 0) : i + 3] ** 2).sum(axis=1) for i in range(7)]
    expected = x / (1 + 0.3 * np.stack(around, axis=1)) ** 0.75
    return LocalResponseNorm(alpha=0.3), x, expected


def test_response_normalisation_sums_the_squares_of_five_maps(loud):
    norm, x, expected = loud
    np.testing.assert_allclose(norm(torch.from_numpy(x)).numpy(), expected, rtol=1e-5)


def test_response_normalisation_becomes_one_node_that_does_the_same(loud):
    norm, x, _ = loud
    content = exported(norm, x, {})  # which compares ONNX Runtime with torch
    assert [n.op_type for n in onnx.load_from_string(content).graph.node] == ["LRN"]


@pytest.mark.parametrize("name", ["cnn", "alexnet-cifar", "resnet20", "resnet18"])
def test_layout_in_memory_changes_neither_logits_nor_gradients(name):
    fast = build(name, (3, 32, 32), 10, 1 / 8).train().double()
    plain = deepcopy(fast).to(memory_format=torch.contiguous_format)
    maps = [w for w in fast.parameters() if w.ndim == 4 and min(w.shape) > 1]
    assert maps
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in maps)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    for net in (fast, plain):
        net(x).square().sum().backward()
    torch.testing.assert_close(fast(x), plain(x))
    for one, other in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-9)


def test_auxiliary_classifier_has_no_say():
    net = build("inception-v3", (3, 107, 107), 10, 1 / 16, protocol="reference").eval()
    x = torch.randn(2, 3, 107, 107)
    before = net(x)
    for weight in net.auxiliary.parameters():
        weight.data.fill_(torch.nan)
    assert torch.equal(net(x), before)
    fresh = build("inception-v3", (3, 107, 107), 10, 1 / 16, protocol="reference").eval()
    assert fresh.auxiliary(torch.randn(2, net.auxiliary.proj.in_channels, 5, 5)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(3, 107, 150), (1, 299, 107)])
def test_auxiliary_classifier_fits_its_place(shape):
    net = inception(shape, 10, 1 / 16, InceptionOptions("reference")).eval()
    seen = []
    net.mixed_17x17x768e.register_forward_hook(lambda *call: seen.append(call[2]))
    with torch.no_grad():
        assert net(torch.zeros(1, *shape)).shape == (1, 10)
        assert net.auxiliary(seen[0]).shape == (1, 10)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("alexnet-cifar", (1, 1, 1)),
        ("alexnet-cifar", (2, 9, 6)),
        ("resnet56", (1, 1, 3)),
        ("resnet20", (1, 1, 3)),
        ("resnet18", (1, 1, 5)),
        ("inception-v3", (3, 75, 76)),
    ],
)
def test_smallest_and_odd_images_give_logits(name, shape):
    net = build(name, shape, 4, 1 / 16).eval()
    with torch.no_grad():
        assert net(torch.zeros(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "shape", "protocol", "least"),
    [
        ("alexnet-cifar", (64,), "paper", 1),
        ("resnet56", (8, 8), "paper", 1),
        ("resnet20", (8, 8), "paper", 1),
        ("resnet18", (1, 0, 8), "paper", 1),
        ("inception-v3", (3, 74, 80), "paper", 75),
        ("inception-v3-layer", (3, 200, 106), "reference", 107),
    ],
)
def test_what_is_no_image_of_that_size_is_refused(name, shape, protocol, least):
    with pytest.raises(DataError, match=f"{name} needs .* {least} x {least}.*use mlp"):
        build(name, shape, 4, 1, protocol=protocol)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_is_a_share(dropout):
    with pytest.raises(UsageError, match="0 to below 1"):
        AlexNetOptions(dropout=dropout)


def test_inception_refuses_a_negative_scale():
    with pytest.raises(UsageError, match="negative"):
        InceptionOptions(std=-1)


def test_dropout_works_in_training_only():
    net = build("alexnet-cifar", (3, 8, 8), 3, 0.25, dropout="0.5")
    x = torch.randn(1, 3, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


# What the paper ablates: index 0, 1, ... of its layers, and maps x places at width 1 / 16.
TAPS = {
    ("alexnet-cifar", 32): {
        "conv1": ("/relu1/Relu_output_0", (6, 32, 32)),
        "conv2": ("/relu2/Relu_output_0", (16, 16, 16)),
        "fc3": ("/relu3/Relu_output_0", (24,)),
        "fc4": ("/relu4/Relu_output_0", (12,)),
    },
    ("resnet56", 8): {
        "conv1": ("/conv1/relu/Relu_output_0", (1, 8, 8)),
        "stage1.block9.conv2": ("/stage1/block9/relu/Relu_output_0", (1, 8, 8)),
        "stage2.block9.conv2": ("/stage2/block9/relu/Relu_output_0", (2, 4, 4)),
        "stage3.block9.conv2": ("/stage3/block9/relu/Relu_output_0", (4, 2, 2)),
    },
    ("resnet20", 8): {
        "conv1": ("/conv1/relu/Relu_output_0", (1, 8, 8)),
        "stage1.block3.conv2": ("/stage1/block3/relu/Relu_output_0", (1, 8, 8)),
        "stage2.block3.conv2": ("/stage2/block3/relu/Relu_output_0", (2, 4, 4)),
        "stage3.block3.conv2": ("/stage3/block3/relu/Relu_output_0", (4, 2, 2)),
    },
    ("resnet18", 32): {
        "conv1": ("/conv1/relu/Relu_output_0", (4, 16, 16)),
        "stage1.block2.conv2": ("/stage1/block2/relu/Relu_output_0", (4, 8, 8)),
        "stage2.block2.conv2": ("/stage2/block2/relu/Relu_output_0", (8, 4, 4)),
        "stage3.block2.conv2": ("/stage3/block2/relu/Relu_output_0", (16, 2, 2)),
        "stage4.block2.conv2": ("/stage4/block2/relu/Relu_output_0", (32, 1, 1)),
    },
}


def write(name, size, path, protocol="reference", width=1 / 16):
    torch.manual_seed(0)
    net = build(name, (3, size, size), 5, width, protocol=protocol)
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    joined = installed().load("architectures", name).joined
    path.write_bytes(exported(net, x, {"frivkit.joined": ",".join(joined)}))
    return path


def chosen(name, path):
    """Return the sites that the layers of an architecture pick, and the file."""
    patterns = installed().load("architectures", name).layers
    study = analyze(Request(path, data="gaussian?n=8", layers=patterns), []).study
    return study.sites, onnx.load(path)


@pytest.mark.parametrize(("name", "size"), TAPS)
def test_layers_of_the_paper_are_sites_where_it_taps_them(name, size, tmp_path):
    sites, file = chosen(name, write(name, size, tmp_path / "net.onnx"))
    assert {site.layer: (site.name, site.shape) for site in sites} == TAPS[name, size]
    producers = {output: node.op_type for node in file.graph.node for output in node.output}
    assert {producers[site.name] for site in sites} == {"Relu"}


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky-relu": lambda x: np.where(x < 0, 0.2 * x, x),  # TensorFlow's slope
    "elu": lambda x: np.where(x < 0, np.exp(x) - 1, x),
    "selu": lambda x: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(x), x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def test_all_activations_are_tried():
    assert set(ACTIVATIONS) == set(get_args(Activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("name", "layers"),
    [("alexnet-cifar", ["conv1", "conv2", "fc3", "fc4"]), ("mlp", ["fc1", "fc2"])],
)
def test_layers_are_tapped_after_their_activation(name, layers, activation, tmp_path):
    depth = {"depth": "2"} if name == "mlp" else {}
    net = build(name, (3, 8, 8), 5, 1 / 16, activation=activation, **depth)
    x = np.random.default_rng(0).normal(size=(16, 3, 8, 8)).astype(np.float32)
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(net, x, {}))
    _, found = inspect_model(Request(path))
    assert [site.layer for site in found.sites] == layers
    file = onnx.load(path)
    file.graph.output.extend(onnx.ValueInfoProto(name=site.name) for site in found.sites)
    runtime = onnxruntime.InferenceSession(file.SerializeToString())
    with_outputs = runtime.run([site.name for site in found.sites], {"x": x})
    for layer, values in zip(layers, with_outputs, strict=True):
        written = []
        hook = net.get_submodule(layer).register_forward_hook(
            lambda *call, written=written: written.append(call[2].detach().numpy())
        )
        net.eval()(torch.from_numpy(x))
        hook.remove()
        assert written[0].min() < 0 < written[0].max()
        wanted = ACTIVATIONS[activation](written[0].astype(float))
        np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5)


# The paper's 16 layers with their units at width 1: convolutions, and what each module joins, the
# maps that it only pools included.
SIXTEEN = {
    "conv0": 32, "conv1": 32, "conv2": 64, "conv3": 80, "conv4": 192,
    "mixed_35x35x256a": 256, "mixed_35x35x288a": 288, "mixed_35x35x288b": 288,
    **{f"mixed_17x17x768{letter}": 768 for letter in "abcde"},
    "mixed_8x8x1280a": 1280, "mixed_8x8x2048a": 2048, "mixed_8x8x2048b": 2048,
}  # fmt: skip


@pytest.mark.parametrize(("protocol", "size"), [("paper", 75), ("reference", 107)])
def test_layers_of_inception_v3_are_the_sixteen_of_the_paper(protocol, size, tmp_path):
    path = write("inception-v3", size, tmp_path / "net.onnx", protocol)
    sites, file = chosen("inception-v3", path)
    units = {layer: count // 16 for layer, count in SIXTEEN.items()}
    if protocol == "reference":  # the branch whose 192 maps stay
        units["mixed_17x17x768d"] += 192 - 192 // 16
    assert {site.layer: site.width for site in sites} == units
    assert list(units) == [site.layer for site in sites]
    with_outputs = {output: node for node in file.graph.node for output in node.output}
    for site in sites:
        joins = site.layer.startswith("mixed")
        assert with_outputs[site.name].op_type == ("Concat" if joins else "Relu")
        assert with_outputs[site.name].name.count("/") == (2 if joins else 3)


def test_branches_of_modules_are_no_layers_beside_them(tmp_path):
    path = write("inception-v3", 75, tmp_path / "net.onnx", "paper")
    _, found = inspect_model(Request(path))
    _, apart = inspect_model(Request(path, joined=("",)))
    last = {site.layer for site in apart.sites if ".last" in site.layer}
    assert len(last) == 44  # 46 parts, of which two are pooled maps
    assert {site.layer for site in apart.sites} - last | set(SIXTEEN) == {
        site.layer for site in found.sites
    }
    joined = [each for coupling in found.couplings for each in coupling.merge_points]
    pooled = [(each.kind, [part.offset for part in each.parts]) for each in joined]
    assert pooled == [("joined", [0, 30]), ("joined", [0, 32])]  # 480 and 512 maps are written


def test_layer_of_inception_v3_layer_is_one_module(tmp_path):
    net = inception_layer((3, 75, 75), 5, 0.25, InceptionOptions())
    varied = net.mixed_35x35x288b
    assert [way.last.out_channels for way in varied.children()] == [16, 16, 24, 16]
    assert net.mixed_35x35x288a.branch1x1.last.out_channels == 64
    assert net.mixed_17x17x768a.branch3x3.last.out_channels == 384
    path = write("inception-v3", 75, tmp_path / "net.onnx", "paper")
    (site,), _ = chosen("inception-v3-layer", path)
    assert (site.layer, site.op, site.width) == ("mixed_35x35x288b", "Concat", 18)


def zeroed(file, tensor, units, width):
    """Return a file in which units of a tensor are multiplied by zero."""
    copy = onnx.ModelProto()
    copy.CopyFrom(file)
    keep = np.ones((1, width, 1, 1), np.float32)
    keep[0, units] = 0
    for node in copy.graph.node:
        node.input[:] = ["kept" if name == tensor else name for name in node.input]
    at = next(i for i, node in enumerate(copy.graph.node) if tensor in node.output)
    copy.graph.node.insert(at + 1, onnx.helper.make_node("Mul", [tensor, "keep"], ["kept"]))
    copy.graph.initializer.append(onnx.numpy_helper.from_array(keep, "keep"))
    return copy


def test_measures_of_a_module_are_those_of_its_whole_tensor(tmp_path):
    """Redundancy by numpy from the tensor, prunability by files that zero its units."""
    torch.manual_seed(0)
    net = build("inception-v3", (3, 107, 107), 5, 1 / 16, init="he-normal")
    path, x = tmp_path / "net.onnx", np.zeros((2, 3, 107, 107), np.float32)
    path.write_bytes(exported(net, x, {"frivkit.joined": "mixed_8x8x1280a,mixed_35x35x256a"}))
    layers = {
        "mixed_35x35x256a": ("/mixed_35x35x256a/Concat_output_0", 16),
        "mixed_8x8x1280a": ("/mixed_8x8x1280a/Concat_output_0", 80),
    }

    def measured(metric, protocol):
        request = Request(path, data="gaussian?n=256", layers=tuple(layers), protocol=protocol)
        return {each.layer: each for each in analyze(request, [metric]).measurements}

    file = onnx.load(path)
    data = open_data("gaussian?n=256", load_model(Request(path)).inputs)
    feeds = data.read(0, 256).inputs
    names = [name for name, _ in layers.values()]
    redundancy = measured("redundancy", "paper")
    assert list(redundancy) == list(layers)
    for (layer, (_, units)), tensor in zip(layers.items(), ran(file, feeds, *names), strict=True):
        assert tensor.shape[1] == units
        rows = np.moveaxis(tensor, 1, -1).reshape(-1, units).astype(np.float64)
        values = np.linalg.eigvalsh(np.cov(rows, rowvar=False))[::-1]
        shares = np.cumsum(values) / values.sum()
        rank = int(np.argmax(shares >= 0.95)) + 1
        assert redundancy[layer].value == 1 - rank / units
        assert redundancy[layer].detail["rows"] == len(rows)

    feeds = {name: array[:128] for name, array in feeds.items()}  # all batches of 128 but the last
    before = ran(file, feeds, "logits")[0].argmax(axis=1)
    prunability = measured("prunability", "reference")
    for layer, (name, units) in layers.items():
        curves = []
        for repeat in range(3):
            order = random_order(0, layer, repeat, units)
            after = [
                ran(zeroed(file, name, order[: int(level * units)], units), feeds, "logits")[0]
                for level in np.linspace(0, 1, 7)
            ]
            curves.append([float((logits.argmax(axis=1) == before).mean()) for logits in after])
        assert min(map(min, curves)) < 0.5  # else nothing would be compared
        np.testing.assert_allclose(prunability[layer].detail["unchanged"], curves, atol=1 / 128)


def test_trained_file_names_what_is_joined_and_is_analysed_so(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 3, 75, 75)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(4) % 2)
    path, data = tmp_path / "net.onnx", f"npz:{tmp_path / 'd.npz'}"
    train("inception-v3", data, path, test_data=data, width=1 / 16, options={"epochs": "0"})
    told = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert told["frivkit.layers"].split(",") == list(SIXTEEN)
    assert told["frivkit.joined"].split(",") == list(SIXTEEN)[5:]
    _, found = inspect_model(Request(path))
    assert {site.layer for site in found.sites if site.op == "Concat"} == set(list(SIXTEEN)[5:])


def test_trained_file_names_the_layers_of_the_paper(tmp_path):
    path = tmp_path / "net.onnx"
    train("alexnet-cifar", "digits", path, width=1 / 16, options={"epochs": "1"})
    told = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert told["frivkit.layers"] == "conv1,conv2,fc3,fc4"
    _, found = inspect_model(Request(path))
    assert [site.layer for site in found.sites] == told["frivkit.layers"].split(",")


WATCH = {"sgd": {}, "lab": {"choose": "last"}}


def test_cnn_is_about_all_its_layers(tmp_path):
    path = tmp_path / "net.onnx"
    train("cnn", "digits", path, width=1 / 4, options={"epochs": "0"})
    assert "frivkit.layers" not in {entry.key for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize("trainer", ["sgd", "lab"])
def test_trainers_leave_the_auxiliary_classifier_as_it_was_drawn(trainer, tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(6, 3, 107, 107)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(6) % 3)
    data = open_data(f"npz:{tmp_path / 'd.npz'}", None)
    method = installed().load("trainers", trainer)
    net = build("inception-v3", (3, 107, 107), 3, 1 / 16, protocol="reference")
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    given = {"epochs": "1", "lr": "0.001", "batch": "3", "weight_decay": "0.1"}
    method.fit(net, data, None, 0, parse_options(method.options, given | WATCH[trainer]), Silent())
    same = {name for name, weight in net.named_parameters() if torch.equal(weight, before[name])}
    scales = {name for name in before if name.endswith("norm.weight")}  # not trainable, all 1
    assert same == scales | {name for name in before if name.startswith("auxiliary.")}
