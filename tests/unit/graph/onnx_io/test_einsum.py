"""Einsum written as products computes what it computed, and its projections can be thinned."""

import numpy as np
import onnx
import pytest
from onnx import helper

from frivkit.graph.onnx_io.load import read
from tests.handmade import written
from tests.surgery import agrees, close, run, shapes

SIZES = {"b": 3, "l": 4, "m": 5, "h": 2, "d": 6, "k": 3, "o": 7}


def einsum(equation, constants=(), opset=17):
    """Return a model of one Einsum whose batch is free, arrays for its inputs, and its result."""
    generator = np.random.default_rng(0)
    inputs, weights, feeds, arrays = [], [], {}, []
    left = equation.partition("->")[0].split(",")
    for number, term in enumerate(left):
        labels = term.replace("...", "bl").replace(" ", "")
        array = generator.standard_normal([SIZES[label] for label in labels]).astype(np.float32)
        arrays.append(array)
        if number in constants:
            weights.append(onnx.numpy_helper.from_array(array, f"x{number}"))
            continue
        sizes = ["N" if label == "b" else SIZES[label] for label in labels]
        inputs.append(helper.make_tensor_value_info(f"x{number}", 1, sizes))
        feeds[f"x{number}"] = array
    names = [f"x{number}" for number in range(len(left))]
    node = helper.make_node("Einsum", names, ["y"], equation=equation, name="e")
    wanted = np.einsum(equation, *arrays)
    output = helper.make_tensor_value_info("y", 1, ["N", *wanted.shape[1:]])
    graph = helper.make_graph([node], "g", inputs, [output], weights)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8), feeds, wanted


@pytest.mark.parametrize(
    ("equation", "constants", "macs"),
    [
        ("bld,do->blo", (1,), 4 * 6 * 7),
        ("bld,dhk->blhk", (1,), 4 * 6 * 2 * 3),
        ("blhk,hkd->bld", (1,), 4 * 6 * 6),
        ("blhk,dhk->bld", (1,), 4 * 6 * 6),
        ("bhld,hde->bhle".replace("e", "o"), (1,), 2 * 4 * 6 * 7),
        ("od,bld->blo", (0,), 4 * 6 * 7),
        ("...d,od->...o", (1,), 4 * 6 * 7),
        ("b l d , d o", (1,), 4 * 6 * 7),
        ("blhk,bmhk->bhlm", (), 2 * 4 * 5 * 3),
        ("bhlm,bmhk->blhk", (), 2 * 4 * 5 * 3),
        ("bld,bmd->bl", (), None),
        ("bd,bd->b", (), 6),
        ("bl,bm->blm", (), 0),
        ("bld,l->bld", (1,), 0),
        ("bld->bdl", (), 0),
        ("bld->b", (), 0),
        ("bld,dk,ko->blo", (1, 2), 4 * 6 * 3 + 4 * 3 * 7),
        ("bldk,bmok->bdolm", (), 4 * 5 * 6 * 7 * 3),
    ],
)
def test_what_is_written_for_an_einsum_computes_the_same(equation, constants, macs, tmp_path):
    from frivkit.graph.cost import macs as counted

    proto, feeds, wanted = einsum(equation, constants)
    onnx.save(proto, tmp_path / "m.onnx")
    model = read(tmp_path / "m.onnx")
    assert "Einsum" not in {node.op_type for node in model.graph}
    assert [value.name for value in model.graph.outputs] == ["y"]
    close(run(model.ir, feeds), [wanted])
    if macs is not None:
        assert counted(model.graph) == macs


def test_an_einsum_of_a_diagonal_stays_and_is_counted(tmp_path):
    from frivkit.graph.cost import macs

    proto = written(
        """g (float[N, 4, 4] x) => (float[N, 6] y) {
          y = Einsum <equation = "bii,io->bo"> (x, w)
        }""",
        w=(4, 6),
    )
    onnx.save(proto, tmp_path / "m.onnx")
    model = read(tmp_path / "m.onnx")
    assert [node.op_type for node in model.graph] == ["Einsum"]
    assert macs(model.graph) == 4 * 6


def test_projections_of_an_attention_in_einsum_can_be_thinned(tmp_path):
    """Values of two heads leave together with the rows of the output projection."""
    proto = written(
        """g (float[N, 4, 6] x) => (float[N, 4, 2] y) {
          q = Einsum <equation = "bld,dhk->blhk"> (x, wq)
          k = Einsum <equation = "bld,dhk->blhk"> (x, wk)
          v = Einsum <equation = "bld,dhk->blhk"> (x, wv)
          s = Einsum <equation = "blhk,bmhk->bhlm"> (q, k)
          p = Softmax (s)
          o = Einsum <equation = "bhlm,bmhk->blhk"> (p, v)
          z = Einsum <equation = "blhk,hkd->bld"> (o, wo)
          r = Relu (z)
          y = Einsum <equation = "bld,do->blo"> (r, wy)
        }""",
        wq=(6, 2, 4), wk=(6, 2, 4), wv=(6, 2, 4), wo=(2, 4, 6), wy=(6, 2),
    )  # fmt: skip
    head = {f"{name}/Einsum/product/1/out": [1, 5] for name in "vqk"}
    compressed = agrees(proto, tmp_path, r=[0, 4], **head)  # two heads of four entries each
    assert shapes(compressed)["wy"] == [4, 2]
    assert shapes(compressed)["wq"] == shapes(compressed)["wv"] == [6, 6]
    assert shapes(compressed)["wo"] == [6, 4]
