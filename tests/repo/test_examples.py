"""The examples of the documentation run, in small, and draw their pictures."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs/examples"
SMALL = {"EPOCHS": "2", "MORE_EPOCHS": "2", "SHARES": "[0.5]", "WIDTHS": "[8, 16, 32]"}
"""What stands in the place of the settings at the top of each script."""


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda script: script.stem)
def test_example_runs(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = script.read_text(encoding="utf-8")
    names, values = re.search(r"^((?:[A-Z_]+(?:, )?)+) = (.*)$", text, re.MULTILINE).groups()
    small = ", ".join(SMALL[name] for name in names.split(", "))
    text = text.replace(f"{names} = {values}\n", f"{names} = {small}\n", 1)
    exec(compile(text, str(script), "exec"), {"__name__": "example"})  # noqa: S102  # our own script
    assert (tmp_path / f"{script.stem}.svg").read_text().startswith("<?xml")
    assert (FOLDER / f"{script.stem}.svg").exists()
