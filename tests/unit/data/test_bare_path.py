"""Paths that are given without a data source: which source reads them, and what is refused."""

import gzip
import os
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
from PIL import Image

from frivkit.cli.sweep import _spec
from frivkit.data import DataSpec, open_data
from frivkit.data.bare_path import read_spec
from frivkit.errors import DataError, UsageError
from frivkit.experiments.train import divided
from frivkit.hooks.registry import installed
from tests.handmade import written
from tests.program import ended, start

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
CHANNELS_FIRST = np.moveaxis(PIXELS, -1, 0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def image(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS).save(path)


def touch(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


def write_arrays() -> None:
    np.save("a.npy", PIXELS[np.newaxis])
    np.savez("a.npz", x=PIXELS[np.newaxis], y=[3])
    for name in ("a.h5", "a.hdf5"):
        with h5py.File(name, "w") as file:
            file["x"] = PIXELS[np.newaxis]


def refused(text, error=DataError) -> str:
    with pytest.raises(error) as caught:
        read_spec(text, installed())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        *(("a.npy", "npy"), ("a.npz", "npz"), ("a.h5", "hdf5"), ("a.hdf5", "hdf5")),
        *((name, "images") for name in ("B.JPG", "flat", "classes/", "./flat/b.png")),
    ],
)
@pytest.mark.parametrize("keys", ["", "?scale=1/255&n=1"])
def test_a_path_is_read_by_the_source_for_its_ending_or_content(path, source, keys):
    write_arrays()
    image("B.JPG", "flat/b.png", "flat/c.png", "classes/cat/1.png", "classes/dog/1.png")
    data = open_data(path + keys, None)
    explicit = open_data(f"{source}:{path}{keys}", None)
    assert data.spec == explicit.spec
    assert DataSpec.parse(data.spec) == DataSpec.parse(f"{source}:{path}{keys}")
    assert data.digest == explicit.digest
    assert data.warnings == (f"{path} is read as {source}:{path}", *explicit.warnings)
    assert data.has_labels is (path in ("a.npz", "classes/"))


def test_a_path_object_is_never_the_name_of_a_source():
    image("digits/1.png")
    assert open_data(Path("digits"), None).spec == "images:digits"
    assert open_data("digits", None).spec == "digits"
    assert open_data("./digits", None).spec == "images:./digits"
    assert open_data("digits/", None).spec == "images:digits/"
    np.testing.assert_array_equal(
        open_data("digits/?scale=1/255", None).read(0, 1).inputs["x"][0],
        CHANNELS_FIRST.astype(np.float32) * np.float32(1 / 255),
    )


def test_the_home_folder_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    image("my pictures/a.png")
    assert open_data("~/my pictures", None).examples == 1


def test_a_path_with_a_colon_or_a_question_mark_is_read():
    image("a:b/1.png", "what?/1.png")
    assert open_data("a:b", None).spec == "images:a:b"
    data = open_data("what??n=1", None)
    assert (data.spec, open_data(data.spec, None).digest) == ("images:what??n=1", data.digest)


@pytest.mark.parametrize("path", ["none/", "none.npz", "~/none", "../none", "/no/where", "C:\\a"])
def test_a_missing_path_is_refused(path):
    message = refused(path)
    assert message.startswith(f"data {path}: there is no such file or folder")
    assert "data source" in message
    assert "no such file" in refused(Path("digits"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("digts", "did you mean digits"),
        ("nzp:none.npz", "did you mean npz"),
        ("Digits", "write NAME"),
        ("", "write NAME"),
        ("digits?n", "key=value"),
        ("none/?n=1&n=2", "given twice"),
    ],
)
def test_other_texts_are_reported_as_specs(text, told):
    with pytest.raises(UsageError, match=told):
        open_data(text, None)


def test_other_endings_are_refused():
    touch("a.csv", "README")
    assert "end in .csv; give a file that ends in .h5, .hdf5, .npy, .npz, .bmp" in refused("a.csv")
    assert "numpy.savez" in refused("README")


@pytest.mark.parametrize("name", ["pipe.png", "device.npz", "link.h5"])
def test_pipes_and_devices_and_links_to_them_are_refused(name):
    os.mkfifo("pipe.png")
    Path("device.npz").symlink_to("/dev/zero")
    Path("link.h5").symlink_to("pipe.png")
    assert "neither a regular file nor a folder" in refused(name)


