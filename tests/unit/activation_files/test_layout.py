"""The layout of an activation file: sizes on the disk, and the rows of examples."""

import numpy as np
import pytest

from frivkit.activation_files.layout import TABLE_BYTES, FileLayout, Sample, StoredArray


@pytest.mark.parametrize("shape", [(1,), (7, 5), (1000, 64, 8, 8), (3, 2000, 1000)])
def test_bytes_are_those_of_whole_chunks_of_at_most_a_mebibyte(shape: tuple[int, ...]) -> None:
    array = StoredArray("a", shape, np.dtype(np.float32), ("example",))
    chunk = 4 * np.prod(array.chunk)
    assert chunk <= 1 << 20
    chunks = np.prod([-(-size // step) for size, step in zip(shape, array.chunk, strict=True)])
    assert array.bytes == chunks * chunk >= 4 * np.prod(shape)


def test_rows_of_examples_are_found_among_the_drawn_ones() -> None:
    rows = np.array([0, 3, 4, 5, 11, 12])  # three rows an example
    sample = Sample(rows, 3)
    for first, last in [(0, 5), (0, 1), (1, 2), (2, 3), (3, 5), (4, 4)]:
        start, stop = sample.from_examples(first, last)
        expected = [row for row in rows if first * 3 <= row < last * 3]
        assert rows[start:stop].tolist() == expected


def test_key_does_not_depend_on_the_order_of_its_names() -> None:
    one, other = (
        FileLayout(key, {}, (), {}, 3) for key in ({"a": 1, "b": None}, {"b": None, "a": 1})
    )
    assert one.key_text == other.key_text == '{"a":1,"b":null}'


def test_size_of_the_file_counts_every_array_and_its_tables() -> None:
    arrays = tuple(StoredArray(name, (10,), np.dtype(np.int64), ("example",)) for name in "ab")
    assert FileLayout({}, {}, arrays, {}, 10).bytes == 2 * (80 + TABLE_BYTES)
