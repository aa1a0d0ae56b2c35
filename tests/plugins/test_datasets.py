"""The built-in data sources, on files written here."""

import gc
import gzip
import hashlib
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.datasets import load_digits

from frivkit.data import Dataset, DataSpec, TensorSpec, open_data
from frivkit.data.scalars import stored_scalars
from frivkit.data.spec import SHARED_KEYS
from frivkit.errors import DataError, UsageError
from frivkit.hooks.registry import installed
from frivkit_datasets import plugin

N = 23
X = np.random.default_rng(0).integers(0, 256, (N, 1, 5, 4), dtype=np.uint8)
Y = np.arange(N, dtype=np.uint8) % 10


def refused(spec: str, inputs=None, error=DataError) -> str:
    """Return the message with which a spec is refused, when opened or when read."""
    with pytest.raises(error) as caught:
        read_all(open_data(spec, inputs))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read_all(data: Dataset):
    return data.read(0, data.examples)


def wants(*shape, dtype="float32", name="input"):
    return [TensorSpec(name, dtype, shape)]


# --- writing files ---


def write_idx(folder, images, labels=None, *, prefix="t10k", mark="-", zipped=False):
    def write(what, array):
        head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
        name = f"{prefix}-{what}{mark}idx{array.ndim}-ubyte"
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
        else:
            (folder / name).write_bytes(head + array.tobytes())

    write("images", images)
    if labels is not None:
        write("labels", labels)
    return f"idx:{folder}"


def write_npz(folder, save=np.savez, **arrays):
    save(folder / "data.npz", **arrays)
    return f"npz:{folder / 'data.npz'}"


def write_npy(folder, array):
    np.save(folder / "data.npy", array)
    return f"npy:{folder / 'data.npy'}"


def write_hdf5(folder, name="data.h5", **arrays):
    with h5py.File(folder / name, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return f"hdf5:{folder / name}"


def chunked_hdf5(folder):
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(3, 1, 5, 2), compression="gzip", shuffle=True)
        file.create_dataset("y", data=Y.astype(">i4"))
    return f"hdf5:{folder / 'data.h5'}"


FILES = {
    "npz": lambda folder: write_npz(folder, x=X, y=Y),
    "npz big-endian": lambda folder: write_npz(folder, x=X.astype(">f4"), y=Y.astype(">i8")),
    "npz Fortran": lambda folder: write_npz(folder, x=np.asfortranarray(X), y=Y),
    "npz compressed": lambda folder: write_npz(folder, np.savez_compressed, x=X, y=Y),
    "hdf5": lambda folder: write_hdf5(folder, x=X, y=Y),
    "hdf5 chunked": chunked_hdf5,
    "idx": lambda folder: write_idx(folder, X[:, 0], Y),
    "idx dotted": lambda folder: write_idx(folder, X[:, 0], Y, mark="."),
    "idx zipped": lambda folder: write_idx(folder, X[:, 0], Y, zipped=True),
    "idx zipped training": lambda folder: (
        write_idx(folder, X[:, 0], Y, prefix="train", mark=".", zipped=True) + "?split=train"
    ),
}
MADE = {
    "digits": lambda _: "digits?n=50",
    "digits test": lambda _: "digits?split=test&n=50&scale=1/16",
    "gaussian": lambda _: "gaussian?shape=2x3&n=50",
    "teacher": lambda _: "teacher?d=5&n=150",  # over two borders of blocks
    "random labels": lambda _: "digits?split=train&n=50&labels=random&labels_seed=3",
    "standardised": lambda _: "digits?n=50&crop=6&standardise=image&resize=9x5",
}


# --- every source ---


@pytest.mark.parametrize("write", FILES.values(), ids=FILES)
def test_files_give_back_what_was_written(write, tmp_path):
    data = open_data(write(tmp_path), None)
    batch = read_all(data)
    assert data.inputs == (TensorSpec("x", "float32", (1, 5, 4)),)
    np.testing.assert_array_equal(batch.inputs["x"], X)
    np.testing.assert_array_equal(batch.labels, Y)