@pytest.mark.parametrize(
    ("files", "given", "told"),
    [
        (["d/data_batch_1", "d/test_batch"], "d", "give cifar10:d"),
        (["d/test_batch.bin"], "d", "give cifar10:d"),
        (["d/cifar-10-batches-py/data_batch_1"], "d", "give cifar10:d"),
        (["d/cifar-10-batches-py/data_batch_1"], "d/cifar-10-batches-py", "give cifar10:d/cifar"),
        (["d/data_batch_1"], "d/data_batch_1", "give cifar10:d"),
        (["d/t10k-images-idx3-ubyte"], "d", "give idx:d"),
        (["d/train-labels.idx1-ubyte.gz"], "d", "give idx:d"),
        (["d/train-labels.idx1-ubyte.gz"], "d/train-labels.idx1-ubyte.gz", "give idx:d"),
        (["d/train/a/1.jpg", "d/val/a/1.jpg"], "d", "give imagenet:d"),
        (["d/set/a/1.jpg", "d/set/b/1.jpg"], "d", "give d/set"),
        (["d/train/1.jpg", "d/test/1.jpg"], "d", "look like splits, not classes; give one of"),
        (["d/1.jpg", "d/more/1.jpg"], "d", "give images:d to read the folders as classes"),
        (["d/1.jpg", "d/notes/a.txt"], "d", "move the images or the folders away"),
        (["d/x.npy"], "d", "such as d/x.npy"),
        (["d/a.txt", "d/b/c.txt"], "d", "holds no image files; give a folder of files that end in"),
        (["d/.hidden.png"], "d", "is empty"),
    ],
)
def test_folders_of_several_meanings_are_refused_with_the_spec_to_give(files, given, told):
    touch(*files)
    assert told in refused(given)


def test_a_set_of_files_is_read_as_advised():
    header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (1, 2, 2))
    Path("d").mkdir()
    Path("d/t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + b"\1\2\3\4"))
    advised = refused("d").rpartition("give ")[2]
    assert open_data(advised, None).read(0, 1).inputs["x"].ravel().tolist() == [1, 2, 3, 4]


def test_a_folder_that_cannot_be_listed_is_refused(monkeypatch):
    Path("d").mkdir()

    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("frivkit.data.bare_path.os.scandir", denied)
    assert "cannot be listed (Permission denied)" in refused("d")


@pytest.mark.parametrize("quiet", [False, True])
def test_the_command_line_prints_the_spec_of_a_path_on_stderr(quiet):
    rng = np.random.default_rng(1)
    text = """g (float[N, 3, 5, 6] x) => (float[N, 3] y) {
      f = Flatten (x)
      h = MatMul (f, wa)
      r = Relu (h)
      y = MatMul (r, wb)
    }"""
    onnx.save(written(text, wa=(90, 4), wb=(4, 3)), "m.onnx")
    Path("pictures").mkdir()
    for number in range(8):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"pictures/{number}.png")
    more = ["-q"] if quiet else []
    done = ended(
        start(
            *("analyze", "m.onnx", "--data", "pictures/?n=6", "--metric", "redundancy"),
            *("--no-cache", "--json", "-", *more),
        )
    )
    assert done.code == 0
    assert done.document["data"]["spec"] == "images:pictures/?n=6"
    notes = ["pictures/ is read as images:pictures/", "?scale=1/255"]
    assert [note in done.err for note in notes] == [not quiet] * 2


def test_training_data_are_taken_by_their_path(tmp_path):
    image("a/x/1.png", "a/x/2.png", "a/y/1.png", "b/x/1.png", "b/y/2.png")
    train, test = divided("a/?scale=1/255", "b")
    assert (train.spec, test.spec) == ("images:a/?scale=1/255", "images:b")
    assert train.warnings == ("a/ is read as images:a/",)
    with pytest.raises(UsageError, match="--test-data"):
        divided("a")


def test_a_sweep_takes_a_path_and_says_the_spec(capsys):
    image("a/x/1.png")
    assert _spec("a/", quiet=False) == "images:a/"
    assert capsys.readouterr().err == "frivkit: a/ is read as images:a/\n"
    assert _spec("a/?n=1", quiet=True) == "images:a/?n=1"
    assert _spec("digits?n=1&a=2", quiet=False) == "digits?n=1&a=2"
    assert capsys.readouterr().err == ""


def test_a_question_mark_in_a_name_is_explained():
    image("what?/a.png")
    np.save("ok?.npy", PIXELS[np.newaxis])
    assert refused("what?").endswith("write what?? to name the path")
    assert refused("ok?.npy").endswith("write ok?.npy? to name the path")
    assert read_spec("what??", installed()).path == "what?"
    touch("digits?n=5")
    assert read_spec("digits?n=5", installed()).name == "digits"
