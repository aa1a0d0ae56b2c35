"""``frivkit new-plugin``: projects that are written, and those that are refused in one line."""

from pathlib import Path

import pytest


def test_project_is_written_and_the_next_step_is_named(frivkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = frivkit("new-plugin", "frivkit-tries", "--kind", "selector")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "frivkit-tries: selector tries, 8 files"
    assert ran.out.splitlines()[1].startswith("next: cd frivkit-tries; ")
    written = {path.name for path in (tmp_path / "frivkit-tries").rglob("*") if path.is_file()}
    assert written >= {"pyproject.toml", "plugin.py", "selector.py", "test_selector.py"}


def test_kind_may_be_the_name_of_the_hook(frivkit, tmp_path):
    assert frivkit("new-plugin", "tries", "--kind", "bases", "-o", tmp_path / "here").code == 0
    assert (tmp_path / "here/tries/basis.py").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["redundancy", "--kind", "metric"], "offers a metric redundancy already"),
        (["analyze", "--kind", "command"], "frivkit offers a command analyze already"),
        (["No Name", "--kind", "metric"], "such as frivkit-no-name"),
        (["tries", "--kind", "metrik"], "metric"),
        (["tries"], "--kind"),
        (["tries", "--kind", "task", "-o", "."], "is not empty"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(arguments, words, frivkit, files: Path):
    before = sorted(path.name for path in files.iterdir())
    ran = frivkit("new-plugin", *arguments)
    assert ran.code == 2
    assert words in ran.error()
    assert sorted(path.name for path in files.iterdir()) == before
