"""Files keep their inputs, outputs and open sizes; examples are found on whatever axis they lie."""

from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor, compress
from frivkit.compression.method import Method
from frivkit.compression.plan import apply_plan
from frivkit.data import open_data
from frivkit.errors import ModelError, UsageError
from frivkit.graph.onnx_io.examples_first import example_axes
from frivkit.graph.onnx_io.given_inputs import parse_given
from frivkit.graph.onnx_io.load import read
from frivkit.graph.onnx_io.save import save
from frivkit.graph.sites.groups import find_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.measure.pipeline import Request, analyze, inspect_model
from frivkit.runtime.execution import Execution
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit.verification.verification import verify
from tests.handmade import written

ONE = Execution(threads=1)


def sizes_of(path):
    """Return what a file declares: inputs, outputs and tensors, with their sizes."""
    graph = onnx.load(path).graph
    return [
        {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        for values in (graph.input, graph.output, graph.value_info)
    ]


def ran(path, **feeds):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)


def padded():
    """Pads a picture to an even size, adds two chunks of channels, and cuts the padding off."""
    return written(
        """g (float[n, 3, h, w] x) => (float[n, k, h, w] y) {
          s = Shape (x)
          i2 = Constant <value_ints = [2]> ()
          i3 = Constant <value_ints = [3]> ()
          h0 = Gather <axis = 0> (s, i2)
          w0 = Gather <axis = 0> (s, i3)
          two = Constant <value_ints = [2]> ()
          ph = Mod (h0, two)
          pw = Mod (w0, two)
          zeros = Constant <value_ints = [0, 0, 0, 0, 0, 0]> ()
          pads = Concat <axis = 0> (zeros, ph, pw)
          p = Pad (x, pads)
          a = Conv <pads = [1, 1, 1, 1]> (p, wa, ba)
          r = Relu (a)
          t = Shape (r)
          one = Constant <value_ints = [1]> ()
          c = Gather <axis = 0> (t, one)
          half = Div (c, two)
          nil = Constant <value_ints = [0]> ()
          f = Slice (r, nil, half, one)
          g2 = Slice (r, half, c, one)
          m = Add (f, g2)
          b = Conv <pads = [1, 1, 1, 1]> (m, wb)
          e = Relu (b)
          d = Conv (e, wd)
          at = Constant <value_ints = [2, 3]> ()
          start = Constant <value_ints = [0, 0]> ()
          ends = Concat <axis = 0> (h0, w0)
          y = Slice (d, start, ends, at)
        }""",
        wa=(8, 3, 3, 3), ba=(8,), wb=(7, 4, 3, 3), wd=(2, 7, 1, 1),
    )  # fmt: skip


