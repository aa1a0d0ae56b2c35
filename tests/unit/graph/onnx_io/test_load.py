"""What becomes of an ONNX file, sound or not: what cannot be used is refused in one line."""

import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from frivkit.errors import ModelError
from frivkit.graph.sites.site_map import find_sites
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.session import Device
from frivkit.units.masks import Mask
from frivkit_onnx.provider import load
from frivkit_unit_selectors.selectors import MAP
from tests.handmade import constants, written

NET = """g (float[N, 6] x) => (float[N, 3] y) {
  a = Gemm (x, wa)
  r = Relu (a)
  y = Gemm (r, wb)
}"""
FREE = "g (float[N, 3, H, W] x) => (float[N, 4, P, Q] y) { y = Conv (x, w) }"


def net() -> onnx.ModelProto:
    return written(NET, wa=(6, 5), wb=(5, 3))


def saved(proto: onnx.ModelProto | bytes, folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(proto if isinstance(proto, bytes) else proto.SerializeToString())
    return path


def refusal(path: Path, **options: str) -> str:
    with pytest.raises(ModelError) as caught:
        load(path, options)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert len(text) < 600
    return text


def moved_out(tensor: TensorProto, location: str, **more: int) -> bytes:
    """Make a tensor say that its numbers are in a file; give those numbers."""
    raw = numpy_helper.to_array(tensor).tobytes()
    for field in ("raw_data", "float_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
    return raw


def test_a_sound_file(tmp_path):
    proto = net()
    helper.set_model_props(proto, {"frivkit.data": "digits"})
    model = load(saved(proto, tmp_path), {})
    assert (model.format, model.batch, model.metadata) == ("onnx", None, {"frivkit.data": "digits"})
    assert [(each.name, each.dtype, each.shape) for each in model.inputs] == [
        ("x", "float32", (6,))
    ]
    assert model.parameters == 6 * 5 + 5 * 3
    assert model.sha256 == sha256(model.path.read_bytes()).hexdigest()
    assert [site.layer for site in find_sites(model).sites] == ["a"]


def test_a_missing_file_and_a_folder(tmp_path):
    assert refusal(tmp_path / "no.onnx") == (
        f"model file {tmp_path / 'no.onnx'} does not exist; give the path of an .onnx file"
    )
    assert "is a folder or a device; give" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "is a folder or a device; give" in refusal(tmp_path / "pipe.onnx")


WHOLE = net().SerializeToString()
BROKEN = {
    "empty": b"",
    "one zero byte": b"\0",
    "zeros": bytes(5000),
    "text": b"this is a text\nof two lines\n" * 50,
    "noise": np.random.default_rng(0).bytes(5000),
    "a name that is no text": WHOLE.replace(b"\x0a\x01a", b"\x0a\x01\xff"),
    "a weight's name that is no text": WHOLE.replace(b"wa", b"\xff\xfe"),
    **{f"{cut} bytes short": WHOLE[:-cut] for cut in (1, 9, 50, len(WHOLE) // 2)},
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_is_no_model(what, tmp_path):
    path = saved(BROKEN[what], tmp_path)
    assert refusal(path).startswith(f"{path} cannot be read as ONNX: ")


def change(**fields):
    """Return a function that sets fields of a model's parts, found by dotted path."""

    def apply(proto: onnx.ModelProto) -> None:
        for path, value in fields.items():
            *way, last = path.split("__")
            part = proto
            for step in way:
                part = part[int(step)] if step.isdigit() else getattr(part, step)
            if value is None:
                part.ClearField(last)
            else:
                setattr(part, last, value)

    return apply


FIRST, ELEMENT = (
    "graph__input__0__type__tensor_type",
    "graph__input__0__type__tensor_type__elem_type",
)
UNSOUND = {
    "nothing comes out": (change(graph__output=None), "has no outputs"),
    "no opset": (change(opset_import=None), "opset_import"),
    "from the future": (change(ir_version=99), "higher than the checker's"),
    "no graph": (change(graph=None), "cannot be read as ONNX"),
    "an operator that is not": (change(graph__node__0__op_type="Gem"), "No Op registered for Gem"),
    "a weight that is not": (lambda proto: proto.graph.initializer.pop(), "is not output of any"),
    "an output that is not": (change(graph__output__0__name="z"), "'z' is not an output"),
    "a cycle": (
        lambda proto: proto.graph.node[0].input.__setitem__(0, "y"),
        "in a circle",
    ),
    "one name twice": (
        lambda proto: proto.graph.node.append(proto.graph.node[0]),
        "both compute 'a'",
    ),
    "a weight as large as it likes": (
        lambda proto: proto.graph.initializer[0].dims.__setitem__(0, 1 << 50),
        "too small for the declared shape",
    ),
    "a weight of less than nothing": (
        lambda proto: proto.graph.initializer[0].dims.__setitem__(0, -6),
        "Negative dimension",
    ),
    "an input without a type": (change(graph__input__0__type=None), "Field 'type'"),
    "an input without a shape": (change(**{f"{FIRST}__shape": None}), "Field 'shape'"),
    "an input of text": (change(**{ELEMENT: TensorProto.STRING}), "not a tensor of numbers"),
    "an input of type 0": (change(**{ELEMENT: 0}), "UNDEFINED"),
    "an input of type 99": (change(**{ELEMENT: 99}), "99 is not a valid DataType"),
    "a list as input": (
        lambda proto: proto.graph.input[0].type.CopyFrom(
            helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1, 6]))
        ),
        "is a Sequence(Tensor(FLOAT)), not a tensor of numbers",
    ),
}


@pytest.mark.parametrize("what", UNSOUND)
def test_a_model_that_is_unsound(what, tmp_path):
    spoil, reason = UNSOUND[what]
    proto = net()
    spoil(proto)
    assert reason in refusal(saved(proto, tmp_path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("g () => (float[3] y) { y = Identity (w) }", "has no inputs"),
        ("g (float x) => (float y) { y = Relu (x) }", "'x' of m.onnx has no axis for examples"),
        (
            "g (float[2, 3] x, float[4, 3] z) => (float[n, 3] y) { y = Concat <axis = 0> (x, z) }",
            "input 'z' of m.onnx has 4 examples where 'x' has 2; if",
        ),
    ],
)
def test_a_model_that_cannot_be_fed(text, reason, tmp_path):
    assert reason in refusal(saved(written(text, w=(3,)), tmp_path))


def test_a_function_that_calls_itself(tmp_path):
    proto = net()
    call = helper.make_node("Again", ["a"], ["b"], domain="own")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto.functions.append(helper.make_function("own", "Again", ["a"], ["b"], [call], opsets))
    proto.opset_import.append(opsets[1])
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "Again", "own"
    assert "recursive" in refusal(saved(proto, tmp_path))


@pytest.mark.parametrize("flat", [True, False], ids=["flat indices", "an index for each axis"])
def test_sparse_weights_are_the_dense_ones_that_they_stand_for(flat, tmp_path):
    dense = np.zeros((6, 5), np.float32)
    dense[1, 2], dense[5, 0] = 3, -2
    wanted = load(saved(written(NET, wa=dense, wb=(5, 3)), tmp_path), {})
    proto = written(NET, wa=dense, wb=(5, 3))
    del proto.graph.initializer[0]
    at = [7, 25] if flat else [1, 2, 5, 0]
    indices = helper.make_tensor("at", TensorProto.INT64, [2] if flat else [2, 2], at)
    values = helper.make_tensor("wa", TensorProto.FLOAT, [2], [3, -2])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [6, 5]))
    found = load(saved(proto, tmp_path), {})
    (weight,) = (v for v in found.graph.initializers.values() if v.name == "wa")
    np.testing.assert_array_equal(weight.const_value.numpy(), dense)
    assert found.parameters == wanted.parameters == 45
    values.dims[0] = indices.dims[0] = 1
    proto.graph.sparse_initializer[0].dims[:] = [1 << 20, 1 << 20]
    assert "1,099,511,627,776 entries" in refusal(saved(proto, tmp_path))


