"""docs/python.md documents the names of ``frivkit``, and its code runs."""

import re
from pathlib import Path

import frivkit
from frivkit.testing.subjects import small_cnn

ROOT = Path(__file__).parents[2]


def page() -> str:
    return (ROOT / "docs/python.md").read_text()


def test_page_documents_the_public_names_and_no_others():
    """A row of a table begins with the name: | `frivkit.load(model, ...)` | ... |."""
    rows = re.findall(r"^\| `frivkit\.(\w+)\b[^`]*` \|", page(), re.MULTILINE)
    assert sorted(rows) == sorted(set(frivkit.__all__) - {"__version__"})


def test_public_names_are_there():
    assert {"load", "inspect", "analyze", "compress", "verify", "activations", "train"} <= set(
        frivkit.__all__
    )
    for name in frivkit.__all__:
        assert getattr(frivkit, name) is not None


def test_no_public_name_is_that_of_a_folder():
    """An import of the folder would put the module in the place of the function."""
    parts = {path.stem for path in (ROOT / "frivkit").iterdir()}
    assert parts & set(frivkit.__all__) == set()


def test_blocks_of_the_page_run(tmp_path, monkeypatch):
    """Run them from top to bottom where ``model.onnx`` and ``examples.npz`` are (arrays x, y)."""
    model, data = small_cnn().write(tmp_path)
    model.rename(tmp_path / "model.onnx")
    data.rename(tmp_path / "examples.npz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(tmp_path / "cache"))
    blocks = re.findall(r"^```python\n(.*?)^```", page(), re.MULTILINE | re.DOTALL)
    assert blocks
    names: dict[str, object] = {"__name__": "docs_python"}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)  # noqa: S102  # our own page
