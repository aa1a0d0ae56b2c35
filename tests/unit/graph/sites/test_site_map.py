"""The sites, couplings and skips of networks, compared with those worked out by hand.

A picture has a line for each site (layer: producing operator > operator at the hook point, units,
spatial size, -> consumers), one for each reason why its units cannot be followed (!), one for each
merge point (=, with the offset of each part that does not begin at 0), and one for each skipped
node (-).
"""

import pytest

from frivkit.graph.sites.site_map import find_sites
from tests.nets import NETS, network, opened
from tests.picture import OUT, picture, written_out

PICTURES = {
    "mlp": """
        0: Gemm>Relu 5, - -> /2/Gemm
        2: Gemm>Relu 4, - -> /4/Gemm
        - /4/Gemm: OUT""",
    "cnn": """
        0: Conv>Relu 4, 8x8 -> /3/Conv
        3: Conv>Relu 5, 4x4 -> /6/Gemm
        - /6/Gemm: OUT""",
    "pool first": """
        0: Conv>Relu 4, 4x4 -> /4/Gemm
        - /4/Gemm: OUT""",
    "norm last": """
        0: Conv>Relu 4, 4x4 -> /3/Conv
        3: Conv>Relu 5, 4x4 -> /6/6.2/Gemm
        - /6/6.2/Gemm: OUT""",
    "unfolded": """
        a: Conv>Relu 4, 4x4 -> b/Conv
        b: Conv>Relu 5, 2x2 -> y/Gemm
        - y/Gemm: OUT""",
    # The stem and the first block share a stage; the projection begins another, which the last
    # block shares.  Both producers of the projected sum are one site.
    "residual": """
        0: Conv>Relu 4, 4x4 -> /2/a/Conv
        2.a: Conv>Relu 4, 4x4 -> /2/b/Conv
        2.b: Conv>Relu 4, 4x4 -> /3/a/Conv /3/skip/Conv
        3.a: Conv>Relu 6, 4x4 -> /3/b/Conv
        3.b: Conv>Relu 6, 4x4 by /3/b/Conv /3/skip/Conv -> /4/a/Conv
        4.a: Conv>Relu 6, 4x4 -> /4/b/Conv
        4.b: Conv>Relu 6, 4x4 -> /5/5.2/Gemm
        = sum 2.b 0
        = sum 4.b 3.b
        - /5/5.2/Gemm: OUT""",
    # No nonlinearity stands between a sum and its fan-out, so the sums are hook points; the
    # last sum goes through a norm and a ReLU alone.
    "preact": """
        stem: Conv>Conv 4, 4x4 -> /a/Conv
        a: Conv>Relu 5, 4x4 -> /b/Conv
        b: Conv>Add 4, 4x4 -> /c/Conv
        c: Conv>Relu 6, 4x4 -> /d/Conv
        d: Conv>Relu 4, 4x4 -> /head/head.2/Gemm
        = sum stem b
        = sum b d
        - /head/head.2/Gemm: OUT""",
    "branched": """
        stem: Conv>Relu 4, 4x4 -> /a/Conv /b/Conv
        a: Conv>Relu 4, 4x4 by /a/Conv /b/Conv -> /head/head.2/Gemm
        = sum a stem
        - /head/head.2/Gemm: OUT""",
    "dense": """
        stem: Conv>Relu 4, 4x4 -> /a/Conv /b/Conv /head/head.2/Gemm
        a: Conv>Relu 2, 4x4 -> /b/Conv /head/head.2/Gemm
        b: Conv>Relu 3, 4x4 -> /head/head.2/Gemm
        = concat stem a+4
        = concat stem a+4 b+6
        - /head/head.2/Gemm: OUT""",
    "inception": """
        stem: Conv>Relu 4, 4x4 -> /a/Conv /b/Conv /out/Conv
        a: Conv>Relu 2, 4x4 -> /out/Conv
        b: Conv>Relu 3, 4x4 -> /c/Conv
        c: Conv>Relu 5, 4x4 -> /out/Conv
        out: Conv>Relu 6, 4x4 -> /head/head.2/Gemm
        = concat a c+2 stem+7
        - /head/head.2/Gemm: OUT""",
    "hourglass": """
        a: Conv>Relu 4, 4x4 -> /b/Conv /c/Conv
        b: Conv>Relu 5, 2x2 -> /c/Conv
        c: Conv>Relu 6, 4x4 -> /head/head.2/Gemm
        = concat b a+5
        - /head/head.2/Gemm: OUT""",
    "concat add": """
        a: Conv>Relu 2, 4x4 -> /head/head.2/Gemm
        b: Conv>Relu 3, 4x4 -> /head/head.2/Gemm
        c: Conv>Relu 5, 4x4 -> /head/head.2/Gemm
        = concat a b+2
        = sum a b+2 c
        - /head/head.2/Gemm: OUT""",
    "pyramid": """
        stem: Conv>Relu 4, 4x4 -> /out/Conv
        out: Conv>Relu 5, 4x4 -> /head/head.2/Gemm
        = concat stem stem+4 stem+8
        - /head/head.2/Gemm: OUT""",
    "squeeze excite": """
        stem: Conv>Relu 4, 4x4 -> /down/Conv /out/Conv
        down: Conv>Relu 2, 1x1 -> /up/Conv
        up: Conv>Sigmoid 4, 1x1 -> /out/Conv
        out: Conv>Relu 5, 4x4 -> /head/head.2/Gemm
        = product stem up
        - /head/head.2/Gemm: OUT""",
    "gated": """
        a: Conv>Conv 4, 4x4 -> /head/head.2/Gemm
        b: Conv>Sigmoid 4, 4x4 -> /head/head.2/Gemm
        = product a b
        - /head/head.2/Gemm: OUT""",
    "separable": """
        0: Conv>Relu 4, 4x4 -> /2/Conv
        2: Conv>Clip 4, 4x4 -> /4/Conv
        4: Conv>Clip 5, 4x4 -> /6/6.2/Gemm
        = depthwise 0 2
        - /6/6.2/Gemm: OUT""",
    # SiLU, GELU, its tanh form and hard-swish end in a product, Mish too; the sigmoid is four
    # nodes in a row, of which torch writes the division as Reciprocal and Mul.
    "activations": """
        0: Conv>Mul 4, 4x4 -> /2/Conv
        2: Conv>Mul 5, 4x4 -> /4/Conv
        4: Conv>Mul 4, 4x4 -> /6/Conv
        6: Conv>Mul 3, 4x4 -> /8/Conv
        8: Conv>PRelu 4, 4x4 -> /10/Conv
        10: Conv>Mul 5, 4x4 -> /12/Conv
        12: Conv>Elu 4, 4x4 -> /14/Conv
        14: Conv>Reciprocal 3, 4x4 -> /16/16.2/Gemm
        - /16/16.2/Gemm: OUT""",
    "local norm node": """
        a: Conv>Relu 4, 2x2 -> y/Gemm
        - y/Gemm: OUT""",
    # In pieces the norm pools over the axis of units.
    "local norm": """
        0: Conv>Relu 4, 4x4 -> /3/Conv
        ! /2/AveragePool: AveragePool pools over axis 2, where units lie
        3: Conv>Relu 5, 4x4 -> /5/5.2/Gemm
        - /2/If: If holds a graph of its own, which is not entered
        - /5/5.2/Gemm: OUT""",
    "tokens": """
        a: MatMul>Mul 5 on axis 2, 5 -> /b/MatMul
        b: MatMul>Add 4 on axis 2, 5 -> /c/Gemm
        - /c/Gemm: OUT""",
    "channels last": """
        a: Conv>Relu 4, 8x8 -> /fc/Gemm
        - /fc/Gemm: OUT""",
    "shuffled": """
        a: Conv>Relu 4, 4x4 -> /b/Conv
        b: Conv>Relu 6, 4x4 -> /head/head.2/Gemm
        - /head/head.2/Gemm: OUT""",
    "sizes first": """
        a: Conv>Relu 4, 8x8 -> /b/Gemm
        b: Gemm>Relu 5, - -> /c/Gemm
        - /c/Gemm: OUT""",
    "siamese": """
        a: Gemm>Relu 5, - -> /out/Gemm
        a#2: Gemm>Relu 5, - -> /out/Gemm
        = sum a a#2
        = shared a a#2
        - /out/Gemm: OUT""",
    "two inputs": """
        a: Conv>Relu 4, 4x4 -> /c/Gemm
        b: Gemm>Tanh 5, - -> /c/Gemm
        = concat a b+4
        - /c/Gemm: OUT""",
    "recurrent": """
        a: MatMul>Relu 5 on axis 2, 4 -> /cell/LSTM
        - /cell/LSTM: recurrent: its units live in a state, which is not looked into
        - /out/Gemm: OUT""",
    "transposed": """
        0: ConvTranspose>Relu 4, 8x8 -> /2/ConvTranspose
        2: ConvTranspose>Relu 6, 10x10 -> /4/4.2/Gemm
        - /4/4.2/Gemm: OUT""",
    "grouped": """
        0: Conv>Relu 4, 4x4 -> /2/Conv
        2: Conv>Relu 6, 4x4 -> /4/Conv
        4: Conv>Relu 12, 4x4 -> /6/6.2/Gemm
        - /6/6.2/Gemm: OUT""",
    "sound": """
        0: Conv>Relu 4, 14 -> /3/Conv
        3: Conv>Relu 5, 5 -> /6/Gemm
        - /6/Gemm: OUT""",
    "volume": """
        0: Conv>Relu 4, 4x4x4 -> /4/Gemm
        - /4/Gemm: OUT""",
    "group norm": """
        0: Conv>Relu 4, 4x4 -> /3/Conv
        3: Conv>Relu 5, 4x4 -> /5/5.2/Gemm
        - /5/5.2/Gemm: OUT""",
    "two heads": """
        trunk: Gemm>Relu 5, - -> /a/Gemm
        - /a/Gemm: OUT
        - /b/Gemm: does not lead to output 'first'
        - /c/Gemm: does not lead to output 'first'""",
    "ends in relu": """
        0: Gemm>Relu 5, - -> /2/Gemm
        - /2/Gemm: OUT""",
    "ends in softmax": """
        0: Gemm>Relu 5, - -> /2/Gemm
        - /2/Gemm: OUT""",
    "ends in pooling": """
        0: Conv>Relu 4, 4x4 -> /2/Conv
        - /2/Conv: OUT""",
    "ends in depthwise": """
        a: Conv>Relu 4, 2x2 -> d/Conv
        ! d/Conv: carried into units that are not analysed
        - d/Conv: OUT""",
    # Inside the attention the examples lie on axis 1, and nothing has put them first.
    "attention": """
        attend.out_proj: MatMul>Transpose 4 on axis 2, 5 -> /up/MatMul
        up: MatMul>Relu 6 on axis 2, 5 -> /down/MatMul
        down: MatMul>Add 4 on axis 2, 5 -> /out/Gemm
        = sum attend.out_proj down
        - /attend/MatMul: its examples lie on no axis of their own
        - /out/Gemm: OUT""",
    "windows": """
        a: Conv>Relu 4, 8x8 -> /b/MatMul
        - /b/MatMul: its examples lie on no axis of their own
        - /c/Gemm: OUT""",
    # The units of up and down are places of the stem's: they share no axis with the stem's units,
    # and the two layers do not read those.
    "mixer": """
        stem: MatMul>Relu 4 on axis 2, 5 -> /out/Gemm
        up: MatMul>Relu 7 on axis 2, 4 -> /down/MatMul
        down: MatMul>Add 5 on axis 2, 4 -> nobody
        ! /ReduceMean: ReduceMean over the axis that units or examples lie on
        - /out/Gemm: OUT""",
    "constants": """
        a: MatMul>Relu 5, - -> y/MatMul
        - y/MatMul: OUT""",
    "listed": """
        a: Gemm>Relu 5, - -> y/Gemm
        - y/Gemm: OUT""",
    "old places": """
        a: Conv>Clip 4, 4x4 -> y/Gemm
        - y/Gemm: OUT""",
    "new places": """
        a: Conv>Clip 4, 4x4 -> y/Gemm
        - y/Gemm: OUT""",
    "branching": """
        a: Gemm>Relu 5, - -> nobody
        ! c/If: read in a graph that is not entered
        - c/If: If holds a graph of its own, which is not entered
        - y/Gemm: OUT""",
    "foreign": """
        a: Gemm>Relu 5, - -> nobody
        ! c/Blend: no rule for operator org.example.Blend
        - c/Blend: Blend has weights but no rule
        - y/Gemm: OUT""",
    "weightless": "",
    "binary": """
        a: Gemm>Cast 5, - -> y/Gemm
        - y/Gemm: OUT""",
    "quantised": """
        a: MatMul>MatMul 5, - -> b/MatMul c/MatMul
        - b/MatMul: OUT
        - c/MatMul: OUT""",
    "integer": """
        - c/QLinearConv: OUT""",
    "halves": """
        a: Gemm>Relu 5, - -> y/Gemm
        - y/Gemm: OUT""",
    "doubles": """
        a: Gemm>Relu 5, - -> y/Gemm
        - y/Gemm: OUT""",
    "computed bias": """
        a: Gemm>Relu 5, - -> b/Gemm
        ! b/Gemm: units are the bias of a Gemm
        b: Gemm>Relu 5, - -> y/Gemm
        - y/Gemm: OUT""",
    "padded shortcut": """
        a: Conv>Relu 4, 4x4 -> b/Conv
        b: Conv>Relu 6, 2x2 -> y/Gemm
        = sum b a+1
        - y/Gemm: OUT""",
    "identity skip": """
        a: Gemm>Relu 5, - -> y/Gemm
        - y/Gemm: OUT""",
    "sizes of four": """
        a: Conv>Relu 3, 4x5 -> y/Gemm
        - y/Gemm: OUT""",
    "squeezed": """
        a: Conv>Relu 4, 1x1 -> nobody
        ! s/Squeeze: Squeeze that mixes units with the batch
        - y/Gemm: OUT""",
    "flattened first": """
        - a/Conv: its nonlinearity comes after units were flattened
        - y/Gemm: OUT""",
    "looped": """
        a: Gemm>Relu 5, - -> nobody
        ! l/Loop: Loop holds a graph of its own, which is not entered
        ! l/Loop: read in a graph that is not entered
        - l/Loop: Loop holds a graph of its own, which is not entered
        - y/Gemm: OUT""",
    "doubled": """
        a: Gemm>Relu 5, - -> y/Gemm
        = concat a a+5
        - y/Gemm: OUT""",
    "squared": """
        a: Gemm>Mul 5, - -> y/Gemm
        - y/Gemm: OUT""",
    "split": """
        a: Gemm>Gemm 8, - -> y/Gemm
        = product a a
        - y/Gemm: OUT""",
    "crossed": """
        a: MatMul>Relu 4, 4 -> y/Gemm
        - b/MatMul: another layer's units lie otherwise in what it writes
        - y/Gemm: OUT""",
    # Sixteen entries before s are sixteen of its units.
    "flat beside": """
        a: Conv>Relu 4, 2x2 -> y/Gemm
        b: Gemm>Relu 8, - -> y/Gemm
        = concat a b+16
        - y/Gemm: OUT""",
    "flat sum": """
        a: Conv>Relu 4, 2x2 -> y/Gemm
        b: Gemm>Relu 16, - -> y/Gemm
        = sum a b
        - y/Gemm: OUT""",
    "embedded": """
        a: MatMul>Relu 5 on axis 2, 4 -> y/Gemm
        - e/Gather: looks rows of a table up: no unit is computed by its weights
        - p/Add: a number of its own for each place: no units
        - y/Gemm: OUT""",
    "cnn of any size": """
        - /0/Conv: its shape is not known: give --input-shape
        - /2/Conv: its shape is not known: give --input-shape
        - /4/4.2/Gemm: OUT""",
}
SAME = ["cnn of opset 9", "cnn with weights as inputs", "cnn of one", "cnn of four"]
BY_DYNAMO = [name for name in NETS if name.endswith(" by dynamo")]


