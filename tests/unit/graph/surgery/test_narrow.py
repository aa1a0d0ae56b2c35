"""Networks without some of their units.

The law: a narrowed network computes what the network computes when every weighted node reads 0
from the units that left.  Where only functions that keep 0 stand between a layer and its consumers
that is the network with these units masked at the layer itself, as an ablation masks them.
"""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.testing.tiny_models import TINY_MODELS, evaluate
from tests.handmade import written
from tests.nets import NETS, examples, network, opened
from tests.surgery import (
    as_model,
    batches,
    check,
    close,
    drawn,
    masked_consumers,
    masked_sites,
    run,
    weights,
)

RUNNABLE = [name for name in NETS if name != "foreign"]  # ONNX Runtime has no such operator
UNBROKEN = [  # nothing between a layer and its consumers makes anything of 0
    "mlp",
    "cnn",
    "pool first",
    "residual",
    "dense",
    "inception",
    "pyramid",
    "branched",
    "separable",
    "channels last",
    "siamese",
    "two inputs",
    "grouped",
    "transposed",
    "hourglass",
    "recurrent",
]
SEEDS = range(3)


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_narrowed_network_is_one_whose_consumers_read_zeros(name, tmp_path):
    model = opened(network(name), tmp_path / "m.onnx")
    found = find_sites(model)
    groups = find_groups(model, found)
    for seed in SEEDS:
        keep = drawn(groups, seed)
        compressed = narrow(model, found, keep)
        check(compressed)
        for count in batches(model):
            feeds = examples(model, count, seed)
            tolerance = 3e-3 if name == "halves" else 1e-5
            close(
                run(compressed, feeds), run(masked_consumers(model, found, keep), feeds), tolerance
            )


@pytest.mark.parametrize("name", UNBROKEN)
def test_a_narrowed_network_is_one_whose_layers_are_masked(name, tmp_path):
    model = opened(network(name), tmp_path / "m.onnx")
    found = find_sites(model)
    keep = drawn(find_groups(model, found), 1)
    assert not all(flags.all() for flags in keep.values())
    feeds = examples(model, 3)
    close(run(narrow(model, found, keep), feeds), run(masked_sites(model, found, keep), feeds))


@pytest.mark.parametrize("name", TINY_MODELS)
def test_tiny_networks_without_each_group(name, tmp_path):
    made = TINY_MODELS[name]()
    model = opened(ir.to_proto(made), tmp_path / "m.onnx")
    found = find_sites(model)
    groups = find_groups(model, found)
    shape = list(made.graph.inputs[0].shape[1:])
    x = np.random.default_rng(0).standard_normal((4, *shape))
    for group in range(groups.count):
        keep = groups.flags(np.arange(groups.count) != group)
        if not all(flags.any() for flags in keep.values()):
            continue
        zeroed = {
            site.name: keep[site.name].reshape([-1] + [1] * (len(site.shape) - site.axis))
            for site in found.sites
        }
        close([evaluate(narrow(model, found, keep), x)], [evaluate(made, x, zeroed)])


@pytest.mark.parametrize("name", NETS)
def test_who_keeps_all_gets_the_same_graph(name, tmp_path):
    model = opened(network(name), tmp_path / "m.onnx")
    found = find_sites(model)
    before = ir.to_proto(model.ir).SerializeToString(deterministic=True)
    keep = {site.name: np.ones(site.width, bool) for site in found.sites}
    for flags in (keep, {}):
        compressed = narrow(model, found, flags)
        assert ir.to_proto(compressed).SerializeToString(deterministic=True) == before
        assert compressed.graph is not model.graph


@pytest.mark.parametrize("name", RUNNABLE)
def test_sites_of_a_narrowed_network_are_those_that_stayed(name, tmp_path):
    model = opened(network(name), tmp_path / "m.onnx")
    before = ir.to_proto(model.ir).SerializeToString(deterministic=True)
    found = find_sites(model)
    keep = drawn(find_groups(model, found), 2)
    compressed = as_model(narrow(model, found, keep), model)
    again = find_sites(compressed)
    assert {site.name: site.width for site in again.sites} == {
        name: int(flags.sum()) for name, flags in keep.items()
    }
    assert [site.consumers for site in again.sites] == [site.consumers for site in found.sites]
    # Read anew from a file, whose shapes are inferred from the weights, it is the same network.
    fresh = find_sites(opened(ir.to_proto(compressed.ir), tmp_path / "thin.onnx"))
    assert [(site.name, site.shape) for site in fresh.sites] == [
        (site.name, site.shape) for site in again.sites
    ]
    assert ir.to_proto(model.ir).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", ["residual", "dense", "separable", "grouped", "sizes first"])
