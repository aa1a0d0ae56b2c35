"""docs/python.md: it runs as printed, and tells of all that ``import frivkit`` offers."""

import re
from pathlib import Path

import frivkit

PAGE = (Path(__file__).parents[2] / "docs/python.md").read_text()


def test_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "page"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) > 10
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"block {number} of docs/python.md", "exec"), namespace)  # noqa: S102  # our own page
    assert (tmp_path / "small.onnx").exists()
    assert (tmp_path / "widths.png").exists()


def test_every_function_is_told_of():
    functions = [name for name in frivkit.__all__ if name.islower() and not name.startswith("_")]
    assert [name for name in functions if f"frivkit.{name}" not in PAGE] == []
    told = set(re.findall(r"frivkit\.(\w+)\(", PAGE))
    assert told <= set(frivkit.__all__)


def test_every_public_name_is_there():
    assert all(getattr(frivkit, name) is not None for name in frivkit.__all__)
    assert set(frivkit.__all__) <= set(dir(frivkit))
