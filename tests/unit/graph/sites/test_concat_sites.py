"""Layers that a Concat joins: pictures worked out by hand, what is refused, and what masks do.

The pictures are written as those of ``test_sites.py``.
"""

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.errors import ModelError
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.sites.site_weights import weights_of
from frivkit.graph.surgery.narrow import narrow
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.session import Device
from frivkit.units.masks import Mask
from frivkit_unit_selectors.selectors import MAP
from tests.handmade import written
from tests.nets import NETS, examples, network, opened
from tests.picture import OUT, picture, written_out
from tests.surgery import close, drawn, masked_consumers, run
from tests.zoo.independent import multiplied, ran

BESIDE = """g (float[N, 6] x) => (float[N, 3] y) {{
  a = Gemm (x, wa)
  ra = Relu (a)
  b = Gemm (x, wb)
  rb = Relu (b)
  {more}
}}"""
WEIGHTS = {"wa": (6, 4), "wb": (6, 5)}


def beside(more, **weights):
    """Return two layers, of 4 units and of 5, and what is made of them."""
    return written(BESIDE.format(more=more), **WEIGHTS, **weights)


HANDMADE = {
    # An inner fork feeds nothing but the outer one.
    "nested": lambda: beside(
        """i = Concat <axis = 1> (rb, ra)
        c = Gemm (x, wc)
        rc = Tanh (c)
        j = Concat <axis = -1> (rc, i)
        y = Gemm (j, wy)""",
        wc=(6, 2), wy=(11, 3),
    ),
    # The hook point is behind norm and nonlinearity of a concat site, also for layers without one.
    "norm behind": lambda: beside(
        """j = Concat <axis = 1> (a, rb)
        n = BatchNormalization (j, scale, shift, mean, var)
        r = Relu (n)
        y = Gemm (r, wy)""",
        scale=np.float32([1, 2, 3, 1, 2, 3, 1, 2, 3]), shift=(9,), mean=(9,),
        var=np.ones(9, np.float32), wy=(9, 3),
    ),
    # One branch is read by something else as well: it stays, and the other is taken in.
    "read twice": lambda: beside(
        """j = Concat <axis = 1> (ra, rb)
        c = Gemm (ra, wc)
        d = Gemm (j, wd)
        s = Add (c, d)
        r = Relu (s)
        y = Gemm (r, wy)""",
        wc=(4, 2), wd=(9, 2), wy=(2, 3),
    ),
    # Half of a layer is joined, the other half is not.
    "half": lambda: beside(
        """h, k = Split <axis = 1> (ra)
        j = Concat <axis = 1> (h, rb)
        d = Gemm (j, wd)
        s = Add (d, k)
        r = Relu (s)
        y = Gemm (r, wy)""",
        wd=(7, 2), wy=(2, 3),
    ),
    # One weight tensor writes two parts of a layer.
    "one weight": lambda: beside(
        """c = Gemm (x, wa)
        rc = Tanh (c)
        j = Concat <axis = 1> (ra, rb, rc)
        y = Gemm (j, wy)""",
        wy=(13, 3),
    ),
    # A depthwise convolution in a branch couples its own units with the middle of the layer.
    "depthwise": lambda: written(
        """g (float[N, 3, 4, 4] x) => (float[N, 3] y) {
          a = Conv (x, wa)
          ra = Relu (a)
          d = Conv <group = 4> (ra, wd)
          rd = Relu (d)
          b = Conv (x, wb)
          rb = Relu (b)
          j = Concat <axis = 1> (rb, rd)
          m = GlobalAveragePool (j)
          f = Flatten (m)
          y = Gemm (f, wy)
        }""",
        wa=(4, 3, 1, 1), wd=(4, 1, 1, 1), wb=(2, 3, 1, 1), wy=(6, 3),
    ),
    # A branch is shuffled on its way: its units are those of other positions.
    "shuffled branch": lambda: beside(
        """s = Reshape (ra, apart)
        t = Transpose <perm = [0, 2, 1]> (s)
        u = Reshape (t, together)
        j = Concat <axis = 1> (rb, u)
        y = Gemm (j, wy)""",
        apart=np.array([0, 2, 2]), together=np.array([0, 4]), wy=(9, 3),
    ),
    # What reads a branch for another output does not count.
    "other output": lambda: written(
        """g (float[N, 6] x) => (float[N, 3] y, float[N, 2] z) {
          a = Gemm (x, wa)
          ra = Relu (a)
          b = Gemm (x, wb)
          rb = Relu (b)
          z = Gemm (ra, wz)
          j = Concat <axis = 1> (ra, rb)
          y = Gemm (j, wy)
        }""",
        wz=(4, 2), wy=(9, 3), **WEIGHTS,
    ),
    # Another layer is summed with what is joined before the hook points of both.
    "sum": lambda: beside(
        """c = Gemm (x, wc)
        j = Concat <axis = 1> (ra, rb)
        s = Add (j, c)
        r = Relu (s)
        y = Gemm (r, wy)""",
        wc=(6, 9), wy=(9, 3),
    ),
}  # fmt: skip

