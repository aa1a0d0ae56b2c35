"""``frivkit advise``: what it shows and writes, and how it fails."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.contract import SCHEMAS, complaints
from tests.families import WIDTHS, examples, export, trained
from tests.htmlpage import data_of
from tests.program import Outcome, write_cnn

Run = Callable[..., Outcome]
NETS = [f"net-{width}.onnx" for width in WIDTHS]
FAST = ("--data", "npz:x.npz", "--threads", "1", "--task", "classify")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    for width, name in zip(WIDTHS, NETS, strict=True):
        export(trained(width, steps=60), folder / name)
    x, y = examples()
    np.savez(folder / "x.npz", x=x, y=y)
    return folder


@pytest.fixture(autouse=True)
def family(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in written.iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(tmp_path / "cache"))


def test_writes_all_that_it_is_asked_for(frivkit: Run) -> None:
    places = ("--json", "a.json", "--report", "a.html", "--figure", "a.svg")
    ran = frivkit("advise", NETS[2], NETS[0], NETS[1], *FAST, *places)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Of the 96 units of net-32.onnx at width 4, ")
    assert "640 examples of npz:x.npz" in ran.out
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    document = json.loads(Path("a.json").read_text())
    assert complaints(document) == []
    assert set(document) == set(SCHEMAS["advice"]["properties"])
    assert [model["path"] for model in document["models"]] == NETS
    page = Path("a.html").read_text()
    assert "net-32.onnx" in page
    assert "Figure 4" in page
    assert json.loads(data_of(page)) == document
    drawn = Path("a.svg").read_text()
    assert "network" in drawn
    assert "all units (g = 2)" in drawn


def test_one_network_and_json_on_stdout(frivkit: Run) -> None:
    ran = frivkit("advise", NETS[0], *FAST, "--json", "-", "--report", "a.html")
    document = json.loads(ran.out)
    assert complaints(document) == []
    assert document["growth"][0]["gain"]["value"] is None
    assert "Figure 2" in Path("a.html").read_text()
    assert "Figure 3" not in Path("a.html").read_text()


def test_refuses_what_is_no_family(frivkit: Run) -> None:
    write_cnn(Path("cnn.onnx"))
    ran = frivkit("advise", NETS[0], "cnn.onnx", *FAST)
    assert ran.code == 1
    assert "these models are no family: " in ran.error()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((NETS[0], NETS[0]), "is the same file as"),
        ((NETS[0], NETS[1], "--figure", "a.txt"), "give a name in .png, .svg or .pdf"),
        ((NETS[0], NETS[1], "--json", NETS[1]), "is the model or another result too"),
        ((NETS[0], "--option", "levles=3"), "levles"),
        ((), "Missing argument"),
    ],
)
def test_wrong_command_lines(frivkit: Run, arguments: tuple[str, ...], words: str) -> None:
    ran = frivkit("advise", *arguments, *FAST)
    assert ran.code == 2
    assert words in ran.error()


def test_too_few_examples_for_the_protocol(frivkit: Run) -> None:
    ran = frivkit("advise", NETS[0], *FAST, "--examples", "200")
    assert ran.code == 1
    assert "the reference protocol uses all full batches of 128 but one" in ran.error()
    ran = frivkit("advise", NETS[0], *FAST, "--examples", "200", "--protocol", "paper")
    assert ran.code == 0