def expected(name: str) -> str:
    return written_out(PICTURES[name])


def test_every_network_has_a_picture():
    assert {*PICTURES, *SAME, *BY_DYNAMO} == set(NETS)


@pytest.mark.parametrize("name", PICTURES)
def test_picture_of(name, tmp_path):
    assert picture(opened(network(name), tmp_path / "m.onnx")) == expected(name)


@pytest.mark.parametrize("name", SAME)
def test_the_file_around_a_network_does_not_matter(name, tmp_path):
    assert picture(opened(network(name), tmp_path / "m.onnx")) == expected("cnn")


@pytest.mark.parametrize("name", BY_DYNAMO)
def test_both_exporters_give_the_same_sites(name, tmp_path):
    def outline(name):
        found = find_sites(opened(network(name), tmp_path / "m.onnx"))
        order = [site.name for site in found.sites]
        merge_points = [
            (
                merge_point.kind,
                {(order.index(part.site), part.offset) for part in merge_point.parts},
            )
            for coupling in found.couplings
            for merge_point in coupling.merge_points
        ]
        return [(site.op, site.axis, site.shape) for site in found.sites], merge_points

    assert outline(name) == outline(name.removesuffix(" by dynamo"))


def test_another_output_moves_the_end_of_the_network(tmp_path):
    model = opened(network("two heads"), tmp_path / "m.onnx")
    assert picture(model, "second").splitlines() == [
        "trunk: Gemm>Relu 5, - -> /a/Gemm",
        "a: Gemm>Gemm 4, - -> /b/Gemm",
        "b: Gemm>Relu 3, - -> /c/Gemm",
        f"- /c/Gemm: {OUT}",
    ]


def test_input_shape_settles_open_sizes(tmp_path):
    model = opened(network("cnn of any size"), tmp_path / "m.onnx", input_shape="1x3x8x6")
    assert picture(model).splitlines() == [
        "0: Conv>Relu 4, 8x6 -> /2/Conv",
        "2: Conv>Relu 5, 8x6 -> /4/4.2/Gemm",
        f"- /4/4.2/Gemm: {OUT}",
    ]


def test_couplings_are_named_in_the_order_of_the_graph(tmp_path):
    model = opened(network("residual"), tmp_path / "m.onnx")
    found = find_sites(model)
    couplings = found.coupling_names()
    names = {site.layer: couplings.get(site.name) for site in found.sites}
    assert names == {
        "0": "coupling 1", "2.a": None, "2.b": "coupling 1",
        "3.a": None, "3.b": "coupling 2", "4.a": None, "4.b": "coupling 2",
    }  # fmt: skip
