"""Which units leave together, and which cannot leave, worked out by hand."""

from itertools import pairwise
from time import process_time

import numpy as np
import pytest

from frivkit.graph.coupling import Coupling, MergePoint, SitePart
from frivkit.graph.layout import Layout
from frivkit.graph.sites.group_ids import assign_groups
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import Site, SiteMap, find_sites
from tests.handmade import written
from tests.nets import NETS, network, opened

HELD = {  # by layer, a part of the reason; every other layer can be thinned
    "local norm": {"0": "AveragePool pools over axis 2, where units lie"},
    "mixer": {"down": "ReduceMean over the axis that units or examples lie on"},
    "local norm node": {"a": "LRN rescales each unit by its neighbours"},
    "branching": {"a": "read in a graph that is not entered"},
    "foreign": {"a": "no rule for operator org.example.Blend"},
    "ends in depthwise": {"a": "carried into units that are not analysed"},
    "computed bias": {
        "a": "units are the bias of a Gemm",
        "b": "met by 'r', where other units or none lie",
    },
    "squeezed": {"a": "Squeeze that mixes units with the batch"},
    "looped": {"a": "Loop holds a graph of its own"},
}


def found_in(proto, tmp_path, output=None):
    model = opened(proto, tmp_path / "m.onnx")
    found = find_sites(model, output)
    return found, find_groups(model, found)


@pytest.mark.parametrize("name", NETS)
def test_which_layers_cannot_be_thinned_and_why(name, tmp_path):
    found, groups = found_in(network(name), tmp_path)
    reasons = {site.layer: groups.reason(site.name) for site in found.sites}
    locked = {layer: reason for layer, reason in reasons.items() if reason is not None}
    expected = HELD.get(name, {})
    assert list(locked) == list(expected)
    for layer, part in expected.items():
        assert part in locked[layer]


def by_layer(found, groups):
    """Name groups by the first unit in them, layer and number."""
    names, text = {}, {}
    for site in found.sites:
        for unit, group in enumerate(groups.of[site.name].tolist()):
            names.setdefault(group, f"{site.layer}{unit}")
        text[site.layer] = " ".join(names[group] for group in groups.of[site.name].tolist())
    return text


PICTURES = {
    "mlp": {"0": "00 01 02 03 04", "2": "20 21 22 23"},
    "residual": {
        "0": "00 01 02 03",
        "2.a": "2.a0 2.a1 2.a2 2.a3",
        "2.b": "00 01 02 03",
        "3.a": "3.a0 3.a1 3.a2 3.a3 3.a4 3.a5",
        "3.b": "3.b0 3.b1 3.b2 3.b3 3.b4 3.b5",
        "4.a": "4.a0 4.a1 4.a2 4.a3 4.a4 4.a5",
        "4.b": "3.b0 3.b1 3.b2 3.b3 3.b4 3.b5",
    },
    # Parts of a concatenation leave alone.
    "dense": {"stem": "stem0 stem1 stem2 stem3", "a": "a0 a1", "b": "b0 b1 b2"},
    # Two units and three beside them lie on five.
    "concat add": {"a": "a0 a1", "b": "b0 b1 b2", "c": "a0 a1 b0 b1 b2"},
    "squeeze excite": {
        "stem": "stem0 stem1 stem2 stem3",
        "down": "down0 down1",
        "up": "stem0 stem1 stem2 stem3",
        "out": "out0 out1 out2 out3 out4",
    },
    "gated": {"a": "a0 a1 a2 a3", "b": "a0 a1 a2 a3"},
    "separable": {"0": "00 01 02 03", "2": "00 01 02 03", "4": "40 41 42 43 44"},
    # Two groups of two read and three written each, carried on to two each of six groups.
    "grouped": {
        "0": "00 00 02 02",
        "2": "00 00 00 02 02 02",
        "4": "00 00 00 00 00 00 02 02 02 02 02 02",
    },
    "transposed": {"0": "00 00 02 02", "2": "00 00 00 02 02 02"},
    "siamese": {"a": "a0 a1 a2 a3 a4", "a#2": "a0 a1 a2 a3 a4"},
}


@pytest.mark.parametrize("name", PICTURES)
def test_units_that_leave_together(name, tmp_path):
    assert by_layer(*found_in(network(name), tmp_path)) == PICTURES[name]


