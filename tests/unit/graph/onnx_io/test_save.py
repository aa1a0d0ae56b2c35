"""Files of models: whole and checked, or not there."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from frivkit.errors import ModelError
from frivkit.graph.names import node_label
from frivkit.graph.onnx_io import save as writing
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.narrow import narrow
from frivkit.graph.surgery.set_weights import set_weights
from frivkit.runtime.session import Device
from frivkit.runtime.shape_probe import infer_shapes_by_running
from frivkit_onnx.provider import load
from tests.handmade import written
from tests.nets import examples, network, opened
from tests.surgery import run


@pytest.fixture
def model(tmp_path):
    return opened(network("cnn"), tmp_path / "in.onnx")


@pytest.fixture
def apart(tmp_path):
    """Return a model whose weights lie in a file of their own."""
    folder = tmp_path / "apart"
    folder.mkdir()
    ir.save(
        ir.from_proto(network("cnn")),
        folder / "in.onnx",
        external_data="in.weights",
        size_threshold_bytes=0,
    )
    return infer_shapes_by_running(load(folder / "in.onnx", {}), Device(threads=1))


def thinner(model):
    found = find_sites(model)
    return narrow(model, found, {found.sites[0].name: np.arange(4) > 0})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_what_was_made(model, tmp_path):
    compressed = thinner(model)
    path = tmp_path / "out.onnx"
    assert writing.save(compressed, path, model) == load(path, {}).sha256
    onnx.checker.check_model(str(path), full_check=True)
    feeds = examples(model, 3)
    assert np.array_equal(run(ir.load(path), feeds)[0], run(compressed, feeds)[0])
    assert names(tmp_path) == ["in.onnx", "out.onnx"]


def test_an_older_file_is_replaced(model, tmp_path):
    (tmp_path / "out.onnx").write_text("old")
    (tmp_path / "circle.onnx").symlink_to("circle.onnx")
    for name in ("out.onnx", "circle.onnx"):
        writing.save(thinner(model), tmp_path / name, model)
        onnx.checker.check_model(str(tmp_path / name))


def test_weights_that_were_beside_stay_beside(apart, tmp_path):
    compressed = thinner(apart)
    path = tmp_path / "out.onnx"
    assert writing.save(compressed, path, apart) == load(path, {}).sha256
    assert names(tmp_path) == ["apart", "out.onnx", "out.onnx.data"]
    feeds = examples(apart, 3)
    assert np.array_equal(run(load(path, {}).ir, feeds)[0], run(compressed, feeds)[0])
    assert len(path.read_bytes()) < len((tmp_path / "apart/in.onnx").read_bytes()) * 2


def test_no_empty_file_is_beside_if_all_weights_are_small(tmp_path):
    """The weights of the original are in a file of their own, and ONNX IR keeps small ones in."""
    source = tmp_path / "apart"
    source.mkdir()
    text = """g (float[N, 3] x) => (float[N, 2] y) {
      a = MatMul (x, wa)
      r = Relu (a)
      y = MatMul (r, wb)
    }"""
    proto = ir.from_proto(written(text, wa=(3, 4), wb=(4, 2)))
    ir.save(proto, source / "in.onnx", external_data="in.weights", size_threshold_bytes=0)
    small = infer_shapes_by_running(load(source / "in.onnx", {}), Device(threads=1))
    path = tmp_path / "out.onnx"
    assert writing.save(thinner(small), path, small) == load(path, {}).sha256
    assert names(tmp_path) == ["apart", "out.onnx"]


def test_many_weights_go_beside(model, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "LARGEST_INLINE", 100)
    writing.save(thinner(model), tmp_path / "out.onnx", model)
    assert names(tmp_path) == ["in.onnx", "out.onnx", "out.onnx.data"]


def test_the_model_that_is_read_is_never_written_over(apart, tmp_path):
    folder = tmp_path / "apart"
    (tmp_path / "link.onnx").symlink_to(folder / "in.onnx")
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    for path in (folder / "in.onnx", folder / "in.weights", tmp_path / "link.onnx"):
        with pytest.raises(ModelError, match="belongs to the model that is read"):
            writing.save(thinner(apart), path, apart)
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before


def test_the_name_of_weights_beside_is_no_name_of_the_original(apart, tmp_path):
    """A model out, whose weights would be written over the file named ``out.onnx.data``."""
    folder = tmp_path / "other"
    folder.mkdir()
    ir.save(
        ir.from_proto(network("cnn")),
        folder / "in.onnx",
        external_data="out.onnx.data",
        size_threshold_bytes=0,
    )
    model = infer_shapes_by_running(load(folder / "in.onnx", {}), Device(threads=1))
    with pytest.raises(ModelError, match=r"out.onnx.data belongs to the model"):
        writing.save(thinner(model), folder / "out.onnx", model)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["save", "check"])
def test_nothing_is_left_of_what_fails(error, step, model, tmp_path, monkeypatch):
    (tmp_path / "out.onnx").write_text("old")

    def fail(thing, path, **options):
        path.write_bytes(b"half")
        raise error

    def fail_later(path, **options):
        raise error

    if step == "save":
        monkeypatch.setattr(ir, "save", fail)
    else:
        monkeypatch.setattr(onnx.checker, "check_model", fail_later)
    compressed = thinner(model)
    wanted = ModelError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(wanted) as caught:
        writing.save(compressed, tmp_path / "out.onnx", model)
    if wanted is ModelError:
        assert str(caught.value) == (
            f"{tmp_path / 'out.onnx'} cannot be written: No space left on device"
        )
    assert names(tmp_path) == ["in.onnx", "out.onnx"]
    assert (tmp_path / "out.onnx").read_text() == "old"


def test_what_the_checker_refuses_is_not_written(model, tmp_path):
    compressed = thinner(model)
    next(node for node in compressed.graph if node.op_type == "Conv").op_type = "Convolve"
    with pytest.raises(ModelError, match=r"made of in.onnx is not valid: .*Convolve"):
        writing.save(compressed, tmp_path / "out.onnx", model)
    compressed = thinner(model)
    conv = next(node for node in compressed.graph if node.op_type == "Conv")
    conv.attributes["strides"] = ir.AttrInt64s("strides", [1])  # found by inference
    with pytest.raises(ModelError, match=r"made of in.onnx is not valid"):
        writing.save(compressed, tmp_path / "out.onnx", model)
    assert names(tmp_path) == ["in.onnx"]


def test_numbers_that_are_not_finite_are_not_written_unless_the_original_has_them(model, tmp_path):
    def with_infinity(graph_model):
        """Put an infinite number into the first weight."""
        value = next(iter(graph_model.graph.initializers.values()))
        array = value.const_value.numpy().copy()
        array.flat[0] = np.inf
        value.const_value = ir.tensor(array, name=value.name)
        return graph_model

    with pytest.raises(
        ModelError, match=r"made of in.onnx has numbers in '.*' that are not finite"
    ):
        writing.save(with_infinity(thinner(model)), tmp_path / "out.onnx", model)
    assert names(tmp_path) == ["in.onnx"]
    with_infinity(model.ir)
    writing.save(thinner(model), tmp_path / "out.onnx", model)


def test_weights_that_a_cast_makes_infinite_are_refused(tmp_path):
    model = opened(network("mlp"), tmp_path / "in.onnx")
    node = next(node for node in model.graph if node.op_type in ("Gemm", "MatMul"))
    weight = node.inputs[1]
    weight.const_value = ir.tensor(weight.const_value.numpy().astype(np.float16), name=weight.name)
    weight.dtype = ir.DataType.FLOAT16
    new = np.full(weight.shape.numpy(), 7e4)
    with pytest.raises(ModelError, match=r"reach 7e\+04, too large for float16"):
        set_weights(model.ir, {node_label(node): (new, None)})


def test_places_that_are_not_there_are_refused(model, tmp_path):
    with pytest.raises(ModelError, match="cannot be written: No such file or directory"):
        writing.save(thinner(model), tmp_path / "nowhere/out.onnx", model)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="is a folder"):
        writing.save(thinner(model), tmp_path / "folder", model)
    assert names(tmp_path) == ["folder", "in.onnx"]
