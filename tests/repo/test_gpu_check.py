"""The check of a GPU: what it says where there is none, and that a wrong number is no success."""

import json
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch

check = pytest.importorskip("benchmarks.gpu.__main__", reason="the checkout is not on the path")
correctness = pytest.importorskip("benchmarks.gpu.correctness")
report = pytest.importorskip("benchmarks.gpu.report")

ROOT = Path(__file__).parents[2]
ROW = {"what": "outputs", "found": 0.5, "most": 0.1, "kept": False, "absent": None}


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["gpu", *arguments])
    with pytest.raises(SystemExit) as end:
        check.main()
    return end.value.code


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_it_says_so_in_one_line(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "-o", str(tmp_path / "out.json")) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert told.err.startswith("gpu-check: not run: device 'cuda'")
    assert not list(tmp_path.iterdir())


def test_a_number_beyond_its_bound_or_none_is_no_success():
    assert correctness.Bound("labels", 0.0, 0.0).kept
    assert not correctness.Bound("labels", 0.1, 0.0).kept
    assert not correctness.Bound("labels", nan, 1.0).kept
    assert correctness.Bound("training", nan, 1.0, "no torch for it").kept
    row = report.bound_row(correctness.Bound("labels", nan, 1.0))
    assert json.loads(json.dumps(row, allow_nan=False))["found"] is None
    assert "not a number" in report.bound_line(row)
    assert "no torch" in report.bound_line({**row, "absent": "no torch for it"})


def test_a_device_that_computes_otherwise_is_found(monkeypatch, tmp_path):
    case = correctness.resnet20(tmp_path, 4)
    near, _ = correctness._outputs(case, "cpu")
    assert near.found == 0.0

    def off_by_one_percent(device, compute):
        outputs = compute("cpu")
        return outputs, outputs * np.float32(1.01)

    monkeypatch.setattr(correctness, "_both", off_by_one_percent)
    far, labels = correctness._outputs(case, "cpu")
    assert far.found == pytest.approx(0.01, rel=1e-3)
    assert not far.kept
    assert labels.kept, "a factor changes no label"


def test_the_page_says_what_is_stored():
    page = (ROOT / "docs/gpu.md").read_text()
    stored = ROOT / "benchmarks/results/gpu.json"
    found = json.loads(stored.read_text()) if stored.exists() else None
    assert report.in_page(page, found) == page
    assert (report.NOT_RUN in page) == (found is None)
    with pytest.raises(ValueError, match="lacks"):
        report.in_page("no comments", None)


def test_tables_show_ratios_only_where_all_bounds_are_kept():
    setting = {"date": "1", "processor": "p", "cores": 2, "system": "s", "python": "3"}
    found = {"setting": {**setting, "packages": {"torch": "2"}}, "gpus": ["NVIDIA L4"]}
    told = report.markdown({**found, "bounds": [ROW], "ratios": []})
    assert "**not kept**" in told
    assert "no times were compared" in told
    ratio = {"what": "a plain pass", "of": ["cuda", "cpu"], "seconds": {"cuda": [1, 1], "cpu": []}}
    ratio |= {"median": 0.1, "least": 0.09, "most": 0.11}
    told = report.markdown({**found, "bounds": [{**ROW, "kept": True}], "ratios": [ratio]})
    assert "| a plain pass | cuda to cpu | 0.10 (0.09–0.11) | 2 |" in told
    assert "NVIDIA L4" in told
