"""Pages of mapped files go when a process has more memory than it may, and come back."""

import mmap
import sys
from pathlib import Path

import numpy as np
import pytest

from frivkit import mapped_pages
from frivkit.mapped_pages import PageBound, drop_pages, mapping_of, place_of, watch

SIZE = 64 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are dropped on Linux alone")


@pytest.fixture
def mapped(tmp_path):
    """Return an array that lies in a mapped file, and its numbers summed, which touches them."""
    path = tmp_path / "numbers"
    np.arange(SIZE // 8, dtype=np.float64).tofile(path)
    array = np.memmap(path, np.float64, "r")
    watch(mapping_of(array))
    return array, float(array.sum())


def resident_of_files():
    """Return the bytes of pages of files that this process has."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@linux
def test_dropped_pages_are_read_again(mapped):
    array, total = mapped
    before = resident_of_files()
    drop_pages()
    assert resident_of_files() < before - SIZE // 2
    assert float(array.sum()) == total


@linux
@pytest.mark.parametrize(("bound", "goes"), [(1 << 20, True), (1 << 50, False)])
def test_pages_go_only_beyond_the_bound(mapped, bound, goes, monkeypatch):
    monkeypatch.setattr(mapped_pages, "STEP", 1 << 20)
    before = resident_of_files()
    limit = PageBound()
    limit.bytes = bound
    limit.look()
    assert (resident_of_files() < before - SIZE // 2) == goes


def test_a_mapping_that_is_closed_is_left_alone():
    mapping = mmap.mmap(-1, 4096)
    watch(mapping)
    mapping.close()
    drop_pages()


def test_place_of_an_array_is_where_its_bytes_are_in_the_file(tmp_path):
    path = tmp_path / "numbers"
    np.arange(9000, dtype=np.int32).tofile(path)
    whole = np.memmap(path, np.int32, "r", 40)
    for part in (whole, whole[17:], whole[4321:4400]):
        found, offset = place_of(part)
        assert (found, np.fromfile(path, np.int32, 1, offset=offset)[0]) == (path, part[0])
    assert place_of(whole[::2]) is None
    assert place_of(np.zeros(3)) is None
