"""``frivkit compare`` and ``frivkit.compare``: what they read, show, write and refuse."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frivkit.api import compare
from frivkit.digests import with_checksum
from frivkit.errors import DataError, UsageError
from tests.contract import complaints
from tests.documents import ablation, document
from tests.htmlpage import data_of
from tests.program import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def analyses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write three analyses of networks of one width and return their names."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("one", 0.5), ("two", 0.6), ("three", 0.7)):
        found = document(ablation(None, value), ablation("a", value - 0.1), layers=("a",))
        Path(f"{name}.json").write_text(json.dumps(with_checksum(found)))
    return ["one.json", "two.json", "three.json"]


def test_shows_and_writes_all_that_is_requested(analyses: list[str], frivkit: Run) -> None:
    ran = frivkit("compare", *analyses, "--json", "c.json", "--report", "c.html")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Prunability of the network is 50.0 % in one and 70.0 % in three")
    found = json.loads(Path("c.json").read_text())
    assert complaints(found) == []
    assert json.loads(data_of(Path("c.html").read_text())) == found
    assert [each["label"] for each in found["analyses"]] == ["one", "two", "three"]


def test_files_of_one_name_are_told_apart(analyses: list[str], frivkit: Run) -> None:
    Path("other").mkdir()
    Path("other/one.json").write_text(Path("two.json").read_text())
    ran = frivkit("compare", "one.json", "other/one.json", "--json", "-")
    assert [each["label"] for each in json.loads(ran.out)["analyses"]] == ["one", "other/one"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["one.json"], 2, "at least two analyses"),
        (["one.json", "missing.json"], 1, "cannot read missing.json: No such file"),
        (["one.json", "half.json"], 1, "half.json is no JSON"),
        (["one.json", "deep.json"], 1, "deep.json is no JSON"),
        (["one.json", "list.json"], 1, "a document of no known kind"),
        (
            ["one.json", "lacking.json"],
            1,
            "damaged analysis: number 2 of its measurements has",
        ),
        (["one.json", "two.json", "--report", "one.json"], 2, "one.json is the model or another"),
        (["one.json", "."], 1, "cannot read .:"),
    ],
)
def test_mistake_is_one_line(
    analyses: list[str], frivkit: Run, arguments: list[str], code: int, words: str
) -> None:
    content = Path("one.json").read_text()
    Path("half.json").write_text(content[: len(content) // 2])
    Path("deep.json").write_text("[" * 100_000)
    Path("list.json").write_text("[1, 2]")
    lacking = json.loads(content)
    del lacking["measurements"][1]["value"]
    Path("lacking.json").write_text(json.dumps(lacking))
    ran = frivkit("compare", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.error()
    assert Path("one.json").read_text() == content


def test_python_takes_files_documents_and_results(analyses: list[str]) -> None:
    found = compare(analyses[0], json.loads(Path("two.json").read_text()))
    assert found.labels == ["small", "small (2)"]
    assert found.difference("prunability") == (
        pytest.approx(0.1),
        pytest.approx((0.1 - np.hypot(0.03, 0.02), 0.1 + np.hypot(0.03, 0.02))),
    )
    table = found.to_pandas()
    assert table["difference"].tolist()[1::2] == pytest.approx([0.1, 0.1])
    assert np.isnan(table["difference"][0])
    assert "<table" in found._repr_html_()
    assert "prunability" in str(found)
    assert len(found.plot().lines) > 0
    with pytest.raises(KeyError):
        found.difference("prunability", "no layer")
    with pytest.raises(UsageError, match="1 different names for 2"):
        compare(*analyses[:2], labels=["a", "a"])
    with pytest.raises(DataError, match="no known kind"):
        compare(analyses[0], {})
