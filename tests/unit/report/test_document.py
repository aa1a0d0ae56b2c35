"""The JSON documents: what commands write is what the schemas say."""

import copy
import json
import re
from pathlib import Path

import pytest

from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Analysis, Request, analyze, inspect_model
from frivkit.provenance import Clock
from frivkit.report.analysis_html import analysis_page
from frivkit.report.document import analysis_document, inspection_document
from frivkit.report.terminal import analysis_text, inspection_text
from tests.contract import SCHEMAS, complaints
from tests.nets import NETS, opened

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/json.md").read_text()


@pytest.fixture(scope="module")
def analysis(tmp_path_factory) -> Analysis:
    path = tmp_path_factory.mktemp("analysis") / "residual.onnx"
    path.write_bytes(NETS["residual"]().SerializeToString())
    request = Request(path, data="gaussian?n=40", examples=30)
    options = {"levels": "3", "refine": "1", "resamples": "20"}
    return analyze(request, ["prunability", "redundancy"], options)


@pytest.fixture
def document(analysis):
    return analysis_document(analysis, Clock.start())


class TestAnalysis:
    def test_document_is_what_the_schema_says(self, document):
        assert complaints(document) == []
        found = {(m["metric"], m["scope"]) for m in document["measurements"]}
        assert found == {
            (m, s) for m in ("prunability", "redundancy") for s in ("network", "layer")
        }

    def test_page_and_terminal_show_it(self, document):
        page, text = analysis_page(document), analysis_text(document)
        for site in document["sites"]:
            assert site["layer"] in page
            assert site["layer"] in text
        assert page.count("<figure") == 5

    def test_sites_are_those_of_the_survey_in_order(self, document, analysis):
        sites = analysis.study.site_map.sites
        assert [s["layer"] for s in document["sites"]] == [site.layer for site in sites]
        assert [s["units"] for s in document["sites"]] == [site.width for site in sites]
        assert any(s["coupling"] for s in document["sites"])

    def test_values_are_those_that_were_measured(self, document, analysis):
        for shown, measured in zip(document["measurements"], analysis.measurements, strict=True):
            assert shown["value"] == measured.value
            assert shown["interval"] == (measured.interval and list(measured.interval))
            assert shown["detail"] == json.loads(json.dumps(dict(measured.detail)))

    def test_numbers_that_are_not_finite_become_null(self, analysis):
        nan, inf = float("nan"), float("inf")
        odd = Measurement(
            "m", "network", None, nan, 3, interval=(-inf, 1.0), detail={"a": [nan, {"b": (inf,)}]}
        )
        changed = Analysis(analysis.study, (odd,), (), 0.5, None, 0.5)
        found = analysis_document(changed, Clock.start())
        (shown,) = found["measurements"]
        assert shown["value"] is None
        assert shown["interval"] is None
        assert shown["detail"] == {"a": [None, {"b": [None]}]}
        assert complaints(found) == []
        assert "undefined" in analysis_text(found)
        analysis_page(found)

    def test_provenance_tells_what_a_repetition_needs(self, document):
        origin = document["provenance"]
        assert origin["seed"] == 0
        assert origin["layers"] == [site["layer"] for site in document["sites"]]
        assert {"numpy", "onnx-ir"} <= set(origin["packages"])
        assert {"frivkit_ablation", "frivkit_onnx"} <= set(origin["plugins"])

    @pytest.mark.parametrize(
        ("place", "wrong"),
        [
            (("schema",), "frivkit.analysis/2"),
            (("model", "sha256"), "no digest"),
            (("model", "parameters"), -1),
            (("model", "surprise"), 1),
            (("data", "examples"), 0),
            (("data", "labels_in_largest_class"), 0),
            (("data", "accuracy"), 1.5),
            (("sites", 0, "spatial"), [0]),
            (("measurements", 0, "value"), 1.01),
            (("measurements", 0, "layer"), "of the network"),
            (("measurements", 1, "layer"), None),
            (("measurements", 0, "interval"), [0.5]),
            (("measurements", 0, "detail", "tolerance"), 0),
            (("measurements", 0, "detail", "levels"), [0.5]),
            (("measurements", 0, "detail", "unchanged", 0, 0), 2),
            (("measurements", -1, "detail", "rank"), 0.5),
            (("provenance", "reused"), {"runs": 0.5}),
        ],
        ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
    )
    def test_schema_refuses_what_the_page_rules_out(self, document, place, wrong):
        *path, last = place
        found = copy.deepcopy(document)
        spot = found
        for step in path:
            spot = spot[step]
        spot[last] = wrong
        assert complaints(found, schemas={**SCHEMAS, "analysis/2": SCHEMAS["analysis"]}) != []

    @pytest.mark.parametrize("key", ["value", "detail", "interval", "protocol"])
    def test_schema_refuses_a_measurement_without_its_keys(self, document, key):
        found = copy.deepcopy(document)
        del found["measurements"][0][key]
        assert complaints(found) != []


class TestInspection:
    @pytest.mark.parametrize(
        "name", ["mlp", "residual", "squeeze excite", "separable", "tokens", "weightless"]
    )
    def test_document_is_what_the_schema_says(self, name, tmp_path):
        model = opened(NETS[name](), tmp_path / "net.onnx")
        found = inspection_document(model, find_sites(model), Clock.start())
        assert complaints(found) == []
        text = inspection_text(found)
        assert max(map(len, text.splitlines())) <= 80
        assert all(site["layer"] in text for site in found["sites"])

    def test_couplings_are_named_by_the_sites_in_them(self, tmp_path):
        path = tmp_path / "net.onnx"
        path.write_bytes(NETS["residual"]().SerializeToString())
        found = inspection_document(*inspect_model(Request(path)), Clock.start())
        assert found["couplings"]
        for coupling in found["couplings"]:
            named = [s["name"] for s in found["sites"] if s["coupling"] == coupling["name"]]
            assert coupling["sites"] == named
            assert len(named) > 1
            parts = {
                p["site"] for merge_point in coupling["junctions"] for p in merge_point["parts"]
            }
            assert parts == set(named)


@pytest.mark.parametrize("command", [("plugins",), ("plugins", "prunability"), ("doctor",)])
def test_document_of_the_installation_is_what_the_schema_says(command, capsys):
    from frivkit.cli import main

    with pytest.raises(SystemExit):
        main([*command, "--json", "-"])
    assert complaints(json.loads(capsys.readouterr().out)) == []


def test_plugins_are_listed():
    from click.testing import CliRunner

    from frivkit.cli.plugins import command

    result = CliRunner().invoke(command, ["--json", "-"])
    found = json.loads(result.output)
    assert {"frivkit_onnx", "frivkit_ablation"} <= {plugin["name"] for plugin in found["plugins"]}


def test_example_on_the_page_runs(document, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "result.json").write_text(json.dumps(document))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/reference/json.md", "exec"), {})  # noqa: S102  # our own page
    values = [float(line.split()[2]) for line in capsys.readouterr().out.splitlines()]
    assert values == sorted((m["value"] for m in document["measurements"]), reverse=True)