def test_functions_that_stand_for_too_many_nodes(tmp_path):
    proto, depth = net(), 8
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for level in range(depth):
        kind, domain = ("Relu", "") if level == depth - 1 else (f"F{level + 1}", "own")
        names = ["a", *(f"t{n}" for n in range(9)), "b"]
        body = [
            helper.make_node(kind, [names[n]], [names[n + 1]], domain=domain) for n in range(10)
        ]
        proto.functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], body, opsets))
    proto.opset_import.append(opsets[1])
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "F0", "own"
    assert "stand for 100,000,002 nodes" in refusal(saved(proto, tmp_path))


def test_functions_are_put_in_place(tmp_path):
    proto = net()
    body = [helper.make_node("Relu", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto.functions.append(helper.make_function("own", "Bend", ["a"], ["b"], body, opsets[:1]))
    proto.opset_import.append(opsets[1])
    proto.graph.node[1].op_type, proto.graph.node[1].domain = "Bend", "own"
    (site,) = find_sites(load(saved(proto, tmp_path), {})).sites
    assert (site.layer, site.width, site.consumers) == ("a", 5, ("y/Gemm",))


# Numbers outside the model's file: where it says they are, what is there, and what is wrong.
OUTSIDE = {
    "missing": ({"location": "w.bin"}, None, "w.bin, but it is not regular file"),
    "short": ({"location": "w.bin"}, 20, "wants 120 bytes of"),
    "begun behind the end": ({"location": "w.bin", "offset": 4096}, 120, "120 from 4096 while"),
    "begun before the start": ({"location": "w.bin", "offset": -8}, 120, "non-negative, got -8"),
    "too long": ({"location": "w.bin", "length": 1 << 50}, 120, "while there are 120; give"),
    "too little": ({"location": "w.bin", "length": 8}, 120, "names 8 from 0"),
    "nowhere": ({"location": ""}, 120, "should not be empty"),
    "above": ({"location": "../w.bin"}, 120, "points outside the directory"),
    "anywhere": ({"location": "/etc/hostname"}, 120, "absolute path"),
}


@pytest.mark.parametrize("what", OUTSIDE)
@pytest.mark.parametrize("where", ["weight", "constant", "branch"])
def test_weights_in_a_file_that_is_not_as_said(what, where, tmp_path):
    said, there, reason = OUTSIDE[what]
    proto, tensor = with_tensor(where)
    raw = moved_out(tensor, **said)
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(raw)
    if there is not None:
        (folder / "w.bin").write_bytes(raw[:there])
    assert reason in refusal(saved(proto, folder))


def with_tensor(where: str) -> tuple[onnx.ModelProto, TensorProto]:
    """Return a network and one of its tensors of 6 x 5: a weight, a constant, one of a branch."""
    if where == "weight":
        proto = net()
        return proto, proto.graph.initializer[0]
    if where == "constant":
        proto = constants()
        return proto, next(
            node.attribute[0].t for node in proto.graph.node if node.output[0] == "wa"
        )
    branch = "t () => (float[N, 5] t1) { t1 = Gemm (x, wt) }"
    proto = written(
        f"""g (float[N, 6] x) => (float[N, 3] y) {{
          c = If (on) <then_branch = {branch}, else_branch = e () => (float[N, 5] e1) {{
            e1 = Gemm (x, wa) }}>
          y = Gemm (c, wb)
        }}""",
        wa=(6, 5), wb=(5, 3), on=np.bool_(True),
    )  # fmt: skip
    body = proto.graph.node[0].attribute[0].g
    body.initializer.append(numpy_helper.from_array(np.ones((6, 5), np.float32), "wt"))
    return proto, body.initializer[0]


@pytest.mark.parametrize("where", ["weight", "constant", "branch"])
def test_weights_in_a_file_are_used_and_count_for_the_digest(where, tmp_path, monkeypatch):
    proto, tensor = with_tensor(where)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    inside = load(saved(proto, tmp_path), {})
    wanted = BaselineModel(inside, "y", Device(), 1 << 20).run({"x": x})
    (tmp_path / "w.bin").write_bytes(moved_out(tensor, "w.bin"))
    monkeypatch.chdir(tmp_path.parent)
    model = load(saved(proto, tmp_path), {})
    np.testing.assert_array_equal(
        BaselineModel(model, "y", Device(), 1 << 20).run({"x": x}), wanted
    )
    assert (model.parameters, len(find_sites(model).sites)) == (
        inside.parameters,
        len(find_sites(inside).sites),
    )
    parts = [sha256((tmp_path / each).read_bytes()).digest() for each in ("m.onnx", "w.bin")]
    assert model.sha256 == sha256(b"".join(parts)).hexdigest()
    (tmp_path / "w.bin").write_bytes(bytes(120))
    assert load(tmp_path / "m.onnx", {}).sha256 != model.sha256


def test_masks_work_on_weights_in_a_file(tmp_path):
    proto, tensor = with_tensor("weight")
    inside = load(saved(proto, tmp_path), {})
    (tmp_path / "w.bin").write_bytes(moved_out(tensor, "w.bin"))
    outside = load(saved(proto, tmp_path), {})
    x = {"x": np.ones((2, 6), np.float32)}
    mask = Mask({"r": np.array([True, False, True, True, False])})
    found = []
    for model in (inside, outside):
        way = PerturbedModel(model, find_sites(model).sites, "y", Device(), 1 << 20)
        found.append(way.run(way.prepare(x), mask, MAP))
    np.testing.assert_array_equal(*found)


def test_a_link_to_weights_elsewhere_is_refused(tmp_path):
    proto, tensor = with_tensor("weight")
    (tmp_path / "w.bin").write_bytes(moved_out(tensor, "model.bin"))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.bin").symlink_to(tmp_path / "w.bin")
    assert "symbolic link" in refusal(saved(proto, folder))


def test_a_linked_folder_leads_to_no_weights_elsewhere(tmp_path, monkeypatch):
    proto, tensor = with_tensor("weight")
    raw = moved_out(tensor, "sub/w.bin")
    for name in ("model", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere/w.bin").write_bytes(raw)
    (tmp_path / "model/sub").symlink_to(tmp_path / "elsewhere")
    assert "outside" in refusal(saved(proto, tmp_path / "model"))
    monkeypatch.chdir(tmp_path / "model")  # onnx looks less closely at a path without a folder
    assert "leads out of the folder of the model" in refusal(Path("m.onnx"))
    (tmp_path / "model/sub").unlink()
    (tmp_path / "model/sub").mkdir()
    (tmp_path / "model/sub/w.bin").write_bytes(raw)
    (tmp_path / "linked").symlink_to("model")
    for folder in ("model", "linked"):  # the folder of the model itself may be a link
        assert load(tmp_path / folder / "m.onnx", {}).parameters == 45


@pytest.mark.parametrize("requested", ["1x3x5x7", "16x3x5x7", "1X3X5X7"])
def test_input_shape_settles_what_the_file_leaves_open(requested, tmp_path):
    model = load(saved(written(FREE, w=(4, 3, 3, 3)), tmp_path), {"input_shape": requested})
    assert model.inputs[0].shape == (3, 5, 7)
    assert model.batch is None
    (out,) = model.graph[0].outputs
    assert out.shape == ir.Shape(["N", 4, 3, 5])


@pytest.mark.parametrize(
    "requested",
    ["", "a", "x6", "6x", "1x-6", "1x0", "1x06", " 1x6", "1x6\n", "1_0x6", "1×6", "1x６", "9" * 40],
)
def test_an_input_shape_that_is_none(requested, tmp_path):
    text = refusal(saved(net(), tmp_path), input_shape=requested)
    assert text.startswith(f"--input-shape {requested!r} is not of the form 1x3x32x32: ")
    assert "all axes of the input, the batch in front" in text


@pytest.mark.parametrize("requested", ["3x32x32", "1x1x32x32", "1x3x32x32x1", "32"])
def test_an_input_shape_that_does_not_fit(requested, tmp_path):
    text = refusal(saved(written(FREE, w=(4, 3, 3, 3)), tmp_path), input_shape=requested)
    assert text == (
        f"--input-shape {requested} does not fit input 'x', which is Nx3xHxW; "
        "give all axes, the batch in front"
    )


def test_an_input_shape_that_contradicts_a_file_that_leaves_nothing_open(tmp_path):
    path = saved(net(), tmp_path)
    assert load(path, {"input_shape": "5x6"}).inputs[0].shape == (6,)
    assert "which is Nx6" in refusal(path, input_shape="1x7")


def test_input_shape_is_for_the_input_that_needs_it(tmp_path):
    proto = written(
        """g (float[N, 3, H, W] image, float[N, 6] row) => (float[N, 10] y) {
          c = Conv (image, w)
          p = GlobalAveragePool (c)
          f = Flatten (p)
          y = Concat <axis = 1> (f, row)
        }""",
        w=(4, 3, 3, 3),
    )
    model = load(saved(proto, tmp_path), {"input_shape": "1x3x5x5"})
    assert [each.shape for each in model.inputs] == [(3, 5, 5), (6,)]


def test_an_unnamed_open_axis_takes_the_size(tmp_path):
    proto = written(FREE, w=(4, 3, 3, 3))
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.Clear()
    assert load(saved(proto, tmp_path), {}).inputs[0].shape == (3, None, None)
    assert load(saved(proto, tmp_path), {"input_shape": "1x3x5x5"}).inputs[0].shape == (3, 5, 5)


@pytest.mark.parametrize("size", [0, -5, 1 << 62])
def test_sizes_that_no_data_has_are_left_to_the_data(size, tmp_path):
    proto = net()
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = size
    model = load(saved(proto, tmp_path), {})
    assert model.inputs[0].shape == (size if size > 0 else None,)
    assert len(find_sites(model).sites) == (
        size < 1
    )  # the weights tell what is open, not what is not


def test_an_attention_without_heads_is_refused_before_it_ends_the_process(tmp_path):
    text = """g (float[N, 4, 6] x) => (float[N, 4, 6] y) {
      y = Attention <q_num_heads = 3, kv_num_heads = COUNT> (x, x, x)
    }"""
    path = tmp_path / "m.onnx"
    for count, refused in ((0, True), (3, False)):
        proto = written(text.replace("COUNT", str(count)))
        proto.opset_import[0].version = 23
        proto.ir_version = 11
        onnx.save(proto, path)
        if refused:
            with pytest.raises(ModelError, match=r"has kv_num_heads 0, and an attention has one"):
                load(path, {})
        else:
            assert load(path, {}).inputs