def test_bundles_are_sites_that_share_groups(tmp_path):
    found, groups = found_in(network("residual"), tmp_path)
    layers = {site.name: site.layer for site in found.sites}
    assert [tuple(layers[name] for name in layer_group) for layer_group in groups.layer_groups] == [
        ("0", "2.b"), ("2.a",), ("3.a",), ("3.b", "4.b"), ("4.a",),
    ]  # fmt: skip


def test_units_beside_others_on_more_units(tmp_path):
    """Locked units of a part lock the units that they meet, and no others."""
    proto = written(
        """g (float[N, 3, 4, 4] x) => (float[N, 2] y) {
          a = Conv (x, wa)
          r = Relu (a)
          n = LRN <size = 3> (r)
          b = Conv (x, wb)
          s = Relu (b)
          c = Concat <axis = 1> (n, s)
          d = Conv (x, wd)
          t = Relu (d)
          e = Add (c, t)
          f = Flatten (e)
          y = Gemm (f, v)
        }""",
        wa=(2, 3, 3, 3), wb=(3, 3, 3, 3), wd=(5, 3, 3, 3), v=(20, 2),
    )  # fmt: skip
    _, groups = found_in(proto, tmp_path)
    assert by_layer(*found_in(proto, tmp_path))["d"] == "a0 a1 b0 b1 b2"
    assert groups.free[groups.of["t"]].tolist() == [False, False, True, True, True]
    assert groups.reason("t") is None
    assert "LRN" in groups.reason("r")


def test_units_on_places_of_a_tensor_without_units(tmp_path):
    """Beside the units of a in one operand stands the input, on which units of b lie."""
    proto = written(
        """g (float[N, 3, 2, 2] x) => (float[N, 2] y) {
          a = Conv (x, wa)
          r = Relu (a)
          c = Concat <axis = 1> (r, x)
          b = Conv (x, wb)
          s = Relu (b)
          e = Add (c, s)
          f = Flatten (e)
          y = Gemm (f, v)
        }""",
        wa=(2, 3, 1, 1), wb=(5, 3, 1, 1), v=(20, 2),
    )  # fmt: skip
    _, groups = found_in(proto, tmp_path)
    assert groups.free[groups.of["s"]].tolist() == [True, True, False, False, False]
    assert groups.free[groups.of["r"]].all()
    assert set(groups.locked.values()) == {"e/Add: met by 'c', where other units or none lie"}


def read_by(node, tmp_path, opset=17, **weights):
    """Return why the five units of ``r`` cannot leave, which ``node`` reads."""
    proto = written(
        f"""g (float[N, 3, 4, 4] x) => (float[N, 2] y) {{
          a = Conv (x, w)
          r = Relu (a)
          {node}
          f = Flatten (n)
          y = Gemm (f, v)
        }}""",
        opset=opset, w=(5, 3, 3, 3), v=(20, 2), **weights,
    )  # fmt: skip
    return found_in(proto, tmp_path)[1].reason("r")


@pytest.mark.parametrize(
    "node",
    [
        "n = LpNormalization <axis = 1> (r)",
        "n = MeanVarianceNormalization <axes = [1, 2, 3]> (r)",
        "n = Softmax <axis = 1> (r)",
        "n = LogSoftmax <axis = 1> (r)",
        "n = LRN <size = 3> (r)",
        "n = LayerNormalization <axis = 1> (r, one)",
        "z = Size (r) k = Cast <to = 1> (z) n = Div (r, k)",
    ],
)
def test_operators_that_mix_units_hold_them(node, tmp_path):
    extra = {"one": (5, 2, 2)} if "one" in node else {}
    assert read_by(node, tmp_path, **extra) is not None


@pytest.mark.parametrize(
    "node",
    [
        "n = LpNormalization <axis = 3> (r)",
        "n = MeanVarianceNormalization (r)",
        "n = Softmax <axis = 3> (r)",
        "n = LayerNormalization <axis = 2> (r, one)",
        "n, m = Dropout (r)",
        "n = CastLike (r, x)",
    ],
)
def test_operators_that_mix_places_of_one_unit_do_not(node, tmp_path):
    extra = {"one": (2, 2)} if "one" in node else {}
    assert read_by(node, tmp_path, **extra) is None


