"""``frivkit analyze --json --report``: what is written, and what is left alone when it fails."""

import json

import pytest
from click.testing import CliRunner

from frivkit.cli.analyze import command
from tests.nets import NETS

QUICK = ("--option", "levels=3", "--option", "refine=0", "--option", "resamples=20", "--no-cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "<b>mlp.onnx"
    path.write_bytes(NETS["mlp"]().SerializeToString())
    return path


def run(*arguments):
    return CliRunner().invoke(command, [str(each) for each in arguments])


def test_page_and_json_tell_the_same(model, tmp_path):
    page, result = tmp_path / "page.html", tmp_path / "result.json"
    requested = ("--data", "gaussian?n=20", "--report", page, "--json", result, *QUICK)
    found = run(model, *requested)
    assert found.exit_code == 0, found.output
    document = json.loads(result.read_text())
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<h1>&lt;b&gt;mlp.onnx</h1>" in text
    for measurement in document["measurements"]:
        assert f"{100 * measurement['value']:.1f}\xa0%" in text or measurement["value"] == 1


def test_page_is_written_also_when_json_goes_to_stdout(model, tmp_path):
    page = tmp_path / "page.html"
    found = run(model, "--data", "gaussian?n=20", "--report", page, "--json", "-", *QUICK)
    assert json.loads(found.stdout)["schema"] == "frivkit.analysis/1"
    assert page.exists()


def test_noise_in_place_of_data_is_warned_about_everywhere(model, tmp_path):
    page, result = tmp_path / "page.html", tmp_path / "result.json"
    found = run(model, "--examples", "20", "--report", page, "--json", result, *QUICK)
    (*_, warning) = [w for w in json.loads(result.read_text())["data"]["warnings"] if "noise" in w]
    assert warning in found.stderr
    box = page.read_text(encoding="utf-8").partition('<section class="warning"')[2]
    assert warning in box.partition("</section>")[0]


def test_failed_analysis_leaves_an_older_page_as_it_was(model, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("older")
    found = run(model, "--data", "npz:nowhere.npz", "--report", page)
    assert found.exit_code != 0
    assert page.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
