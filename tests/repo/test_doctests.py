"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules() -> list[str]:
    """Name the modules whose source holds an example, without importing any."""
    found = []
    for parent in (ROOT, ROOT / "plugins"):
        for folder in parent.glob("frivkit*"):
            for file in folder.rglob("*.py"):
                if ">>> " in file.read_text():
                    parts = file.relative_to(parent).with_suffix("").parts
                    found.append(".".join(part for part in parts if part != "__init__"))
    return sorted(found)


@pytest.mark.parametrize("name", modules())
def test_examples_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module):
        runner.run(test, out=report.append)
    assert runner.tries > 0
    assert runner.failures == 0, "".join(report)