PICTURES = {
    # The stem's pooled maps are units of the layer, and the stem stays one of its own.
    ("inception", "Concat"): """
        stem: Conv>Relu 4, 4x4 -> /a/Conv /b/Conv
        b: Conv>Relu 3, 4x4 -> /c/Conv
        Concat: Concat>Concat 11, 4x4 by /a/Conv /c/Conv -> /out/Conv
        out: Conv>Relu 6, 4x4 -> /head/head.2/Gemm
        = joined Concat stem+7
        - /head/head.2/Gemm: OUT""",
    ("dense", "*"): """
        stem: Conv>Relu 4, 4x4 -> /a/Conv
        Concat: Concat>Concat 6, 4x4 -> /b/Conv
        Concat_1: Concat>Concat 9, 4x4 -> /head/head.2/Gemm
        = joined Concat stem
        = joined Concat_1 Concat
        - /head/head.2/Gemm: OUT""",
    ("dense", "*_1"): """
        stem: Conv>Relu 4, 4x4 -> /a/Conv /b/Conv
        a: Conv>Relu 2, 4x4 -> /b/Conv
        Concat_1: Concat>Concat 9, 4x4 -> /head/head.2/Gemm
        = concat stem a+4
        = joined Concat_1 stem a+4
        - /head/head.2/Gemm: OUT""",
    ("concat add", "Concat"): """
        c: Conv>Relu 5, 4x4 -> nobody
        Concat: Concat>Add 5, 4x4 by /a/Conv /b/Conv -> /head/head.2/Gemm
        = sum Concat Concat+2 c
        - /head/head.2/Gemm: OUT""",
    # One tensor three times: no unit of it has one place in the layer, so it is not taken in.
    ("pyramid", "Concat"): """
        stem: Conv>Relu 4, 4x4 -> nobody
        Concat: Concat>Concat 12, 4x4 by  -> /out/Conv
        out: Conv>Relu 5, 4x4 -> /head/head.2/Gemm
        = joined Concat stem stem+4 stem+8
        - /head/head.2/Gemm: OUT""",
    ("two inputs", "Concat"): """
        Concat: Concat>Relu 9, - by /a/Conv /b/Gemm -> /c/Gemm
        - /c/Gemm: OUT""",
    ("nested", "*"): """
        j: Concat>Concat 11, - by a/Gemm b/Gemm c/Gemm -> y/Gemm
        - y/Gemm: OUT""",
    ("nested", "j"): """
        j: Concat>Concat 11, - by a/Gemm b/Gemm c/Gemm -> y/Gemm
        - y/Gemm: OUT""",
    ("nested", "i"): """
        i: Concat>Concat 9, - by a/Gemm b/Gemm -> y/Gemm
        c: Gemm>Tanh 2, - -> y/Gemm
        = concat c i+2
        - y/Gemm: OUT""",
    ("norm behind", "j"): """
        j: Concat>Relu 9, - by a/Gemm b/Gemm -> y/Gemm
        - y/Gemm: OUT""",
    ("read twice", "j"): """
        a: Gemm>Relu 4, - -> c/Gemm
        j: Concat>Concat 9, - -> d/Gemm
        c: Gemm>Relu 2, - by c/Gemm d/Gemm -> y/Gemm
        = joined j a
        - y/Gemm: OUT""",
    ("half", "j"): """
        a: Gemm>Relu 4, - -> nobody
        j: Concat>Concat 7, - -> d/Gemm
        d: Gemm>Relu 2, - -> y/Gemm
        = joined j a
        = sum d a
        - y/Gemm: OUT""",
    ("one weight", "j"): """
        j: Concat>Concat 13, - by a/Gemm b/Gemm c/Gemm -> y/Gemm
        = shared j j
        - y/Gemm: OUT""",
    ("depthwise", "j"): """
        a: Conv>Relu 4, 4x4 -> d/Conv
        j: Concat>Concat 6, 4x4 by d/Conv b/Conv -> y/Gemm
        = depthwise a j
        - y/Gemm: OUT""",
    ("shuffled branch", "j"): """
        j: Concat>Concat 9, - by a/Gemm b/Gemm -> y/Gemm
        - y/Gemm: OUT""",
    ("other output", "j"): """
        j: Concat>Concat 9, - by a/Gemm b/Gemm -> z/Gemm y/Gemm
        - z/Gemm: does not lead to output 'y'
        - y/Gemm: OUT""",
    ("sum", "j"): """
        j: Concat>Relu 9, - by a/Gemm b/Gemm c/Gemm -> y/Gemm
        = sum j j+4 j
        - y/Gemm: OUT""",
}