@pytest.mark.parametrize("write", [*FILES.values(), *MADE.values()], ids=[*FILES, *MADE])
def test_any_partition_reads_the_same_bytes(write, tmp_path):
    data = open_data(write(tmp_path), None)
    whole = read_all(data)

    @settings(max_examples=25)
    @given(st.sets(st.integers(1, data.examples - 1)), st.randoms(use_true_random=False))
    def check(cuts, random):
        parts = list(pairwise([0, *sorted(cuts), data.examples]))
        random.shuffle(parts)  # so that streams have to go back
        for start, stop in parts:
            part = data.read(start, stop)
            assert part.inputs["x"].tobytes() == whole.inputs["x"][start:stop].tobytes()
            if whole.labels is not None:
                assert part.labels.tolist() == whole.labels[start:stop].tolist()
        chosen = np.array(sorted(cuts), np.int64)
        some = data.read_chosen(chosen)
        assert some.inputs["x"].tobytes() == whole.inputs["x"][chosen].tobytes()
        if whole.labels is not None:
            assert some.labels.tolist() == whole.labels[chosen].tolist()

    check()


@pytest.mark.parametrize("write", [*FILES.values(), *MADE.values()], ids=[*FILES, *MADE])
def test_a_copy_by_pickle_reads_the_same(write, tmp_path):
    data = open_data(write(tmp_path), None)
    data.read(0, 2)  # opens what is opened lazily
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301  # made here
    assert read_all(copy).inputs["x"].tobytes() == read_all(data).inputs["x"].tobytes()
    assert copy.digest == data.digest


