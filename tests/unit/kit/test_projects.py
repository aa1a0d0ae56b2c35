"""What ``frivkit new-plugin`` writes: projects whose tests pass, all of them or nothing."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from frivkit import __version__
from frivkit.errors import FrivkitError, UsageError
from frivkit.hooks.registry import HOOKS
from frivkit.kit import KINDS, PluginNames, project_files, write_project

CONTENTS = {"pyproject.toml": "[project]\n", "mine/__init__.py": '"""Größe."""\n'}


def contents(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): file.read_text("utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_there_is_a_kind_for_each_hook():
    assert [kind.hook for kind in KINDS.values()] == list(HOOKS)


def test_tests_of_every_kind_pass(tmp_path):
    """One process for all kinds: to import ONNX Runtime and torch takes longer than most tests."""
    for kind in KINDS:
        write_project(tmp_path / f"my-{kind}", project_files(PluginNames.of(f"my-{kind}"), kind))
    projects = [f"my-{kind}" for kind in KINDS]
    pythonpath = f"pythonpath={' '.join(projects)}"
    options = ["-p", "no:cacheprovider", "-W", "error", "--rootdir=.", "--import-mode=importlib"]
    run = subprocess.run(
        [*[sys.executable, "-m", "pytest", "-q", *options, "-o"], pythonpath, *projects],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    passed = int(re.search(r"(\d+) passed", run.stdout)[1])
    assert passed >= 3 * len(KINDS)
    assert "skipped" not in run.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_template_is_left(kind):
    names = PluginNames.of("frivkit-new-name")
    written = project_files(names, kind)
    left = r"frivkit[_-]mine|its[_-](name|kind|hook|target|requirements|use)|its summary"
    assert {place: re.findall(left, text) for place, text in written.items()} == {
        place: [] for place in written
    }
    project = tomllib.loads(written["pyproject.toml"])
    assert project["project"]["name"] == "frivkit-new-name"
    entry_points = project["project"]["entry-points"]["frivkit"]
    assert entry_points == {"frivkit_new_name": "frivkit_new_name.plugin"}
    assert f"frivkit_new_name/{kind}.py" in written
    assert f"frivkit>={__version__},<0.2" in project["project"]["dependencies"]
    assert KINDS[kind].use.replace("its-name", "new-name") in written["README.md"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("frivkit-label-entropy", ("frivkit-label-entropy", "frivkit_label_entropy")),
        ("label_entropy", ("label-entropy", "label_entropy")),
        ("entropy2", ("entropy2", "entropy2")),
    ],
)
def test_names_follow_from_one(text, expected):
    names = PluginNames.of(text)
    assert (names.distribution, names.package) == expected
    assert names.offer == expected[0].removeprefix("frivkit-")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "frivkit-label-entropy"),
        ("My Metric", "frivkit-my-metric"),
        ("LabelEntropy", "frivkit-label-entropy"),
        ("../elsewhere", "frivkit-elsewhere"),
        ("größe", "lower-case"),
        ("9lives", "lower-case"),
        ("a--b", "frivkit-a-b"),
        ("a" * 61, "at most 60"),
        ("x\n", "lower-case"),
        ("class", "has the name class"),
        ("json", "frivkit-my-json"),
        ("tests", "frivkit-my-tests"),
        ("numpy", "frivkit-my-numpy"),
        ("frivkit", "has the name frivkit"),
        ("frivkit-onnx", "frivkit-my-onnx"),
    ],
)
def test_name_that_cannot_be_is_refused(text, words):
    with pytest.raises(UsageError) as caught:
        PluginNames.of(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


class TestWriting:
    def test_all_files_are_there(self, tmp_path):
        write_project(tmp_path / "new", CONTENTS)
        assert contents(tmp_path / "new") == CONTENTS
        assert [path.name for path in tmp_path.iterdir()] == ["new"]

    def test_empty_folder_is_filled(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_project(Path(), CONTENTS)
        assert contents(tmp_path) == CONTENTS

    def test_folder_that_holds_something_stays_as_it_is(self, tmp_path):
        (tmp_path / "kept.txt").write_text("kept")
        with pytest.raises(UsageError, match="is not empty"):
            write_project(tmp_path, CONTENTS)
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        for place in ("kept.txt", "link"):
            with pytest.raises(UsageError, match="no folder"):
                write_project(tmp_path / place, CONTENTS)
        with pytest.raises(FrivkitError, match="there is no folder"):
            write_project(tmp_path / "a" / "b", CONTENTS)
        assert contents(tmp_path) == {"kept.txt": "kept"}

    @pytest.mark.parametrize("there", [False, True], ids=["new", "empty"])
    @pytest.mark.parametrize("method", ["write_text", "replace"])
    def test_interruption_leaves_nothing(self, method, there, tmp_path, monkeypatch):
        folder = tmp_path / "new"
        if there:
            folder.mkdir()
        real, calls = getattr(Path, method), []

        def interrupted(self, *arguments, **more):
            calls.append(self)
            done = real(self, *arguments, **more)
            if len(calls) == (2 if method == "write_text" or there else 1):
                raise KeyboardInterrupt
            return done

        monkeypatch.setattr(Path, method, interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_project(folder, CONTENTS)
        monkeypatch.undo()
        left = {path.name for path in tmp_path.rglob("*")}
        assert left == ({"new"} if there else set()) or contents(folder) == CONTENTS
