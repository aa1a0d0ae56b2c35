"""The layout of an activation file, without a model."""

import h5py
import numpy as np
import pytest

from frivkit.activation_files.layout import TABLE_BYTES, FileLayout, Sample, StoredArray, layer_path
from frivkit.graph.sites.site_map import Site


@pytest.mark.parametrize("each", [1, 3, 7])
def test_drawn_rows_of_a_batch_are_those_of_its_examples(each):
    generator = np.random.default_rng(each)
    rows = np.sort(generator.choice(20 * each, 9, replace=False))
    sample = Sample(rows, each)
    for first, last in ((0, 20), (0, 5), (5, 6), (6, 20), (20, 20)):
        start, stop = sample.from_examples(first, last)
        belongs = (rows // each >= first) & (rows // each < last)
        assert rows[start:stop].tolist() == rows[belongs].tolist()


@pytest.mark.parametrize("shape", [(3,), (1000, 7), (40, 64, 9, 9), (5000, 300, 4)])
def test_bytes_are_those_that_hdf5_allocates(shape, tmp_path):
    array = StoredArray("x", shape, np.dtype(np.float32), ("example",) * len(shape))
    early = h5py.h5d.ALLOC_TIME_EARLY
    with h5py.File(tmp_path / "x.h5", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(array.chunk)
        properties.set_alloc_time(early)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space, kind = h5py.h5s.create_simple(shape), h5py.h5t.IEEE_F32LE
        stored = h5py.h5d.create(file.id, b"x", kind, space, properties)
        assert stored.get_storage_size() == array.bytes
    assert np.prod(array.chunk) * 4 <= 1 << 20


def test_layer_with_slashes_in_its_name_makes_no_group():
    site = Site("t", "block/0/conv", "Conv", 1, (4, 2, 2), ("c",), (), ())
    assert layer_path(site) == "layers/block%2F0%2Fconv"


def test_text_of_the_key_does_not_depend_on_the_order_of_its_parts():
    parts = {"model": "m", "data": "d", "rows": None}
    one, other = (
        FileLayout(dict(p), {}, (), {}, 0) for p in (parts.items(), [*parts.items()][::-1])
    )
    assert one.key_text == other.key_text == '{"data":"d","model":"m","rows":null}'


def test_key_does_not_depend_on_the_order_of_its_names() -> None:
    one, other = (
        FileLayout(key, {}, (), {}, 3) for key in ({"a": 1, "b": None}, {"b": None, "a": 1})
    )
    assert one.key_text == other.key_text == '{"a":1,"b":null}'


def test_size_of_the_file_counts_every_array_and_its_tables() -> None:
    arrays = tuple(StoredArray(name, (10,), np.dtype(np.int64), ("example",)) for name in "ab")
    assert FileLayout({}, {}, arrays, {}, 10).bytes == 2 * (80 + TABLE_BYTES)
