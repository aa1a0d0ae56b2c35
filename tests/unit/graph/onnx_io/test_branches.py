"""Branches whose condition never changes are part of the graph; others stay whole."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from frivkit.compression.budget import Budget
from frivkit.compression.compress import compress
from frivkit.compression.method import Method
from frivkit.graph.onnx_io.load import read
from frivkit.measure.pipeline import Request, inspect_model
from frivkit.runtime.execution import Execution
from frivkit.runtime.session import Device, Session
from frivkit.verification import verify
from tests.handmade import written

BODY = """
  a = MatMul (x, u)
  r = If (c) <
    then_branch = t () => (float[n, 9] o) {
      o1 = Relu (a)
      d = If (c) <then_branch = p () => (float[n, 9] q) { q = Identity (o1) },
                  else_branch = p () => (float[n, 9] q) { q = Neg (o1) }>
      o = Identity (d)
    },
    else_branch = e () => (float[n, 9] o) { o = Tanh (a) }>
  y = If (c) <
    then_branch = t () => (float[n, 3] o) {
      k = MatMul (r, v)
      k2 = Relu (k)
      o = MatMul (k2, w)
    },
    else_branch = e () => (float[n, 3] o) { o1 = Relu (r) o = MatMul (o1, w2) }>
  last = If (c) <
    then_branch = t () => (float[n, 9] o) { o = Identity (r) },
    else_branch = e () => (float[n, 9] o) { o = Identity (r) }>
"""
SIZE = """
  s = Shape ({of})
  i = Constant <value_ints = [{axis}]> ()
  d0 = Gather (s, i)
  one = Constant <value_ints = [{number}]> ()
  c0 = Equal (d0, one)
  c = Squeeze (c0)
"""
CONDITIONS = {
    "true constant": "one = Constant <value_int = 1> () c = Cast <to = 9> (one)",
    "false constant": "zero = Constant <value_int = 0> () c = Cast <to = 9> (zero)",
    "true size": SIZE.format(of="x", axis=1, number=6),
    "false size": SIZE.format(of="x", axis=1, number=5),
    "number of examples": SIZE.format(of="x", axis=0, number=1),
    "number of examples, few": SIZE.format(of="x", axis=0, number=4),
    "open size": SIZE.format(of="z", axis=1, number=1),
}


def branching(condition: str) -> onnx.ModelProto:
    return written(
        f"""g (float[n, 6] x, float[n, k] z) => (float[n, 3] y, float[n, 9] last) {{
          {CONDITIONS[condition]} {BODY}
        }}""",
        u=(6, 9), v=(9, 4), w=(4, 3), w2=(9, 3),
    )  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS)
def test_what_is_computed_stays_and_chosen_branches_are_analysed(condition, tmp_path):
    proto = branching(condition)
    onnx.save(proto, tmp_path / "m.onnx")
    model = read(tmp_path / "m.onnx")
    left = sum(node.op_type == "If" for node in model.graph)
    chosen = condition.startswith(("true", "false"))
    assert left == (0 if chosen else 3)
    reference = ReferenceEvaluator(proto)
    session = Session(model.ir, Device(threads=1))
    for count, size in ((1, 1), (4, 1), (1, 3)):  # both branches of those that stay
        x = np.random.default_rng(count).standard_normal((count, 6)).astype(np.float32)
        feeds = {"x": x, "z": np.zeros((count, size), np.float32)}
        for found, wanted in zip(
            session.run(feeds, ["y", "last"]), reference.run(None, feeds), strict=True
        ):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    request = Request(tmp_path / "m.onnx", input_shape="1x6,1x1", execution=Execution(threads=1))
    _, found = inspect_model(request)
    then = condition.startswith("true") or condition == "open size"  # which the request closes
    assert [site.width for site in found.sites] == ([9, 4] if then else [9])
    assert [skip.op for skip in found.skipped].count("If") == (0 if then else left)


def test_a_chosen_branch_is_compressed(tmp_path):
    onnx.save(branching("true size"), tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, z=np.zeros((40, 2), np.float32))
    request = Request(tmp_path / "m.onnx", f"npz:{tmp_path / 'd.npz'}", output="y")
    compress(request, tmp_path / "t.onnx", Budget("units", 0.8), method=Method(refit="none"))
    feeds = {"x": x, "z": np.zeros((40, 2), np.float32)}
    before, after = (
        ReferenceEvaluator(onnx.load(tmp_path / name)).run(["y"], feeds)[0]
        for name in ("m.onnx", "t.onnx")
    )
    verification = verify(request, tmp_path / "t.onnx", time_batches=())
    distance = verification.comparison.outputs[0].max_abs
    np.testing.assert_allclose(np.abs(after - before).max(), distance, rtol=1e-3)
    assert distance > 0


def test_a_number_that_is_given_decides(tmp_path):
    """And so do sizes that are given; what is said of both is that other branches are gone."""
    proto = written(
        f"""g (float[n, k] x, int64 sr) => (float[n, 3] y) {{
          wide = Constant <value_int = 16000> ()
          c = Equal (sr, wide)
          a = If (c) <
            then_branch = t () => (float[n, 9] o) {{ o1 = MatMul (x, u) o = Relu (o1) }},
            else_branch = e () => (float[n, 9] o) {{ o2 = MatMul (x, u) o = Tanh (o2) }}>
          {SIZE.format(of="x", axis=1, number=6).replace("c = Squeeze", "d = Squeeze")}
          y = If (d) <
            then_branch = t () => (float[n, 3] o) {{ o = MatMul (a, v) }},
            else_branch = e () => (float[n, 3] o) {{ o3 = Neg (a) o = MatMul (o3, v) }}>
        }}""",
        u=(6, 9), v=(9, 3),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    request = Request(
        tmp_path / "m.onnx",
        data=f"npz:{tmp_path / 'x.npz'}",
        input_shape="nx6",
        inputs={"sr": 8000},
    )
    model, site_map = inspect_model(request)
    assert [node.op_type for node in model.graph if node.op_type in ("If", "Tanh", "Relu")] == [
        "Tanh"
    ]
    assert [site.width for site in site_map.sites] == [9]
    assert any("its branches are those for sr as given" in note for note in model.notes)
    assert any("its branches are those for --input-shape nx6" in note for note in model.notes)
    result = compress(request, tmp_path / "t.onnx", Budget("units", 0.5), method=Method("select"))
    assert result.verification.comparison.unproved == {}
    for number, told in ((8000, False), (16000, True)):
        other = verify(
            replace(request, inputs={"sr": number}), tmp_path / "t.onnx", time_batches=()
        )
        line = "t.onnx holds only the branches for sr=8000, --input-shape nx6, and m.onnx is run "
        line += f"with those for sr={number}, --input-shape nx6: "
        assert any(warning.startswith(line) for warning in other.warnings) == told
        assert not told or other.comparison.main.relative_l2 > 0.5
    written_ = onnx.load(tmp_path / "t.onnx")
    assert [value.name for value in written_.graph.input] == ["x", "sr"]
    wanted = ReferenceEvaluator(proto).run(None, {"x": x, "sr": np.array(8000)})[0]
    (found,) = Session(model.ir, Device(threads=1)).run({"x": x}, ["y"])
    assert np.allclose(found, wanted, atol=1e-5)
