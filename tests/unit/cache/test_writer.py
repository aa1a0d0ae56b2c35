"""What is written comes back, and what cannot be held is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.cache import Cache
from frivkit.cache import entry as entry_module
from frivkit.cache.writer import CHUNK_BYTES, chunk_shape
from frivkit.errors import CacheError
from tests.cachekit import KEY, Told, files_in, store


def test_arrays_come_back_as_they_were_put(cache: Cache) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "float32": rng.standard_normal((7, 3, 2), dtype=np.float32),
        "float16": rng.standard_normal((5, 5)).astype(np.float16),
        "float64": rng.standard_normal(9),
        "int64": rng.integers(-9, 9, (4, 1)),
        "uint8": rng.integers(0, 255, 11, dtype=np.uint8),
        "bool": rng.random((3, 3)) > 0.5,
        "scalar": np.float32(2.5),
        "no rows": np.empty((0, 4), np.float32),
        "no columns": np.empty((4, 0), np.float32),
        "not contiguous": np.arange(24.0).reshape(4, 6)[::2, ::3],
        "not finite": np.array([np.nan, np.inf, -np.inf, -0.0]),
    }
    with cache.build(KEY) as writer:
        for name, array in arrays.items():
            writer.put(name, array)
    with cache.get(KEY) as entry:
        assert entry.names == tuple(sorted(arrays))
        for name, array in arrays.items():
            assert entry.shape(name) == array.shape
            assert entry.dtype(name) == array.dtype
            read = entry.read(name)
            assert read.dtype == array.dtype
            np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
@pytest.mark.parametrize(
    ("tail", "rows"),
    [((), 3000), ((10,), 3000), ((600,), 3000), ((3, 300, 400), 9), ((0,), 20)],
    ids=str,
)
def test_rows_appended_in_any_batches_come_back_in_order(
    cache: Cache, tail: tuple[int, ...], rows: int, batch: int
) -> None:
    whole = np.random.default_rng(1).standard_normal((rows, *tail), dtype=np.float32)
    buffer = np.empty((batch, *tail), np.float32)
    with cache.build(KEY) as writer:
        for start in range(0, rows, batch):
            part = whole[start : start + batch]
            buffer[: len(part)] = part
            writer.append("x", buffer[: len(part)])
            buffer[:] = np.nan  # a session may write its next output into the same memory
    with cache.get(KEY) as entry:
        assert entry.shape("x") == whole.shape
        np.testing.assert_array_equal(entry.read("x"), whole)
        for start, stop in [(0, 0), (1, 8), (rows - 3, rows), (5, None), (rows, None), (0, 2)]:
            np.testing.assert_array_equal(entry.read("x", start, stop), whole[start:stop])


def test_several_arrays_grow_side_by_side(cache: Cache) -> None:
    with cache.build(KEY) as writer:
        for step in range(300):
            writer.append("a", np.full((8, 1000), step, np.float32))
            writer.append("b", np.full(8, step, np.int32))
        writer.append("none", np.empty((0, 3), np.float64))
    with cache.get(KEY) as entry:
        np.testing.assert_array_equal(entry.read("b"), np.repeat(np.arange(300), 8))
        np.testing.assert_array_equal(entry.read("a")[:, 999], np.repeat(np.arange(300), 8))
        assert entry.shape("none") == (0, 3)


@given(st.text(st.characters(codec=None), min_size=1, max_size=10))
def test_any_name_can_be_stored(name: str) -> None:
    assert entry_module.read_name(entry_module.stored_name(name)) == name
    assert "/" not in entry_module.stored_name(name)
    assert entry_module.stored_name(name).isascii()


def test_names_that_are_paths_or_odd_stay_flat(cache: Cache) -> None:
    names = ["/layer1/Conv_output_0", ".", "..", "./a", "a//b", "ünï", "a\0b", "50%2F", "\ud800"]
    with cache.build(KEY) as writer:
        for number, name in enumerate(names):
            writer.put(name, number)
    with cache.get(KEY) as entry:
        assert [int(entry.read(name)) for name in names] == list(range(len(names)))


def test_a_table_of_contents_longer_than_an_hdf5_header_is_kept(cache: Cache, told: Told) -> None:
    with cache.build(replace(KEY, site="s" * 100_000)) as writer:
        for number in range(1500):
            writer.put(f"a rather long name of an array, number {number}", number)
    with cache.get(replace(KEY, site="s" * 100_000)) as entry:
        assert len(entry.names) == 1500
    assert told == []


def test_an_unknown_array_is_named_with_those_that_are_there(cache: Cache) -> None:
    store(cache)
    with cache.get(KEY) as entry, pytest.raises(CacheError, match=r"no array 'y'; it holds x$"):
        entry.read("y")


def test_what_a_file_cannot_hold_is_refused_and_nothing_is_kept(cache: Cache) -> None:
    def attempt(*steps: tuple[str, object]) -> None:
        with cache.build(KEY) as writer:
            for name, array in steps:
                (writer.append if name == "rows" else writer.put)(name, array)

    with pytest.raises(TypeError, match="numbers only"):
        attempt(("x", np.array(["text"])))
    with pytest.raises(TypeError, match="numbers only"):
        attempt(("x", np.array([None])))
    with pytest.raises(ValueError, match="no axis"):
        attempt(("rows", 1.0))
    with pytest.raises(ValueError, match=r"float32\[3\], not of float32\[4\]"):
        attempt(("rows", np.ones((2, 3), "f4")), ("rows", np.ones((2, 4), "f4")))
    with pytest.raises(ValueError, match=r"float32\[3\], not of float64\[3\]"):
        attempt(("rows", np.ones((2, 3), "f4")), ("rows", np.ones((2, 3))))
    with pytest.raises(ValueError, match="taken"):
        attempt(("rows", np.ones(2)), ("x", 1), ("x", 1))
    with pytest.raises(ValueError, match="empty"):
        attempt(("", 1))
    assert files_in(cache) == []


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(tuple), st.sampled_from([1, 2, 4, 8])
)
def test_chunks_are_at_most_a_mebibyte_and_waste_less_than_they_hold(
    shape: tuple[int, ...], itemsize: int
) -> None:
    chunk = chunk_shape(shape, itemsize)
    assert all(1 <= part <= whole for part, whole in zip(chunk, shape, strict=True))
    assert np.prod(chunk, dtype=float) * itemsize <= CHUNK_BYTES
    blocks = [-(-whole // part) for part, whole in zip(chunk, shape, strict=True)]
    stored = np.prod([n * part for n, part in zip(blocks, chunk, strict=True)], dtype=float)
    assert stored <= 2 * np.prod(shape, dtype=float)


def test_a_small_result_takes_a_small_file(cache: Cache) -> None:
    with cache.build(KEY) as writer:
        for _ in range(10):
            writer.append("x", np.ones((10, 10), np.float32))
    assert (cache.root / f"{KEY.digest}.h5").stat().st_size < 20_000