def test_two_steps_are_one(name, tmp_path):
    model = opened(network(name), tmp_path / "m.onnx")
    found = find_sites(model)
    groups = find_groups(model, found)
    first = drawn(groups, 0, share=0.7)
    half = as_model(narrow(model, found, first), model)
    between = find_sites(half)
    rest = drawn(find_groups(half, between), 1)
    twice = narrow(half, between, rest)
    both = {site: flags.copy() for site, flags in first.items()}
    for site, flags in both.items():
        flags[flags] = rest[site]
    once = narrow(model, found, both)
    feeds = examples(model, 3)
    close(run(twice, feeds), run(once, feeds), 0)
    assert weights(once) == weights(twice)


def test_the_order_of_units_does_not_matter(tmp_path):
    """Layers whose units stand in another order, of which the same leave, do the same."""
    proto = network("listed")
    order = np.array([3, 0, 4, 1, 2])
    other = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in other.graph.initializer:
        axis = {"wa": 1, "ba": 0, "wb": 1}.get(tensor.name)
        if axis is not None:
            array = np.take(numpy_helper.to_array(tensor), order, axis)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    flags = np.array([True, False, True, True, False])
    one, two = (opened(each, tmp_path / f"{id(each)}.onnx") for each in (proto, other))
    feeds = examples(one, 3)
    left = narrow(one, find_sites(one), {"r": flags})
    right = narrow(two, find_sites(two), {"r": flags[order]})
    close(run(left, feeds), run(right, feeds))


def test_weights_and_work_fall_as_can_be_counted(tmp_path):
    """3 -> 4 -> 5 maps of 8 x 8 and 4 x 4 places, then 3 outputs."""
    model = opened(network("cnn"), tmp_path / "m.onnx")
    found = find_sites(model)
    first, second = (site.name for site in found.sites)
    keep = {first: np.arange(4) != 1, second: np.arange(5) < 2}

    def parameters(a, b):
        return a * (3 * 9 + 1) + b * (a * 9 + 1) + 3 * (16 * b + 1)

    def work(a, b):
        return 64 * a * 3 * 9 + 16 * b * a * 9 + 3 * 16 * b

    compressed = as_model(narrow(model, found, keep), model)
    assert (model.parameters, macs(model.graph)) == (parameters(4, 5), work(4, 5))
    assert (compressed.parameters, macs(compressed.graph)) == (parameters(3, 2), work(3, 2))


def test_what_surrounds_the_units_stays(tmp_path):
    proto = onnx.ModelProto.FromString(network("cnn").SerializeToString())
    proto.metadata_props.add(key="classes", value="a,b,c")
    proto.doc_string, proto.producer_name, proto.model_version = "said", "someone", 7
    model = opened(proto, tmp_path / "m.onnx")
    found = find_sites(model)
    site = found.sites[0].name
    compressed = ir.to_proto(narrow(model, found, {site: np.arange(4) > 0}))
    before = ir.to_proto(model.ir)
    for part in ("ir_version", "producer_name", "model_version", "doc_string"):
        assert getattr(compressed, part) == getattr(before, part)
    for part in ("metadata_props", "opset_import", "functions"):
        assert list(getattr(compressed, part)) == list(getattr(before, part))
    for part in ("input", "output"):
        assert list(getattr(compressed.graph, part)) == list(getattr(before.graph, part))
    assert [node.name for node in compressed.graph.node] == [
        node.name for node in before.graph.node
    ]
    names = [{tensor.name for tensor in each.graph.initializer} for each in (compressed, before)]
    assert names[0] == names[1]


def test_weights_that_do_not_change_are_shared(tmp_path):
    model = opened(network("mlp"), tmp_path / "m.onnx")
    found = find_sites(model)
    compressed = narrow(model, found, {found.sites[0].name: np.arange(5) > 1})
    same = {
        name
        for name, value in compressed.graph.initializers.items()
        if value.const_value is model.graph.initializers[name].const_value
    }
    assert same == {"2.bias", "4.weight", "4.bias"}


def test_initializers_that_are_inputs_stay_inputs(tmp_path):
    model = opened(network("listed"), tmp_path / "m.onnx")
    compressed = narrow(model, find_sites(model), {"r": np.arange(5) > 1})
    assert [(value.name, list(value.shape)) for value in compressed.graph.inputs[1:]] == [
        ("wa", [6, 3]),
        ("ba", [3]),
        ("wb", [3, 3]),
        ("bb", [3]),
    ]