def read(name, tmp_path):
    proto = network(name) if name in NETS else HANDMADE[name]()
    return opened(proto, tmp_path / "m.onnx")


@pytest.mark.parametrize(("name", "pattern"), PICTURES)
def test_what_is_joined_is_one_layer(name, pattern, tmp_path):
    found = picture(read(name, tmp_path), None, (pattern,))
    assert found == written_out(PICTURES[name, pattern])


@pytest.mark.parametrize(("name", "pattern"), PICTURES)
def test_masks_on_joined_layers_do_what_they_say(name, pattern, tmp_path):
    model = read(name, tmp_path)
    feeds, output = examples(model, 5), model.output()
    sites = find_sites(model, None, (pattern,)).sites
    baseline = BaselineModel(model, output, Device(threads=1), 1 << 30).run(feeds)

    def masked(chosen, flags):
        way = PerturbedModel(model, chosen, output, Device(threads=1), 1 << 30)
        return way.run(way.prepare(feeds), Mask(flags), MAP)

    ones = {site.name: np.ones(site.width, bool) for site in sites}
    np.testing.assert_array_equal(masked(list(sites), ones), baseline)
    (joined, *_) = [site for site in sites if site.op == "Concat"]
    changed = 0
    for unit in range(joined.width):
        flags = np.arange(joined.width) != unit
        zeroed = masked([joined], {joined.name: flags})
        (wanted,) = ran(multiplied(model, joined, unit), feeds, output)
        np.testing.assert_allclose(zeroed, wanted, rtol=0, atol=1e-6)
        changed += not np.array_equal(zeroed, baseline)
    assert changed > 1


@pytest.mark.parametrize(("name", "pattern"), PICTURES)
def test_numbers_of_units_are_true_from_their_producers_on(name, pattern, tmp_path):
    """Cut out by the joined layer's numbers, weights leave what zeros in consumers leave."""
    model = read(name, tmp_path)
    found = find_sites(model, None, (pattern,))
    groups = find_groups(model, found)
    feeds = examples(model, 4)
    for seed in range(3):
        keep = drawn(groups, seed)
        compressed = narrow(model, found, keep)
        close(run(compressed, feeds), run(masked_consumers(model, found, keep), feeds))
    assert groups.free.any()