@pytest.mark.parametrize("write", [write_npz, write_hdf5], ids=["npz", "hdf5"])
def test_digest_follows_the_content_and_not_the_place(write, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    digests = [
        open_data(write(tmp_path / folder, x=x, y=y), None).digest
        for folder, x, y in (("a", X, Y), ("b", X, Y), ("a", X, Y[::-1]), ("a", 255 - X, Y))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_idx_digest_follows_images_and_labels(tmp_path):
    digests = [
        open_data(write_idx(tmp_path, x[:, 0], y), None).digest
        for x, y in ((X, Y), (X, Y), (X, Y[::-1]), (255 - X, Y), (X, None))
    ]
    assert len(set(digests)) == 3
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    assert open_data(f"idx:{tmp_path}", None).digest not in digests


MULTIPROCESS = """
import hashlib, multiprocessing, sys
from frivkit.data import open_data

def rest(data):
    rows = [data.read(i, i + 1).inputs["x"].tobytes() for i in range(2, data.examples)]
    return hashlib.sha256(b"".join(rows)).hexdigest()

def put_rest(data, queue):
    queue.put(rest(data))

if __name__ == "__main__":
    data = open_data(sys.argv[1], None)
    for method in sorted({"fork", "spawn"} & set(multiprocessing.get_all_start_methods())):
        context = multiprocessing.get_context(method)
        queue = context.SimpleQueue()
        data.read(0, 2)  # now the file is open here, and a forked child has it open too
        children = [context.Process(target=put_rest, args=(data, queue)) for _ in range(2)]
        for child in children:
            child.start()
        print(rest(data), *(queue.get() for _ in children))
        for child in children:
            child.join()
"""


@pytest.mark.parametrize("source", ["npz", "hdf5", "idx"])
def test_several_processes_read_the_same_data(source, tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40, 1, 128, 128), dtype=np.uint8)
    if source == "idx":
        spec = write_idx(tmp_path, x[:, 0], zipped=True)
    elif source == "npz":
        spec = write_npz(tmp_path, np.savez_compressed, x=x)
    else:
        spec = write_hdf5(tmp_path, x=x)
    script = tmp_path / "script.py"
    script.write_text(MULTIPROCESS)
    done = subprocess.run(
        [sys.executable, script, spec], capture_output=True, text=True, timeout=120, check=False
    )
    wanted = hashlib.sha256(x[2:].astype(np.float32).tobytes()).hexdigest()
    assert (set(done.stdout.split()), done.returncode) == ({wanted}, 0), done.stderr
    assert len(done.stdout.split()) in {3, 6}


@pytest.mark.parametrize("source", ["npz compressed", "idx zipped"])
def test_a_forgotten_dataset_leaves_no_file_open(source, tmp_path):
    data = open_data(FILES[source](tmp_path), None)
    data.read(0, 2)
    data.itself = data  # collected as a cycle, whose members go in no particular order
    del data
    gc.collect()  # an open file would give a warning here, which fails the test


@pytest.mark.parametrize("name", ["npy", "npz", "compressed", "hdf5", "gzip", "idx", "idx.gz"])
def test_little_memory_is_used_for_a_few_rows_of_a_large_file(name, tmp_path):
    x = np.zeros((2000, 128, 128), np.uint8)  # 32 MB
    x[:, 0, 0] = np.arange(2000) % 251
    if name in {"hdf5", "gzip"}:
        with h5py.File(tmp_path / "data.h5", "w") as file:
            options = {"chunks": (50, 128, 128), "compression": "gzip"} if name == "gzip" else {}
            file.create_dataset("x", data=x, **options)
        spec = f"hdf5:{tmp_path / 'data.h5'}"
    elif name.startswith("idx"):
        spec = write_idx(tmp_path, x, zipped=name.endswith("gz"))
    elif name == "npy":
        spec = write_npy(tmp_path, x)
    else:
        save = np.savez_compressed if name == "compressed" else np.savez
        spec = write_npz(tmp_path, save, x=x)
    del x
    tracemalloc.start()
    data = open_data(spec, None)
    for start in (0, 700, 1996, 350):
        got = data.read(start, start + 4).inputs["x"].reshape(4, -1)[:, 0]
        assert got.tolist() == [index % 251 for index in range(start, start + 4)]
    assert len(data.digest) == 64
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6  # four rows are 0.25 MB, a piece of a stream 1 MB


@pytest.mark.parametrize("source", ["npy", "npz", "hdf5"])
def test_missing_files_folders_and_empty_files_are_refused(source, tmp_path):
    assert "there is no file" in refused(f"{source}:{tmp_path}/none")
    assert "is a folder" in refused(f"{source}:{tmp_path}")
    (tmp_path / "empty").touch()
    assert "is empty" in refused(f"{source}:{tmp_path}/empty")
    assert f"write {source}:PATH" in refused(source, error=UsageError)
    assert "no regular file" in refused(f"{source}:/dev/null")


@pytest.mark.parametrize("save", [write_npz, write_hdf5])
def test_examples_and_labels_must_be_equally_many_and_some(save, tmp_path):
    assert "23 in 'x', 22 in 'y'" in refused(save(tmp_path, x=X, y=Y[:-1]))
    assert "no examples" in refused(save(tmp_path, x=X[:0], y=Y[:0]))
    assert "store one row per example" in refused(save(tmp_path, x=np.float32(3)))
    assert "no array is named 'x'; there are y, z" in refused(save(tmp_path, z=X, y=Y))


@pytest.mark.parametrize("save", [write_npz, write_hdf5])
def test_arrays_of_a_model_with_several_inputs_are_found_by_name(save, tmp_path):
    spec = save(tmp_path, left=X, right=X[:, 0, 0] * 2.0, y=Y, unused=np.arange(3))
    inputs = [*wants(20, name="left"), *wants(4, name="right")]
    batch = read_all(open_data(spec, inputs))
    np.testing.assert_array_equal(batch.inputs["left"], X.reshape(N, 20))
    np.testing.assert_array_equal(batch.inputs["right"], X[:, 0, 0] * 2.0)
    assert batch.labels.tolist() == Y.tolist()
    assert "'middle'" in refused(spec, [*inputs, *wants(4, name="middle")])


@pytest.mark.parametrize("save", [write_npz, write_hdf5])
def test_what_is_not_plain_numbers_is_refused(save, tmp_path):
    for x in (np.array([b"ab", b"c"]), np.zeros(3, complex), np.zeros(3, [("a", "f4")])):
        assert "store plain numbers" in refused(save(tmp_path, x=x))


@pytest.mark.parametrize("source", ["npz", "hdf5", "digits", "gaussian"])
def test_split_is_only_for_sources_that_have_one(source, tmp_path):
    spec = {**FILES, **MADE}[source](tmp_path).partition("?")[0]
    error = refused(f"{spec}?split=val", error=UsageError)
    assert ("one of train, validation, test, all" if source == "digits" else "no key") in error


# --- npy ---


@pytest.mark.parametrize("array", [X, X.astype(">f4"), np.asfortranarray(X), X[:, 0, 0, 0] > 99])
def test_npy_gives_the_rows_of_the_array_without_labels(array, tmp_path):
    data = open_data(write_npy(tmp_path, array), None)
    for start, stop in ((5, 9), (0, N), (N - 1, N)):
        batch = data.read(start, stop)
        np.testing.assert_array_equal(batch.inputs["x"], array[start:stop])
        assert batch.labels is None


def test_npy_has_one_array_for_one_input(tmp_path):
    spec = write_npy(tmp_path, X)
    assert read_all(open_data(spec, wants(20))).inputs["input"].shape == (N, 20)
    assert "inputs a, b" in refused(spec, [*wants(20, name="a"), *wants(20, name="b")])
    assert "single number" in refused(write_npy(tmp_path, np.float32(3)))
    assert "store plain numbers" in refused(write_npy(tmp_path, np.array(["a", "b"])))


# --- digits ---


def test_digits_are_those_of_scikit_learn_in_a_fixed_order():
    images, labels = load_digits(return_X_y=True)
    batch = read_all(open_data("digits", None))
    order = np.random.RandomState(0).permutation(1797)
    np.testing.assert_array_equal(batch.inputs["x"], images[order].reshape(-1, 1, 8, 8))
    np.testing.assert_array_equal(batch.labels, labels[order])
    train, test = (read_all(open_data(f"digits?split={s}", None)) for s in ("train", "test"))
    assert (len(train.labels), len(test.labels)) == (1200, 597)
    joined = np.concatenate([train.inputs["x"], test.inputs["x"]])
    np.testing.assert_array_equal(joined, batch.inputs["x"])
    assert order[:5].tolist() == [1081, 1707, 927, 713, 262]  # the order does not change


def digits_of(rest):
    batch = read_all(open_data(f"digits?{rest}", None))
    return list(zip(map(np.ndarray.tobytes, batch.inputs["x"]), batch.labels.tolist(), strict=True))


@pytest.mark.parametrize(("count", "key"), [(200, ""), (200, "&validation=200"), (1199, None)])
def test_digits_to_validate_on_are_the_last_to_train_on(count, key):
    whole = digits_of("split=train")
    assert len(whole) == 1200
    key = f"&validation={count}" if key is None else key
    assert digits_of(f"split=validation{key}") == whole[-count:]
    assert digits_of(f"split=train&validation={count}") == whole[:-count]
    assert digits_of(f"split=test&validation={count}") == digits_of("split=test")


def test_digits_are_left_out_only_where_that_is_asked_for():
    assert digits_of("split=train") == digits_of("split=train&validation=0") == digits_of("n=1200")


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("split=validation&validation=0", "leaves none"),
        ("split=validation&validation=1200", "a number from 1 to 1,199"),
        ("split=train&validation=1200", "leaves none"),
        ("split=train&validation=-1", "whole number"),
        ("validation=200", "split=all has no validation part"),
    ],
)
def test_numbers_of_digits_that_make_no_sense_are_refused(rest, told):
    assert told in refused(f"digits?{rest}", error=UsageError)