@pytest.mark.parametrize("shape", [None, "1x3x8x8"])
def test_open_sizes_stay_open_and_other_sizes_are_right(shape, tmp_path):
    proto = padded()
    kept = helper.make_tensor_value_info("e", TensorProto.FLOAT, ["n", 7, "h1", "w1"])
    proto.graph.value_info.append(kept)
    proto.doc_string, proto.producer_name = "what it is", "someone"
    onnx.save(proto, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 8, 8), np.float32))
    model = read(tmp_path / "m.onnx", shape)
    data = open_data(f"npy:{tmp_path / 'x.npy'}", model.inputs)
    model = infer_shapes_by_running(model, Device(threads=1), data)
    found = find_sites(model)
    widths = {site.name: site.width for site in found.sites}
    assert widths["e"] == 7
    keep = {"e": np.arange(7) % 3 > 0}
    if "r" in widths and narrowable(model, found):
        keep["r"] = np.arange(8) % 4 > 0
    save(narrow(model, found, keep), tmp_path / "thin.onnx", model)
    inputs, outputs, tensors = sizes_of(tmp_path / "thin.onnx")
    assert inputs == {"x": ["n", 3, "h", "w"]}
    assert outputs == {"y": ["n", "k", "h", "w"]}
    assert tensors == {"e": ["n", int(keep["e"].sum()), "h1", "w1"]}
    compressed = onnx.load(tmp_path / "thin.onnx")
    assert (compressed.doc_string, compressed.producer_name, compressed.ir_version) == (
        "what it is",
        "someone",
        8,
    )
    assert [(o.domain, o.version) for o in compressed.opset_import] == [("", 17)]
    zeroed = onnx.load(tmp_path / "m.onnx")
    for weight in zeroed.graph.initializer:
        array = onnx.numpy_helper.to_array(weight).copy()
        if weight.name == "wd":
            array[:, ~keep["e"]] = 0
        if weight.name in ("wa", "ba") and "r" in keep:
            array[~keep["r"]] = 0
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(zeroed, tmp_path / "zeroed.onnx")
    for high, wide in ((8, 8), (9, 8), (5, 12), (3, 3)):
        x = np.random.default_rng(high).standard_normal((2, 3, high, wide)).astype(np.float32)
        (found_,), (wanted,) = (ran(tmp_path / f"{n}.onnx", x=x) for n in ("thin", "zeroed"))
        np.testing.assert_allclose(found_, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


def narrowable(model, found):
    return find_groups(model, found).reason("r") is None


STATES = written(
    """g (float[n, 6] x, float[2, n, 5] state) => (float[n, 3] y, float[2, n, 5] after) {
      a = MatMul (x, u)
      r = Relu (a)
      b = MatMul (r, v)
      k = Constant <value_ints = [1, 1]> ()
      h, c = Split <axis = 0> (state, k)
      axis = Constant <value_ints = [0]> ()
      i = Unsqueeze (b, axis)
      ys, hn, cn = LSTM <hidden_size = 5> (i, w, q, lb, , h, c)
      after = Concat <axis = 0> (hn, cn)
      j = Squeeze (hn, axis)
      y = MatMul (j, z)
    }""",
    u=(6, 12), v=(12, 4), w=(1, 20, 4), q=(1, 20, 5), lb=(1, 40), z=(5, 3),
)  # fmt: skip
TIME_MAJOR = written(
    """g (float[t, n, 6] x, float[1, n, 5] start) => (float[t, n, 3] y) {
      a = MatMul (x, u)
      r = Relu (a)
      b = MatMul (r, v)
      ys, hn = GRU <hidden_size = 5> (b, w, q, , , start)
      axis = Constant <value_ints = [1]> ()
      j = Squeeze (ys, axis)
      y = MatMul (j, z)
    }""",
    u=(6, 12), v=(12, 4), w=(1, 15, 4), q=(1, 15, 5), z=(5, 3),
)  # fmt: skip


def test_states_are_fed_along_their_axis(tmp_path):
    """The state of each example reaches that example, and both files agree with a run by hand."""
    onnx.save(STATES, tmp_path / "m.onnx")
    generator = np.random.default_rng(1)
    x = generator.standard_normal((40, 6)).astype(np.float32)
    state = generator.standard_normal((40, 2, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, state=state)
    model = read(tmp_path / "m.onnx")
    assert model.batch is None
    assert [spec.shape for spec in model.inputs] == [(6,), (2, 5)]
    request = Request(
        tmp_path / "m.onnx", f"npz:{tmp_path / 'd.npz'}", execution=ONE, output="after"
    )
    study = analyze(request, ("redundancy",)).study
    wanted = ran(tmp_path / "m.onnx", x=x, state=np.moveaxis(state, 0, 1))
    np.testing.assert_allclose(study.outputs(), np.moveaxis(wanted[1], 1, 0), rtol=1e-5, atol=1e-6)
    request = replace(request, output=None)
    compress(request, tmp_path / "t.onnx", Budget("units", 0.5), method=Method(refit="none"))
    assert sizes_of(tmp_path / "t.onnx")[:2] == sizes_of(tmp_path / "m.onnx")[:2]
    compressed = ran(tmp_path / "t.onnx", x=x, state=np.moveaxis(state, 0, 1))
    found = verify(request, tmp_path / "t.onnx", time_batches=())
    distance = np.abs(compressed[0] - wanted[0]).max()
    first = found.comparison.outputs[0]
    np.testing.assert_allclose(first.max_abs, distance, rtol=1e-4, atol=1e-7)
    assert distance > 0


def test_steps_may_come_before_examples(tmp_path):
    onnx.save(TIME_MAJOR, tmp_path / "m.onnx")
    generator = np.random.default_rng(1)
    x = generator.standard_normal((40, 7, 6)).astype(np.float32)
    start = generator.standard_normal((40, 1, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, start=start)
    request = Request(tmp_path / "m.onnx", f"npz:{tmp_path / 'd.npz'}", execution=ONE)
    study = analyze(request, ("redundancy",)).study
    feeds = {"x": np.moveaxis(x, 0, 1), "start": np.moveaxis(start, 0, 1)}
    (wanted,) = ran(tmp_path / "m.onnx", **feeds)
    np.testing.assert_allclose(study.outputs(), np.moveaxis(wanted, 1, 0), rtol=1e-5, atol=1e-6)
    compress(request, tmp_path / "t.onnx", Budget("params", 0.9))
    assert sizes_of(tmp_path / "t.onnx")[:2] == sizes_of(tmp_path / "m.onnx")[:2]
    assert ran(tmp_path / "t.onnx", **feeds)[0].shape == wanted.shape


def names(*shapes):
    return [[ir.SymbolicDim(s) if isinstance(s, str) else s for s in shape] for shape in shapes]


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        ([["n", 256], [2, "n", 16]], [0, 1]),
        ([["s0", 4], [2, "s0", 16]], [0, 1]),
        ([["x_axis_0", 4], [2, "h_axis_1", 16]], [0, 1]),
        ([["time", "batch", 40]], [1]),
        ([["s0", "s1", 40], [1, "s1", 8]], [1, 1]),
        ([["batch", 3, "height", "width"]], [0]),
        ([[1, 80, "time"]], [0]),
        ([[1, 80, "time"], [1, "time"]], [0, 0]),
        ([[4, 3], [2, 4, 5]], [0, 1]),
        ([[1, 3], [2, 1, 5]], [0, 1]),
        ([["a", 3], [2, 1, 5]], [0, 1]),
        ([["batch", "n", 3]], [0]),
    ],
)
def test_the_axis_of_examples(shapes, axes):
    assert example_axes(names(*shapes)) == axes


@pytest.mark.parametrize(
    ("shape", "doubtful"),
    [
        (["s0", "s1", 6], "7xnx6 for axis 1"),
        (["s0", 6, "s1"], "7x6xn for axis 2"),
        ([2, "s0", "s1"], "2xnx7 for axis 1"),
        (["n", "s1", 6], None),
        (["s0", "batch", 6], None),
        (["s0", 6, 6], None),
        (["s0", 3, "s1", "s2"], None),
        ([1, 80, "s0"], None),
    ],
)
def test_an_axis_of_examples_that_is_not_certain_is_said(shape, doubtful, tmp_path):
    sizes = ", ".join(map(str, shape))
    proto = written(f"g (float[{sizes}] x) => (float[{sizes}] y) {{ y = Relu (x) }}")
    onnx.save(proto, tmp_path / "m.onnx")
    notes = read(tmp_path / "m.onnx").notes
    assert [note for note in notes if "counts the examples" in note] == list(notes)
    assert [doubtful in note for note in notes] == ([True] if doubtful else [])


def test_the_axis_of_examples_can_be_said(tmp_path):
    """Of two open axes the second: steps are fed by example, and the file keeps its order."""
    proto = onnx.ModelProto()
    proto.CopyFrom(TIME_MAJOR)
    for value in (*proto.graph.input, *proto.graph.output):
        for size in value.type.tensor_type.shape.dim:
            size.dim_param = {"t": "s0", "n": "s1"}.get(size.dim_param, size.dim_param)
    del proto.graph.input[1]
    proto.graph.node[[n.op_type for n in proto.graph.node].index("GRU")].input[5] = ""
    onnx.save(proto, tmp_path / "m.onnx")
    model = read(tmp_path / "m.onnx", "7xnx6")
    assert (model.inputs[0].shape, model.notes) == ((7, 6), ())
    x = np.random.default_rng(0).standard_normal((40, 7, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    request = Request(
        tmp_path / "m.onnx", f"npy:{tmp_path / 'x.npy'}", input_shape="7xnx6", execution=ONE
    )
    study = analyze(request, ("redundancy",)).study
    (wanted,) = ran(tmp_path / "m.onnx", x=np.moveaxis(x, 0, 1))
    np.testing.assert_allclose(study.outputs(), np.moveaxis(wanted, 1, 0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError, match="does not fit input 'x'"):
        read(tmp_path / "m.onnx", "7x6x1xn")
    with pytest.raises(ModelError, match="or written n, as in 7xnx40"):
        read(tmp_path / "m.onnx", "nxnx6")


SWITCHED = written(
    """g (float[n, 6] x, int64 rate, float[4] mask) => (float[n, 3] y) {
      a = MatMul (x, u)
      r = Relu (a)
      m = MatMul (r, v)
      k = Mul (m, mask)
      high = Constant <value_int = 16000> ()
      is = Equal (rate, high)
      s = Where (is, k, m)
      t = Relu (s)
      y = MatMul (t, z)
    }""",
    u=(6, 9), v=(9, 4), z=(4, 3),
)  # fmt: skip


def test_numbers_for_inputs_without_examples(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(SWITCHED, path)
    given = {"rate": 16000, "mask": [1, 0.5, 0, 2]}
    with pytest.raises(ModelError, match=r"'rate' of m.onnx has no axis .* --input rate=VALUE"):
        inspect_model(Request(path))
    request = Request(path, "gaussian?n=40", inputs=given, execution=ONE)
    study = analyze(request, ("redundancy",)).study
    x = study.data.read(0, 40).inputs["x"]
    mask = np.float32([1, 0.5, 0, 2])
    (wanted,) = ran(path, x=x, rate=np.array(16000), mask=mask)
    np.testing.assert_allclose(study.outputs(), wanted, rtol=1e-5, atol=1e-6)
    compress(request, tmp_path / "t.onnx", Budget("units", 0.7), method=Method(refit="none"))
    assert sizes_of(tmp_path / "t.onnx") == sizes_of(path)
    for rate in (16000, 8000):
        (found,) = ran(tmp_path / "t.onnx", x=x, rate=np.array(rate), mask=mask)
        assert found.shape == (40, 3)
    found = verify(request, tmp_path / "t.onnx", time_batches=(1,))
    assert found.original.latency[1] is not None
    other = replace(request, inputs={**given, "rate": 8000})
    assert read(path, given=other.inputs).identity != read(path, given=given).identity
    assert not np.allclose(analyze(other, ("redundancy",)).study.outputs(), wanted)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"speed": 1}, "'speed', which is no input; the inputs are x, rate, mask"),
        ({"rate": 0.5}, "gives 0.5 for 'rate', which takes int64"),
        ({"rate": [1, 2]}, "gives 2 numbers for 'rate', which takes one number"),
        ({"mask": [1, 2, 3]}, "gives 3 numbers for 'mask', which takes 4"),
    ],
)
def test_numbers_that_an_input_does_not_take(given, reason, tmp_path):
    onnx.save(SWITCHED, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=reason):
        inspect_model(Request(tmp_path / "m.onnx", inputs=given))


@pytest.mark.parametrize("text", ["sr", "=3", "sr=", "sr=a", "sr=1,,2"])
def test_malformed_numbers(text):
    with pytest.raises(UsageError, match="not of the form NAME=VALUE"):
        parse_given(text)
    assert parse_given(" sr =16000") == ("sr", [16000])


ROWS = written(
    """g (float[n, 3, 4, 4] x) => (float[rows, 5] y) {
      a = Conv <pads = [1, 1, 1, 1]> (x, u)
      r = Relu (a)
      b = Conv (r, v)
      t = Transpose <perm = [0, 2, 3, 1]> (b)
      shape = Constant <value_ints = [-1, 5]> ()
      y = Reshape (t, shape)
    }""",
    u=(8, 3, 3, 3), v=(5, 8, 1, 1),
)  # fmt: skip


def test_rows_of_an_example_are_its_positions(tmp_path):
    onnx.save(ROWS, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", "gaussian?n=50", execution=ONE)
    study = analyze(request, ("redundancy",)).study
    (wanted,) = ran(tmp_path / "m.onnx", x=study.data.read(0, 50).inputs["x"])
    np.testing.assert_array_equal(study.labels(), wanted.argmax(axis=1).reshape(50, 16))
    result = compress(request, tmp_path / "t.onnx", Budget("units", 0.5))
    assert result.verification.comparison.agreement.positions == 16


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("k = NonZero (r) y = Transpose (k)", "for 2 examples|for 3 examples|other rows"),
        ("y = ReduceMax <keepdims = 0> (q)", "one number for all examples"),
    ],
)
def test_rows_that_are_not_those_of_examples_are_refused_at_once(body, reason, tmp_path):
    text = "g (float[n, 6] x) => (float[k] y) { a = MatMul (x, u) r = Relu (a) q = MatMul (r, v) "
    kind = "int64[rows, two]" if "NonZero" in body else "float"
    proto = written(text.replace("float[k]", kind) + body + "}", opset=13, u=(6, 9), v=(9, 4))
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=reason):
        Compressor(Request(tmp_path / "m.onnx", "gaussian?n=40", execution=ONE))