REFUSED = {
    "flattened": ("flat beside", "units of 'f' were flattened, or lie there more than once"),
    "input": (
        lambda: written(
            """g (float[N, 6] x) => (float[N, 3] y) {
              a = Gemm (x, wa)
              c = Concat <axis = 1> (a, x)
              y = Gemm (c, wy)
            }""",
            wa=(6, 4), wy=(10, 3),
        ),
        "not all of its part 'x' is units of layers",
    ),
    "tokens": (
        lambda: written(
            """g (float[N, 5, 6] x) => (float[N, 3] y) {
              a = MatMul (x, wa)
              b = MatMul (x, wb)
              c = Concat <axis = 1> (a, b)
              m = ReduceMean <axes = [1], keepdims = 0> (c)
              y = Gemm (m, wy)
            }""",
            wa=(6, 4), wb=(6, 4), wy=(4, 3),
        ),
        "it joins along axis 1, and units of 'a' lie along another",
    ),
    "outputs": (
        lambda: beside(
            """j = Concat <axis = 1> (ra, rb)
            c = Concat <axis = 1> (rb, ra)
            d = Gemm (j, wd)
            y = Add (c, d)""",
            wd=(9, 9),
        ),
        OUT,
    ),
    "another output": (
        lambda: written(
            """g (float[N, 6] x) => (float[N, 3] y, float[N, 3] z) {
              a = Gemm (x, wa)
              b = Gemm (x, wb)
              c = Concat <axis = 1> (a, b)
              z = Gemm (c, wz)
              d = Gemm (a, wd)
              e = Gemm (b, we)
              y = Add (d, e)
            }""",
            wa=(6, 4), wb=(6, 5), wz=(9, 3), wd=(4, 3), we=(5, 3),
        ),
        "does not lead to output 'y'",
    ),
    "two in one": (
        lambda: beside(
            """c = Concat <axis = 1> (ra, rb)
            d = Concat <axis = 1> (rb, ra)
            s = Add (c, d)
            y = Gemm (s, wy)""",
            wy=(9, 3),
        ),
        "it meets another one before its hook point",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_joined_is_refused_in_a_line(case, tmp_path):
    net, reason = REFUSED[case]
    model = opened(network(net) if isinstance(net, str) else net(), tmp_path / "m.onnx")
    with pytest.raises(ModelError) as told:
        find_sites(model, None, ("[cd]",))
    name = "d" if case == "two in one" else "c"
    assert str(told.value) == (
        f"what {name} of m.onnx joins cannot be one layer: {reason}; leave it out of --join"
    )


def test_a_pattern_that_matches_nothing_is_told_what_there_is(tmp_path):
    with pytest.raises(
        ModelError, match=r"no concat of units in m.onnx matches 'k'; there are i, j$"
    ):
        find_sites(read("nested", tmp_path), None, ("i", "k"))
    with pytest.raises(ModelError, match="matches 'k'; there is none, so leave --join out"):
        find_sites(read("cnn", tmp_path), None, ("k",))


def test_names_of_other_layers_stay_and_unnamed_concats_have_numbers(tmp_path):
    proto = HANDMADE["nested"]()
    for node in proto.graph.node:
        node.ClearField("name")
    for tensor in proto.graph.initializer:
        tensor.name = tensor.name.replace("w", "k")
    for node in proto.graph.node:
        node.input[:] = [name.replace("w", "k") for name in node.input]
    model = opened(proto, tmp_path / "m.onnx")
    assert [s.layer for s in find_sites(model).sites] == ["Gemm_0", "Gemm_1", "Gemm_2"]
    found = find_sites(model, None, ("Concat_0",))
    assert [s.layer for s in found.sites] == ["Concat_0", "Gemm_2"]


def test_units_of_a_shuffled_branch_have_the_numbers_of_their_places(tmp_path):
    found = find_sites(read("shuffled branch", tmp_path), None, ("j",))
    ((site, layout),) = found.layouts["a"]
    assert (site, layout.units.tolist()) == ("j", [5, 7, 6, 8])


def test_a_name_that_a_layer_has_is_not_taken_from_it(tmp_path):
    proto = HANDMADE["nested"]()
    for node in proto.graph.node:
        node.name = node.name.replace("j/Concat", "c/Concat")
    model = opened(proto, tmp_path / "m.onnx")
    assert [s.layer for s in find_sites(model).sites] == ["a", "b", "c"]
    assert [s.layer for s in find_sites(model, None, ("i",)).sites] == ["i", "c"]
    assert [s.layer for s in find_sites(model, None, ("c#2",)).sites] == ["c#2"]


def test_costs_and_weights_are_those_of_the_branches_that_are_taken_in(tmp_path):
    model = read("read twice", tmp_path)
    found = find_sites(model, None, ("j",))
    sites = {site.layer: site for site in found.sites}
    plain = {site.layer: each for site, each in (
        (site, find_sites(model).weights[site.name]) for site in find_sites(model).sites
    )}  # fmt: skip
    assert found.weights[sites["j"].name] == plain["b"]
    assert [value.name for value in weights_of(model, sites["j"])] == ["wb"]
    model = read("pyramid", tmp_path)
    (joined,) = [s for s in find_sites(model, None, ("*",)).sites if s.op == "Concat"]
    with pytest.raises(ModelError, match="layer Concat joins what other layers write"):
        weights_of(model, joined)


def test_the_graph_is_left_as_it_is(tmp_path):
    model = read("nested", tmp_path)
    before = ir.to_proto(model.ir).SerializeToString()
    find_sites(model, None, ("*",))
    assert ir.to_proto(model.ir).SerializeToString() == before