def test_digits_take_no_path():
    assert "takes no path" in refused("digits:here", error=UsageError)


def test_digits_of_each_split_have_a_digest():
    splits = ("train", "validation", "test", "all")
    assert len({open_data(f"digits?split={split}", None).digest for split in splits}) == 4


# --- gaussian ---


def test_gaussian_numbers_are_standard_normal_and_independent():
    inputs = [*wants(40, name="a"), *wants(8, 5, name="b")]
    batch = read_all(open_data("gaussian", inputs))
    a, b = (batch.inputs[name].reshape(1000, 40) for name in "ab")
    assert batch.labels is None
    for numbers in (a, b):
        assert stats.kstest(numbers.ravel(), "norm").pvalue > 1e-3
    both = np.hstack([a, b, np.roll(a, 1, axis=0)])  # columns, inputs and neighbouring examples
    apart = np.corrcoef(both.T)[np.triu_indices(120, 1)]
    assert abs(apart).max() < 6 / np.sqrt(1000)


def test_gaussian_examples_depend_on_seed_and_index_only():
    inputs = wants(3, 4, 4)
    few, many = (read_all(open_data(f"gaussian?n={n}", inputs)).inputs["input"] for n in (3, 70))
    np.testing.assert_array_equal(few, many[:3])
    other = read_all(open_data("gaussian?seed=1&n=70", inputs)).inputs["input"]
    assert not np.isin(other, many).all()
    assert len(np.unique(many)) > 0.99 * many.size
    same = read_all(open_data("gaussian?seed=0&shape=3x4x4&n=70", None)).inputs["x"]
    np.testing.assert_array_equal(same, many)


