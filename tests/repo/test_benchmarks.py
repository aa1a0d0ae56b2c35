"""The benchmarks' page shows what the benchmarks wrote."""

import json
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

tables = pytest.importorskip("benchmarks.report.tables", reason="the checkout is not on the path")

ROOT = Path(__file__).parents[2]
LATEST = ROOT / "benchmarks/results/latest.json"


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_can_be_imported(module):
    """What only a competitor needs is imported where it runs."""
    import_module(module)


def test_page_and_table_are_made_from_the_stored_results():
    made = tables.markdown(json.loads(LATEST.read_text()))
    page = (ROOT / "docs/benchmarks.md").read_text()
    assert (LATEST.with_suffix(".md")).read_text() == made
    assert tables.in_page(page, made) == page


def test_tables_replace_what_stood_between_the_marks():
    page = f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n"
    made = tables.in_page(page, "new\n")
    assert made == f"before\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nafter\n"
    assert tables.in_page(made, "new\n") == made


def test_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks"):
        tables.in_page("no marks", "new\n")


def test_every_stored_part_tells_when_and_how_it_was_measured():
    for name, part in json.loads(LATEST.read_text()).items():
        told = tables.markdown({name: part})
        assert f"*{part['setting']['date']}, {part['rounds']} round" in told
        assert f"load {part['load']:.2f} before" in told


def test_parts_measured_with_other_versions_are_told_apart():
    stored = json.loads(LATEST.read_text())
    name, part = next(iter(stored.items()))
    other = json.loads(json.dumps(part))
    other["setting"]["packages"]["numpy"] = "0.0"
    both = tables.markdown({**stored, "spent": stored["spent"], name: other})
    assert f"For {name}:" in both
    assert "For " not in tables.markdown({"spent": stored["spent"]})


def test_a_part_that_is_measured_again_leaves_the_others_alone(tmp_path, monkeypatch):
    runner = pytest.importorskip("benchmarks.__main__")
    page = tmp_path / "page.md"
    page.write_text(f"text\n{tables.BEGIN}\n{tables.END}\n")
    monkeypatch.setattr(runner, "RESULTS", tmp_path)
    monkeypatch.setattr(runner, "PAGE", page)
    stored = json.loads(LATEST.read_text())
    (tmp_path / "latest.json").write_text(json.dumps(stored))
    runner.store("spent", {**stored["spent"], "load": 9.75})
    found = json.loads((tmp_path / "latest.json").read_text())
    assert found.pop("spent")["load"] == 9.75
    assert found == {name: part for name, part in stored.items() if name != "spent"}
    assert "load 9.75 before" in page.read_text()
    assert page.read_text().startswith("text")


def test_stored_curves_agree():
    """A comparison of times means nothing where two sides computed different things."""
    for one in _stored("prunability")["units"].values():
        apart = one["examples_apart"]
        assert apart["frivkit"] == apart["session a mask"] == 0
        assert max(apart["torch hook"], apart["captum"]) <= 5