def test_weights_that_no_rule_cuts_hold_what_they_read_and_write(tmp_path):
    proto = written(
        """g (float[N, 6] x) => (float[N, 2] y) {
          a = Gemm (x, w)
          r = Relu (a)
          f = DequantizeLinear (table, step)
          u = Gather (f, pick)
          b = MatMul (r, u)
          s = Relu (b)
          y = Gemm (s, v)
        }""",
        w=(6, 5), table=np.ones((9, 4), np.int8), pick=np.array([0, 2, 4, 6, 8]), v=(4, 2),
        step=np.float32(0.1),
    )  # fmt: skip
    _, groups = found_in(proto, tmp_path)
    assert groups.reason("r") == "b/MatMul: 'u' takes some of its entries by Gather"
    assert groups.reason("s") is None  # they are columns of the table, of which rows are taken


def test_units_that_are_an_output_as_well_are_locked(tmp_path):
    found, groups = found_in(network("two heads"), tmp_path, "second")
    reasons = {site.layer: groups.reason(site.name) for site in found.sites}
    assert reasons == {"trunk": None, "a": "units of the model's output 'first'", "b": None}


def test_further_outputs_that_are_read_hold_units(tmp_path):
    """The largest place that a MaxPool took, counted over all units, is added to each."""
    largest = "j = Cast <to = 1> (i) k = ReduceMax <axes = [2, 3]> (j) n = Add (p, k)"
    reason = read_by(f"p, i = MaxPool <kernel_shape = [1, 1]> (r) {largest}", tmp_path)
    assert reason == "p/MaxPool: the places of its maxima are numbered over all channels"


def test_a_squeeze_that_names_no_axes_holds_units(tmp_path):
    proto = written(
        """g (float[2, 3, 4, 4] x) => (float[2, 2] y) {
          a = Conv (x, w)
          r = Relu (a)
          p = GlobalAveragePool (r)
          s = Squeeze (p)
          y = Gemm (s, v)
        }""",
        w=(5, 3, 3, 3), v=(5, 2),
    )  # fmt: skip
    assert "names no axes" in found_in(proto, tmp_path)[1].reason("r")


def test_queries_and_keys_leave_together(tmp_path):
    """They are summed over position by position, by no weights."""
    proto = written(
        """g (float[N, 4, 6] x) => (float[N, 4, 2] y) {
          q = MatMul (x, wq)
          k = MatMul (x, wk)
          t = Transpose <perm = [0, 2, 1]> (k)
          s = MatMul (q, t)
          y = MatMul (s, v)
        }""",
        wq=(6, 5), wk=(6, 5), v=(4, 2),
    )  # fmt: skip
    found, groups = found_in(proto, tmp_path)
    assert by_layer(found, groups) == {"q": "q0 q1 q2 q3 q4", "k": "q0 q1 q2 q3 q4"}
    assert groups.free.all()


def test_a_long_stage_is_fast(tmp_path):
    """30 layers of 512 units, each summed with the one before."""
    names = [f"s{i}" for i in range(30)]
    whole = Layout.of(1, 512)
    sites = tuple(Site(n, n, "Conv", 1, (512, 8, 8), (), (), ()) for n in names)
    merge_points = tuple(
        MergePoint(f"j{i}", "sum", (SitePart(a, whole), SitePart(b, whole)))
        for i, (a, b) in enumerate(pairwise(names))
    )
    coupling = Coupling("coupling 1", tuple(names), merge_points)
    layouts = {name: ((name, whole),) for name in names}
    model = opened(network("mlp"), tmp_path / "m.onnx")
    begin = process_time()
    assignment = assign_groups(model.graph, SiteMap(sites, (coupling,), (), {}, layouts))
    assert process_time() - begin < 5
    assert assignment.count == 512
    assert all((of == np.arange(512)).all() for of in assignment.of.values())


def test_positions_of_a_flattened_part():
    layout = Layout.of(axis=1, width=2, inner=2, outer=2, offset=1, span=3)
    assert layout.units.tolist() == [-1, -1, 0, 0, 1, 1, -1, -1, 0, 0, 1, 1]
