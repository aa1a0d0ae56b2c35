"""Files that earlier versions wrote, and the format as ``docs/file-format.md`` describes it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from frivkit.cache import Cache, Entry, Key
from frivkit.cache import writer as writer_module

GOLDEN = sorted((Path(__file__).parent.parent / "data/cache").glob("v*/*.h5"))
KEY = Key(
    model="0" * 64,
    data="f" * 64,
    site="/layer1/Relu_output_0",
    selector="map",
    what="entries",
    extra={"dtype": "float32", "onnxruntime": "1.31.1", "provider": "CPUExecutionProvider"},
)
ARRAYS = {
    "/layer1/Relu_output_0": np.arange(200, dtype=np.float32).reshape(25, 8) / 7,
    "half": np.linspace(-2, 2, 12, dtype=np.float16).reshape(3, 4),
    "labels": np.arange(25) % 10,
    "kept": np.arange(8) % 3 == 0,
    "scale": np.float64(0.5),
    "nothing": np.empty((0, 8), np.float32),
}
ROWS = "/layer1/Relu_output_0"


def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the golden file of the current version, with chunks small enough to need several."""
    cache = Cache(folder)
    with monkeypatch.context() as patch, cache.build(KEY) as writer:
        patch.setattr(writer_module, "CHUNK_BYTES", 128)
        for start in range(0, 25, 6):
            writer.append(ROWS, ARRAYS[ROWS][start : start + 6])
        for name in ARRAYS.keys() - {ROWS}:
            writer.put(name, ARRAYS[name])
    return folder / f"{KEY.digest}.h5"


def stored_key(path: Path) -> str:
    with h5py.File(path) as file:
        return file.attrs["key"]


def test_there_is_a_golden_file_of_every_version() -> None:
    from frivkit.cache.entry import VERSION

    assert [path.parent.name for path in GOLDEN] == [f"v{n}" for n in range(1, int(VERSION) + 1)]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_a_golden_file_still_opens_and_reads(path: Path) -> None:
    with Entry(path, stored_key(path)) as entry:
        assert set(entry.names) == set(ARRAYS)
        for name, expected in ARRAYS.items():
            assert entry.dtype(name) == expected.dtype
            assert entry.shape(name) == expected.shape
            np.testing.assert_array_equal(entry.read(name), expected)
        np.testing.assert_array_equal(entry.read(ROWS, 3, 17), ARRAYS[ROWS][3:17])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_a_golden_file_holds_the_key_it_was_written_under(path: Path) -> None:
    fields = json.loads(stored_key(path))
    written_by = {"encoding-version": path.parent.name[1:], "frivkit": fields["frivkit"]}
    assert fields == json.loads(KEY.json) | written_by


def test_what_is_written_now_is_laid_out_as_the_newest_golden_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = layout(write(tmp_path, monkeypatch))
    then = layout(GOLDEN[-1])
    assert now == then


def layout(path: Path) -> dict[str, object]:
    """Return all that the format fixes: attributes (less frivkit's version), types and chunks."""
    with h5py.File(path) as file:
        attributes = dict(file.attrs)
        attributes["key"] = json.loads(attributes["key"]) | {"frivkit": None}
        arrays = {
            name: (item.dtype, item.shape, item.maxshape, item.chunks, item.fletcher32)
            for name, item in file.items()
        }
    return attributes | {"arrays": arrays}


def test_the_rows_of_the_golden_file_fill_several_chunks() -> None:
    with h5py.File(GOLDEN[-1]) as file:
        assert file["%2Flayer1%2FRelu_output_0"].chunks == (4, 8)


def test_the_format_page_names_every_attribute_and_reads_with_plain_h5py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/file-format.md").read_text()
    path = write(tmp_path, monkeypatch)
    with h5py.File(path) as file:
        assert all(f"`{name}`" in page for name in file.attrs)
    code = page.partition("```python\n")[2].partition("```")[0]
    found: dict[str, object] = {}
    monkeypatch.chdir(tmp_path)
    path.rename("entry.h5")
    exec(compile(code, "file-format.md", "exec"), found)  # noqa: S102  # our own page is tested
    assert found["key"] == json.loads(KEY.json)
    arrays = found["arrays"]
    assert isinstance(arrays, dict)
    assert arrays.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], expected)
