"""docs/python.md runs as printed, and documents all names that ``import frivkit`` offers."""

import re
from pathlib import Path

import frivkit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/python.md").read_text()


def test_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) > 10
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"block {number} of docs/python.md", "exec"), namespace)  # noqa: S102  # our own page
    assert (tmp_path / "small.onnx").exists()
    assert (tmp_path / "widths.png").exists()


def test_page_documents_the_public_names_and_no_others():
    table = PAGE.partition("## Functions and results\n")[2].partition("\n## ")[0]
    documented = re.findall(r"`frivkit\.(\w+)`", table)
    assert sorted(set(documented)) == sorted(set(frivkit.__all__) - {"__version__"})
    assert set(re.findall(r"frivkit\.(\w+)\(", PAGE)) <= set(frivkit.__all__)


def test_no_public_name_is_that_of_a_folder():
    """An import of the folder would put the module in the place of the function."""
    parts = {path.stem for path in (ROOT / "frivkit").iterdir()}
    assert parts & set(frivkit.__all__) == set()


def test_every_public_name_is_there():
    assert all(getattr(frivkit, name) is not None for name in frivkit.__all__)
    assert set(frivkit.__all__) <= set(dir(frivkit))