@pytest.mark.parametrize(
    ("first", "last", "locked"), [(2, 6, False), (-4, 99, True), (0, -2, True)]
)
def test_a_slice_of_units_moves_with_what_leaves_before_it(first, last, locked, tmp_path):
    """Its bounds are counted anew from the front; those from the end would mean other units."""
    proto = written(
        """g (float[N, 4] x) => (float[N, 2] y) {
          a = MatMul (x, wa)
          r = Relu (a)
          s = Slice (r, first, last, axis)
          y = MatMul (s, wb)
        }""",
        wa=(4, 8), wb=(len(range(8)[first:last]), 2), first=np.array([first]),
        last=np.array([last]), axis=np.array([1]),
    )  # fmt: skip
    model = opened(proto, tmp_path / "m.onnx")
    found = find_sites(model)
    keep = {"r": ~np.isin(np.arange(8), [1, 4, 7])}
    if locked:
        with pytest.raises(ModelError, match="counts from their end"):
            narrow(model, found, keep)
        return
    compressed, feeds = narrow(model, found, keep), examples(model, 3)
    check(compressed)
    close(run(compressed, feeds), run(masked_consumers(model, found, keep), feeds))


def test_weights_that_are_stored_in_bfloat16_stay_so(tmp_path):
    proto = onnx.ModelProto.FromString(network("halves").SerializeToString())
    numbers = {}
    for tensor in proto.graph.initializer:
        name, array = tensor.name, numpy_helper.to_array(tensor).astype(np.float32)
        kind = onnx.TensorProto.BFLOAT16
        tensor.CopyFrom(helper.make_tensor(f"{name} stored", kind, array.shape, array))
        numbers[tensor.name] = numpy_helper.to_array(tensor)
        cast = helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT16)
        proto.graph.node.insert(0, cast)
    model = opened(proto, tmp_path / "m.onnx")
    compressed = narrow(model, find_sites(model), {"r": np.arange(5) != 2})
    check(compressed)
    rest = {name: value.const_value for name, value in compressed.graph.initializers.items()}
    assert {tensor.dtype for tensor in rest.values()} == {ir.DataType.BFLOAT16}
    assert (rest["wa stored"].numpy() == np.delete(numbers["wa stored"], 2, 1)).all()
    assert (rest["wb stored"].numpy() == np.delete(numbers["wb stored"], 2, 0)).all()


def test_flags_that_cannot_be_met_are_refused(tmp_path):
    model = opened(network("residual"), tmp_path / "m.onnx")
    found = find_sites(model)
    stem, inner = found.sites[0], found.sites[1]
    some = np.arange(4) > 0
    with pytest.raises(ModelError, match="no site is named 'nowhere'"):
        narrow(model, found, {"nowhere": some})
    with pytest.raises(ModelError, match="give 4 truth values"):
        narrow(model, found, {inner.name: some[1:]})
    with pytest.raises(ModelError, match="give 4 truth values"):
        narrow(model, found, {inner.name: some.astype(int)})
    with pytest.raises(ModelError, match=r"no unit of layer 2\.a stays"):
        narrow(model, found, {inner.name: np.zeros(4, bool)})
    with pytest.raises(ModelError, match="unit 0 of layer 0 is to leave and others of its group"):
        narrow(model, found, {stem.name: some})


def test_units_that_cannot_leave_are_refused_with_the_reason(tmp_path):
    model = opened(network("local norm node"), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="unit 1 of layer a cannot leave: l/LRN: LRN rescales"):
        narrow(model, find_sites(model), {"r": np.arange(4) != 1})


@pytest.mark.assets
@pytest.mark.parametrize("name", ["mnist", "orientation"])
def test_real_networks_without_half_of_each_layer(name, request, tmp_path):
    path = request.getfixturevalue(f"{name}_model")
    model = opened(onnx.load(path), tmp_path / "m.onnx", **SIZES.get(name, {}))
    found = find_sites(model)
    groups = find_groups(model, found)
    assert groups.free.all()
    for layer_group in groups.layer_groups:
        keep = drawn(groups, 0)
        keep = {
            site: flags if site in layer_group else np.ones_like(flags)
            for site, flags in keep.items()
        }
        compressed = narrow(model, found, keep)
        check(compressed)
        feeds = examples(model, 2)
        close(run(compressed, feeds), run(masked_consumers(model, found, keep), feeds))


SIZES = {"orientation": {"input_shape": "1x3x224x224"}}
