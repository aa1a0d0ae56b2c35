"""What is large crosses to a worker by reference, and comes back as it was."""

import hashlib
import threading

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frivkit.engines.references import LEAST, read_task, write_task
from frivkit.errors import FrivkitError
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model
from frivkit.runtime.moment_pass import ActivationReader
from frivkit.runtime.session import Device
from frivkit.testing.tiny_models import residual, write
from frivkit_unit_selectors.selectors import MAP

SIZES = st.integers(0, 250)
NUMBERS = st.sampled_from([np.float32, np.float64, np.int64, np.bool_, ml_dtypes.bfloat16])


def crossed(thing, folder):
    """Return a thing as a worker gets it."""
    path, digest = write_task(lambda: thing, folder)
    return read_task(path, digest)()


@settings(max_examples=30, deadline=None)
@given(dtype=NUMBERS, rows=SIZES, columns=SIZES, transposed=st.booleans())
def test_arrays_come_back_as_they_were(tmp_path_factory, dtype, rows, columns, transposed):
    folder = tmp_path_factory.mktemp("arrays")
    array = np.arange(rows * columns).reshape(rows, columns).astype(dtype)
    array = array.T[::-1] if transposed else array
    back = crossed({"a": [array]}, folder)["a"][0]
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()
    large = array.nbytes >= LEAST
    assert len(list(folder.glob("*.array"))) == large
    (task,) = folder.glob("*.task")
    assert task.stat().st_size < LEAST + 4096


def test_equal_arrays_are_stored_once(tmp_path):
    array = np.arange(LEAST, dtype=np.float64)
    one, two = crossed((array, array.copy()), tmp_path)
    assert len(list(tmp_path.glob("*.array"))) == 1
    assert np.array_equal(one, two)


@pytest.mark.parametrize("part", [slice(None), slice(3, 90_000), slice(20_000, 99_999)])
def test_mapped_file_stays_where_it_is(tmp_path, part):
    path = tmp_path / "data.npy"
    np.save(path, np.arange(100_000, dtype=np.float64))
    mapped = np.load(path, mmap_mode="r")[part]
    back = crossed(mapped, tmp_path / "tasks")
    assert not list((tmp_path / "tasks").glob("*.array"))
    assert np.array_equal(back, np.arange(100_000.0)[part])


def test_mapped_file_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, np.zeros(100_000))
    mapped = np.load(path, mmap_mode="r")
    written, digest = write_task(lambda: mapped, tmp_path / "tasks")
    np.save(path, np.ones(100_001))
    with pytest.raises(FrivkitError, match="it was changed since the work began"):
        read_task(written, digest)


@pytest.mark.parametrize("suffix", ["array", "task"])
def test_damaged_file_is_refused(tmp_path, suffix):
    array = np.arange(LEAST)
    written, digest = write_task(lambda: array, tmp_path)
    (damaged,) = tmp_path.glob(f"*.{suffix}")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    with pytest.raises(FrivkitError, match="its content is not what was written"):
        read_task(written, digest)
    damaged.unlink()
    with pytest.raises(FrivkitError, match=r"cannot read .*No such file"):
        read_task(written, digest)


def test_what_cannot_be_sent_is_told_in_one_line(tmp_path):
    lock = threading.Lock()
    with pytest.raises(FrivkitError, match="give --engine local") as error:
        write_task(lambda: lock, tmp_path)
    assert "\n" not in str(error.value)


def test_models_come_back_with_their_weights(tmp_path):
    path = write(residual(), tmp_path / "net.onnx")
    model = load_model(Request(path))
    large = ir.Tensor(np.ones((300, 300), ml_dtypes.bfloat16), name="large")
    graph = model.ir.clone()
    value = ir.Value(name="large", type=ir.TensorType(large.dtype), shape=ir.Shape([300, 300]))
    value.const_value = large
    graph.graph.register_initializer(value)
    back = crossed((model, graph), tmp_path / "tasks")
    assert back[0].sha256 == model.sha256
    assert back[0].parameters == model.parameters
    assert proto(back[0].ir) == proto(model.ir)
    assert proto(back[1]) == proto(graph)
    assert len(list((tmp_path / "tasks").glob("*.array"))) == 1


def proto(model):
    """Return what a model is, in bytes that do not depend on where its weights lie."""
    return hashlib.sha256(ir.to_proto(model).SerializeToString(deterministic=True)).hexdigest()


def test_weights_in_files_of_their_own_stay_there(tmp_path):
    import onnx

    path, weight = tmp_path / "net.onnx", np.arange(LEAST, dtype=np.float32).reshape(256, -1)
    ends = [("MatMul", ["x", "w"], ["a"]), ("Relu", ["a"], ["b"]), ("MatMul", ["b", "w"], ["y"])]
    nodes = [onnx.helper.make_node(*each, name=each[2][0]) for each in ends]
    sizes = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", size])
        for name, size in zip("xy", weight.shape, strict=True)
    ]
    tensor = onnx.numpy_helper.from_array(weight, "w")
    graph = onnx.helper.make_graph(nodes, "g", sizes[:1], sizes[1:], [tensor])
    proto = onnx.helper.make_model(graph, ir_version=8)
    onnx.save(proto, path, save_as_external_data=True, location="net.bin")
    model = load_model(Request(path))
    back = crossed(model, tmp_path / "tasks")
    assert not list((tmp_path / "tasks").glob("*.array"))
    assert np.array_equal(back.graph.initializers["w"].const_value.numpy(), weight)
    sites = find_sites(model).sites  # the weight is mapped by now
    reader = ActivationReader(model, sites, MAP, Device(threads=1))
    assert crossed(reader, tmp_path / "tasks").batch_size(1 << 30) == reader.batch_size(1 << 30)
