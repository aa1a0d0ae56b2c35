"""The source ``cifar10``: files of both distributions, and files made to mislead."""

import os
import pickle
import re
import struct
import tracemalloc

import numpy as np
import pytest

from frivkit.data import open_data
from frivkit.errors import DataError, UsageError
from frivkit_datasets.plainpickle import load_plain
from tests.draws import generator

EACH = 20  # images in a file
RANDOM = generator(0)
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
PIXELS = {name: RANDOM.integers(0, 256, (EACH, 3072), dtype=np.uint8) for name in NAMES}
LABELS = {name: RANDOM.integers(0, 10, EACH).tolist() for name in NAMES}
TRAIN_X = np.concatenate([PIXELS[name] for name in NAMES[:5]]).reshape(-1, 3, 32, 32)
TRAIN_Y = [label for name in NAMES[:5] for label in LABELS[name]]


def text(value: bytes) -> bytes:
    """Pickle text as Python 2 does: SHORT_BINSTRING or BINSTRING."""
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


def python2(pixels: np.ndarray, labels: list[int]) -> bytes:
    """Write the bytes of a file of the Python distribution as Python 2 and NumPy 1 wrote them."""
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"M" + struct.pack("<H", len(pixels)) + b"M" + struct.pack("<H", 3072) + b"\x86"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    )
    array += b"(K\x01" + shape + dtype + b"\x89" + text(pixels.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([each]) for each in labels) + b"e"
    names = b"](" + b"".join(text(b"leptodactylus_s_000000.png") for _ in labels) + b"e"
    pairs = text(b"batch_label") + text(b"batch 1 of 5") + text(b"labels") + numbers
    return b"\x80\x02}(" + pairs + text(b"data") + array + text(b"filenames") + names + b"u."


def python3(protocol: int):
    return lambda x, y: pickle.dumps({b"data": x, b"labels": y, b"filenames": []}, protocol)


WRITERS = {
    "python 2": python2,
    "binary": lambda x, y: np.column_stack([np.array(y, np.uint8), x]).tobytes(),
    "text keys": lambda x, y: pickle.dumps({"data": x, "labels": y}),
    **{f"python 3 protocol {number}": python3(number) for number in (2, 3, 4, 5)},
}


def write(folder, kind="python 2") -> str:
    for name in NAMES:
        ending = ".bin" if kind == "binary" else ""
        (folder / f"{name}{ending}").write_bytes(WRITERS[kind](PIXELS[name], LABELS[name]))
    return f"cifar10:{folder}"


def refused(spec: str, error=DataError) -> str:
    with pytest.raises(error) as caught:
        open_data(spec, None).read(0, 1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_hand_written_python_2_pickle_is_one():
    """Python itself reads what the tests take for a published file."""
    found = pickle.loads(python2(PIXELS["test_batch"], [1, 2]), encoding="bytes")  # noqa: S301
    assert (found[b"data"] == PIXELS["test_batch"]).all()
    assert found[b"labels"] == [1, 2]
    assert len(found[b"filenames"]) == 2


@pytest.mark.parametrize("kind", WRITERS)
def test_either_distribution_gives_images_and_labels(kind, tmp_path):
    spec = write(tmp_path, kind)
    test = open_data(spec, None)
    batch = test.read(0, EACH)
    np.testing.assert_array_equal(batch.inputs["x"], PIXELS["test_batch"].reshape(-1, 3, 32, 32))
    assert batch.labels.tolist() == LABELS["test_batch"]
    train = open_data(f"{spec}?split=train&validation=0", None)
    for start, stop in ((0, 100), (19, 21), (15, 62), (99, 100)):
        batch = train.read(start, stop)
        np.testing.assert_array_equal(batch.inputs["x"], TRAIN_X[start:stop])
        assert batch.labels.tolist() == TRAIN_Y[start:stop]
    for chosen in ([0, 19, 20, 99], [3], [41, 42, 60]):
        some = train.read_chosen(np.array(chosen))
        np.testing.assert_array_equal(some.inputs["x"], TRAIN_X[chosen])
        assert some.labels.tolist() == [TRAIN_Y[i] for i in chosen]


@pytest.mark.parametrize("kind", ["python 2", "binary", "python 3 protocol 2"])
def test_training_and_validation_images_are_different_ones(kind, tmp_path):
    spec = write(tmp_path, kind)
    for held_out in (1, 30):
        train = open_data(f"{spec}?split=train&validation={held_out}", None)
        held = open_data(f"{spec}?split=validation&validation={held_out}", None)
        assert (train.examples, held.examples) == (100 - held_out, held_out)
        np.testing.assert_array_equal(
            np.concatenate([each.read(0, each.examples).inputs["x"] for each in (train, held)]),
            TRAIN_X,
        )
        assert held.read(0, held_out).labels.tolist() == TRAIN_Y[-held_out:]
        assert train.digest != held.digest


@pytest.mark.parametrize("inner", ["cifar-10-batches-py", "cifar-10-batches-bin"])
def test_folder_above_the_files_will_do(inner, tmp_path):
    (tmp_path / inner).mkdir()
    write(tmp_path / inner, "binary" if inner.endswith("bin") else "python 2")
    assert open_data(f"cifar10:{tmp_path}", None).examples == EACH


def test_copies_by_pickle_hold_no_images(tmp_path):
    data = open_data(f"{write(tmp_path)}?split=train&validation=0", None)
    content = pickle.dumps(data)
    assert len(content) < 5000
    copy = pickle.loads(content)  # noqa: S301  # made here
    np.testing.assert_array_equal(copy.read(15, 62).inputs["x"], TRAIN_X[15:62])


def test_digest_follows_the_files(tmp_path):
    spec = write(tmp_path)
    before = open_data(spec, None).digest
    assert open_data(spec, None).digest == before
    (tmp_path / "test_batch").write_bytes(python2(PIXELS["test_batch"], [1] * EACH))
    assert open_data(spec, None).digest != before


def test_wrong_requests_are_refused(tmp_path):
    assert "lacks test_batch" in refused(f"cifar10:{tmp_path}")
    spec = write(tmp_path)
    (tmp_path / "data_batch_3").unlink()
    assert "lacks data_batch_1 to 5" in refused(f"{spec}?split=train")
    write(tmp_path)
    assert "leaves none" in refused(f"{spec}?split=train", UsageError)  # 5,000 of these 100
    assert "leaves none" in refused(f"{spec}?split=validation&validation=0", UsageError)
    assert "one of train, validation, test" in refused(f"{spec}?split=all", UsageError)
    (tmp_path / "loop").symlink_to("loop")
    assert "does not exist" in refused(f"cifar10:{tmp_path}/loop")
    (tmp_path / "test_batch").unlink()
    (tmp_path / "test_batch").symlink_to("test_batch")
    assert "lacks test_batch" in refused(spec)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def array_of(shape, name=b"u1", content=b"", fortran=b"\x89"):
    """Write a pickle whose array claims what it likes."""
    sizes = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", size) for size in shape) + b"t"
    dtype = b"cnumpy\ndtype\n" + text(name) + b"K\x00K\x01\x87R"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    )
    array += b"(K\x01" + sizes + dtype + fortran + text(content) + b"tb"
    return b"\x80\x02}(" + text(b"labels") + b"]" + text(b"data") + array + b"u."