@pytest.mark.parametrize("part", ["moments", "rows"])
def test_stored_eigenvalues_agree(part):
    for one in _stored(part):
        apart = {name: way["apart"] for name, way in one["ways"].items() if "apart" in way}
        assert len(apart) >= 4
        assert apart.pop("PCA", 0) <= 1e-3, "it sums in float32"
        assert max(apart.values()) <= 1e-5


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_memory_is_what_the_work_took_and_not_what_the_process_held(tmp_path, monkeypatch):
    fresh = pytest.importorskip("benchmarks.measuring.fresh_process")
    (tmp_path / "holding.py").write_text(
        "def hold(megabytes):\n"
        "    return lambda: bytearray(b'x') * (megabytes << 20), lambda held: {'held': len(held)}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = fresh.run_in_process("holding:hold", {"megabytes": 40}, {"megabytes": 80})
    assert told["held"] == 40 << 20
    # Linux counts resident pages in batches for each processor, so a little may be missing.
    assert 39 << 20 <= told["bytes"] < 44 << 20
    assert told["seconds"] > 0


def test_side_that_fails_is_told_with_its_reason(tmp_path, monkeypatch):
    fresh = pytest.importorskip("benchmarks.measuring.fresh_process")
    (tmp_path / "failing.py").write_text("def fail():\n    raise ValueError('out of ink')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit, match="out of ink"):
        fresh.run_in_process("failing:fail", {}, {})


def test_stored_quality_holds_every_side_and_meets_its_budgets():
    for net in _stored("quality"):
        whole, seeds = net["whole"], len(net["whole"]["macs"])
        assert seeds >= 3
        assert set(whole["agreement"]) == {1.0}
        for budget in net["budgets"]:
            kind, sides = budget["kind"], budget["sides"]
            assert {"frivkit", "onnxsim L2 + finetune", "Torch-Pruning Taylor"} <= set(sides)
            for side in sides.values():
                if "agreement" in side:
                    assert len(side["agreement"]) == len(side["accuracy"]) == seeds
                    for left, all_of_it in zip(side[kind], whole[kind], strict=True):
                        assert left <= budget["level"] * all_of_it
                else:
                    assert len(side) == 1, "it says why there is nothing"


def test_stored_quality_is_what_the_picture_shows():
    plot = pytest.importorskip("benchmarks.report.quality_plot")
    drawn = plot.picture(_stored("quality"))
    assert (ROOT / "docs/quality.svg").read_text() == drawn


WHOLE = {"macs": [100, 100], "params": [50, 50], "units": [8, 8], "agreement": [1.0, 1.0]}
WHOLE |= {"accuracy": [0.9, 0.92], "relative_l2": [0.0, 0.0], "examples": 500}
HALF = {**WHOLE, "macs": [50, 48], "agreement": [0.9, 0.98], "accuracy": [0.8, 0.9]}
QUALITY = [
    {
        "net": "small",
        "whole": WHOLE,
        "budgets": [
            {
                "kind": "macs",
                "level": 0.5,
                "sides": {
                    "frivkit": HALF,
                    "onnxsim L2": {**HALF, "macs": [40, 44], "agreement": [0.7, 0.7]},
                    "onnxsim Wanda": {"cannot": 0.91},
                    "Torch-Pruning random": {"absent": "no torch network"},
                    "Torch-Pruning Taylor": {"fails": "ValueError: out of ink"},
                },
            }
        ],
    }
]


def test_quality_table_tells_spread_what_is_left_and_what_a_side_cannot():
    quality = pytest.importorskip("benchmarks.report.quality_tables")
    text = quality.quality(QUALITY)
    assert "| frivkit | **0.940 (0.900–0.980)** |" in text
    assert "| onnxsim L2 | 0.700 at 42% |" in text
    assert "| onnxsim Wanda | cannot: stays at 91% |" in text
    assert "| Torch-Pruning random | no torch network |" in text
    assert "| Torch-Pruning Taylor (needs labels and gradients) | fails |" in text
    assert "accuracy is 0.9100 (0.9000–0.9200)" in text


def test_picture_of_quality_draws_what_was_measured():
    plot = pytest.importorskip("benchmarks.report.quality_plot")
    drawn = ElementTree.fromstring(plot.picture(QUALITY))  # noqa: S314  # we have just made it
    lines = [line.find("{*}title").text for line in drawn.findall("{*}g/{*}polyline")]
    assert sorted(lines) == ["frivkit", "onnxsim L2"]
    assert {text.text for text in drawn.findall(".//{*}text")} >= {*plot.LINES, "small"}


def test_rows_are_kept_and_a_half_written_line_is_left_out(tmp_path):
    kept = pytest.importorskip("benchmarks.measuring.row_store")
    rows = tmp_path / "build" / "rows.jsonl"
    kept.RowStore(rows).add({"net": "small", "seed": 0}, {"agreement": 0.5})
    with rows.open("a") as file:
        file.write('\n[{"net": "small", "se')  # killed here
    kept.RowStore(rows).add({"net": "small", "seed": 2}, {"agreement": 0.75})
    again = kept.RowStore(rows)
    assert again.get({"seed": 0, "net": "small"}) == {"agreement": 0.5}
    assert again.get({"net": "small", "seed": 1}) is None
    assert again.get({"net": "small", "seed": 2}) == {"agreement": 0.75}


def _stored(part):
    found = json.loads(LATEST.read_text())
    if part not in found:
        pytest.skip(f"{part} has not been measured yet")
    return found[part]["found"]