def test_gaussian_makes_as_many_as_are_asked_for():
    assert open_data("gaussian", wants(4)).examples == 1000
    assert open_data("gaussian", wants(4), examples=2500).examples == 2500
    assert open_data("gaussian?n=10", wants(4), examples=2500).examples == 10


def test_gaussian_digest_follows_seed_and_shape():
    digests = {
        open_data(f"gaussian{options}", inputs).digest
        for options in ("", "?seed=1")
        for inputs in (wants(4), wants(2, 2), wants(5))
    }
    assert len(digests) == 6


def test_gaussian_reads_no_more_than_asked():
    data = open_data("gaussian?n=1000000000", wants(1000))
    tracemalloc.start()
    assert data.read(999_999_990, 1_000_000_000).inputs["input"].shape == (10, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def test_gaussian_says_what_it_cannot_do():
    assert "--input-shape" in refused("gaussian", wants(3, None))
    assert "makes floats" in refused("gaussian", wants(3, dtype="int64"))
    assert "--data" in refused("gaussian", wants(3, dtype="int64"))
    assert "shape=1x8x8" in refused("gaussian")
    assert "one input" in refused("gaussian?shape=3", wants(3) + wants(3), error=UsageError)
    assert "takes no path" in refused("gaussian:a", wants(3), error=UsageError)
    for bad in ("seed=-1", "seed=99999999999999999999", "n=0", "shape=0", "shape=3y4"):
        assert bad in refused(f"gaussian?{bad}", wants(3), error=UsageError)
    assert "takes (4,)" in refused("gaussian?shape=3", wants(4))
    assert open_data(f"gaussian?seed={2**64 - 1}", wants(3)).examples == 1000


# --- idx ---


def test_idx_reads_the_split_that_is_asked_for(tmp_path):
    write_idx(tmp_path, X[:9, 0], Y[:9], prefix="train")
    spec = write_idx(tmp_path, X[9:, 0], Y[9:], zipped=True)
    for split, rows in (("train", slice(0, 9)), ("test", slice(9, N))):
        batch = read_all(open_data(f"{spec}?split={split}", wants(1, 5, 4, dtype="uint8")))
        np.testing.assert_array_equal(batch.inputs["input"], X[rows])
        assert batch.labels.tolist() == Y[rows].tolist()
    assert open_data(spec, None).examples == N - 9
    assert "one of train, test" in refused(f"{spec}?split=all", error=UsageError)


def test_idx_without_labels_has_none(tmp_path):
    data = open_data(write_idx(tmp_path, X[:, 0]), None)
    assert not data.has_labels
    assert data.read(0, 2).labels is None


def test_idx_folders_that_lack_files_are_refused(tmp_path):
    assert "has no t10k-images-idx3-ubyte" in refused(f"idx:{tmp_path}")
    assert "does not exist" in refused(f"idx:{tmp_path}/none")
    write_idx(tmp_path, X[:, 0])
    assert "is no folder" in refused(f"idx:{tmp_path}/t10k-images-idx3-ubyte")
    assert "train-images" in refused(f"idx:{tmp_path}?split=train")
    assert "write idx:PATH" in refused("idx", error=UsageError)


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_are_checked_against_their_header(zipped, tmp_path):
    spec = write_idx(tmp_path, X[:, 0], Y[:-1], zipped=zipped)
    assert "23 in 'x', 22 in 'y'" in refused(spec)
    path = tmp_path / f"t10k-images-idx3-ubyte{'.gz' if zipped else ''}"
    pack = gzip.compress if zipped else bytes
    good = struct.pack(">4I", 0x0803, *X[:, 0].shape) + X.tobytes()
    assert "begins with 0x00000801" in refused_with(spec, path, pack(b"\0\0\x08\1" + good[4:]))
    huge = struct.pack(">4I", 0x0803, 2**32 - 1, 2**16, 2**16) + X.tobytes()
    assert "promises" in refused_with(spec, path, pack(huge))
    assert "cut short" in refused_with(spec, path, pack(good[:7]))
    empty = struct.pack(">4I", 0x0803, 0, 28, 28)
    assert "differ" in refused_with(spec, path, pack(empty))
    (tmp_path / f"t10k-labels-idx1-ubyte{'.gz' if zipped else ''}").unlink()
    assert "no examples" in refused_with(spec, path, pack(empty))
    assert refused_with(spec, path, pack(good[:-1]))
    assert refused_with(spec, path, pack(good)[:-30])


def refused_with(spec, path, content) -> str:
    path.write_bytes(content)
    return refused(spec)


@pytest.mark.parametrize("part", [b"SNOD", b"TREE", b"HEAP"])
def test_damaged_groups_of_hdf5_are_refused_and_give_no_numbers(part, tmp_path):
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"], file["sr"] = X, 16000
    good = path.read_bytes()
    assert stored_scalars(f"hdf5:{path}", installed()) == {"sr": 16000}
    assert part in good
    assert "cut short" in refused_with(f"hdf5:{path}", path, good.replace(part, b"\0\0\0\0"))
    assert stored_scalars(f"hdf5:{path}", installed()) == {}


def test_plain_idx_files_come_before_zipped_ones(tmp_path):
    write_idx(tmp_path, X[:, 0], zipped=True)
    spec = write_idx(tmp_path, X[:5, 0])
    assert open_data(spec, None).examples == 5


# --- the offers ---


def test_offers_load_and_their_summaries_are_one_line():
    from frivkit_datasets import plugin

    offers = plugin.data_sources()
    names = [offer.name for offer in offers]
    assert names == sorted(names)
    assert {"digits", "gaussian", "hdf5", "idx", "npz"} <= set(names)
    for offer in offers:
        assert callable(installed().load("data_sources", offer.name))
        assert len(offer.summary.splitlines()) == 1


def test_the_plugin_imports_nothing_heavy():
    heavy = "{'numpy', 'h5py', 'sklearn', 'scipy', 'torch'} & set(sys.modules)"
    code = f"import sys, frivkit_datasets.plugin as p; p.data_sources(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- the page about them ---

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text()


def test_the_scripts_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for script in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(script, "docs/data.md", "exec"), {})  # noqa: S102  # our own page
    (spec,) = re.findall(r"`(npz:digits.npz[^`]*)` reads it", PAGE)
    images, labels = load_digits(return_X_y=True)
    batch = read_all(open_data(spec, None))
    np.testing.assert_array_equal(batch.inputs["x"], images.reshape(-1, 1, 8, 8) / 16)
    np.testing.assert_array_equal(batch.labels, labels)


def test_the_page_shows_every_source_and_key():
    (examples,) = re.findall(r"```text\n(digits.*?)```", PAGE, re.DOTALL)
    shown = [DataSpec.parse(line) for line in examples.splitlines()]
    assert sorted(spec.name for spec in shown) == sorted(o.name for o in plugin.data_sources())
    for spec in shown:
        spec.check_keys("split", "seed", "d", "validation", "short")
    for key in SHARED_KEYS:
        assert f"| `{key}` |" in PAGE