def nested(depth):
    return b"\x80\x02}" + b")" + b"\x85" * depth + b"K\x01s."


GOOD = python2(PIXELS["test_batch"], LABELS["test_batch"])
HOSTILE = {
    "code": (pickle.dumps({b"data": Trap()}), "never run"),
    "system": (b"cposix\nsystem\nU\x04true\x85R.", "posix.system, which is never run"),
    "builtin": (b"\x80\x02c__builtin__\neval\nU\x011\x85R.", "never run"),
    "object": (pickle.dumps(np.zeros(3, object)), "dict"),
    "cut": (GOOD[:-1000], "ran out|truncated|exhausted|expected"),
    "cut in the images": (GOOD[:9000], "expected"),
    "empty": (b"", "0 bytes"),
    "no pickle": (b"\x89PNG....", "damaged"),
    "list": (pickle.dumps([1]), "list, not dict"),
    "no labels": (pickle.dumps({b"data": PIXELS["test_batch"]}), "no labels"),
    "no data": (pickle.dumps({b"labels": [1]}), "no data"),
    "few labels": (python2(PIXELS["test_batch"], [1]), "20 images and 1 labels"),
    "label 10": (python2(PIXELS["test_batch"], [10] * EACH), "label 10"),
    "labels of text": (pickle.dumps({b"data": PIXELS["test_batch"], b"labels": ["a"]}), "class"),
    "labels too large": (pickle.dumps({b"data": PIXELS["test_batch"], b"labels": [999]}), "class"),
    "floats": (pickle.dumps({b"data": PIXELS["test_batch"] / 2, b"labels": [1] * EACH}), "f8"),
    "narrow": (pickle.dumps({b"data": PIXELS["test_batch"][:, :9], b"labels": [1]}), "shape"),
    "data of text": (pickle.dumps({b"data": "abc", b"labels": [1]}), "str"),
    "claims a lot": (array_of((10**9, 3072)), "shape"),
    "claims more": (array_of((2**62, 2**62)), "shape"),
    "objects": (array_of((1, 3072), b"O8", bytes(3072)), "O8"),
    "fortran": (array_of((1, 3072), content=bytes(3072), fortran=b"\x88"), "shape"),
    "memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "out of range"),
    "bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.", "expected"),
    "nested": (nested(200_000), "more than 1000 tuples"),
    "persistent": (b"\x80\x02U\x01aQ.", "outside"),
    "state of a dtype": (b"\x80\x02cnumpy\ndtype\n)\x81}U\x01aK\x01sb.", "dict"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_damaged_and_hostile_pickles_are_refused_in_one_line(kind, tmp_path):
    content, complaint = HOSTILE[kind]
    (tmp_path / "test_batch").write_bytes(content)
    tracemalloc.start()
    message = refused(f"cifar10:{tmp_path}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert re.search(complaint, message), message
    assert "unpack it again" in message
    assert peak < 20e6


def test_binary_files_of_other_sizes_are_refused(tmp_path):
    spec = write(tmp_path, "binary")
    content = (tmp_path / "test_batch.bin").read_bytes()
    (tmp_path / "test_batch.bin").write_bytes(content[:-1])
    assert "not a multiple of 3073" in refused(spec)
    (tmp_path / "test_batch.bin").write_bytes(b"\x0b" + content[1:])
    assert "label 11" in refused(spec)
    with (tmp_path / "test_batch.bin").open("wb") as file:
        os.truncate(file.fileno(), 3073 * 100_000)
    assert "bytes" in refused(spec)


def test_plain_pickles_are_read_and_others_are_not():
    assert load_plain(pickle.dumps({"a": [1, None, (2.5, True)]})) == {"a": [1, None, (2.5, True)]}
    for other in (print, Trap(), pickle.PickleError):
        with pytest.raises(ValueError, match="never run"):
            load_plain(pickle.dumps(other))