def test_a_batch_that_is_part_of_a_shape_takes_its_turns(tmp_path):
    proto = written(
        """g (float[4, 6] x) => (float[4, 3] y) {
          a = MatMul (x, u)
          r = Relu (a)
          q = MatMul (r, p)
          t = Relu (q)
          s1 = Constant <value_ints = [-1, 4, 7]> ()
          b = Reshape (t, s1)
          c = MatMul (b, v)
          s2 = Constant <value_ints = [4, 3]> ()
          y = Reshape (c, s2)
        }""",
        u=(6, 9), p=(9, 7), v=(7, 3),
    )  # fmt: skip
    onnx.save(proto, tmp_path / "m.onnx")
    request = Request(tmp_path / "m.onnx", "gaussian?n=43", execution=ONE)
    study = analyze(request, ("redundancy", "prunability")).study
    assert study.model.batch == 4
    x = np.concatenate([study.data.read(0, 43).inputs["x"], np.zeros((1, 6), np.float32)])
    wanted = np.concatenate([ran(tmp_path / "m.onnx", x=x[i : i + 4])[0] for i in range(0, 44, 4)])
    np.testing.assert_allclose(study.outputs(), wanted[:43], rtol=1e-5, atol=1e-6)
    compressor = Compressor(request)
    plan, _ = compressor.plan(Budget("units", 0.7))
    assert apply_plan(compressor.calibration, plan) is not None
    compress(request, tmp_path / "t.onnx", Budget("units", 0.7))
    assert ran(tmp_path / "t.onnx", x=x[:4])[0].shape == (4, 3)
