"""``frivkit verify``: what it shows and writes, and how it fails."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frivkit.latency.timing import Latency
from tests.contract import SCHEMAS, complaints
from tests.handmade import written
from tests.htmlpage import cells, data_of, tree, without_data
from tests.program import CLASSES, INPUTS, Outcome, write_mlp

Run = Callable[..., Outcome]
DATA = ("--data", "npz:x.npz")
BOTH = ("verify", "net.onnx", "thin.onnx")


@pytest.fixture(autouse=True)
def compressed(files: Path) -> Path:
    """Return thin.onnx, net.onnx without the last 4 of its 16 units."""
    model = onnx.load(files / "net.onnx")
    for tensor, cut in zip(model.graph.initializer, (np.s_[:12], np.s_[:, :12]), strict=True):
        array = np.ascontiguousarray(numpy_helper.to_array(tensor)[cut])
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, files / "thin.onnx")
    return files / "thin.onnx"


def outputs(path: str) -> np.ndarray:
    """Compute the outputs by hand."""
    v, w = (numpy_helper.to_array(t).astype(float) for t in onnx.load(path).graph.initializer)
    return np.maximum(np.load("x.npz")["x"].astype(float) @ v.T, 0) @ w.T


def test_document_keeps_the_contract_and_says_what_numpy_says(frivkit: Run) -> None:
    ran = frivkit(*BOTH, *DATA, "--json", "-")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert complaints(document) == []
    a, b = outputs("net.onnx"), outputs("thin.onnx")
    same = int((a.argmax(1) == b.argmax(1)).sum())
    assert document["agreement"]["same"] == same < 200
    assert document["agreement"]["labels"] == same / 200
    assert document["outputs"]["max_abs"] == pytest.approx(np.abs(a - b).max(), rel=1e-5)
    relative = np.linalg.norm(a - b) / np.linalg.norm(a)
    assert document["outputs"]["relative_l2"] == pytest.approx(relative, rel=1e-5)
    y = np.load("x.npz")["y"]
    accuracy = {"before": (a.argmax(1) == y).mean(), "after": (b.argmax(1) == y).mean()}
    assert document["accuracy"] == accuracy
    assert document["layers"] == [
        {
            "layer": "layer",
            "units_before": 16,
            "units_after": 12,
            "removed": None,
            "predicted_error": None,
        }
    ]
    assert document["skipped"] == []
    for side, units in (("original", 16), ("thin", 12)):
        weights = units * (INPUTS + CLASSES)
        assert document[side]["parameters"] == document[side]["macs"] == weights
        assert document[side]["bytes"] == Path(document[side]["path"]).stat().st_size
        low, high = document[side]["latency_quartiles_ms"]["64"]
        assert 0 < low <= document[side]["latency_ms"]["64"] <= high
        assert document[side]["latency_rounds"] == {"1": 5, "64": 5}
    assert document["provenance"]["command"][0] == "frivkit"


def test_schema_names_every_key_of_the_document(frivkit: Run) -> None:
    document = json.loads(frivkit(*BOTH, *DATA, "--json", "-").out)
    assert complaints(document) == []
    assert set(document) == set(SCHEMAS["verification"]["properties"])


def test_table_and_sentence(frivkit: Run) -> None:
    ran = frivkit(*BOTH, *DATA, "-q")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    lines = lines[next(i for i, line in enumerate(lines) if line.split()[:1] == ["original"]) :]
    assert re.fullmatch(r" +original +compressed +ratio", lines[0])
    assert re.fullmatch(r"parameters +208 +156 +0\.750", lines[2])
    assert any(re.match(r"ms, batch 64 .*\(.* to .*\)$", line) for line in lines)
    text = " ".join(lines)
    assert re.search(r"\d+ of 200 labels are the same, [\d.]+ % \(95 % interval .* to .*\)", text)
    assert re.search(r"Latency: [a-z ]+ at batch 1, [a-z ]+ at batch 64\.", text)
    assert max(map(len, lines)) <= 80


def test_layer_of_another_name_is_told(files: Path, frivkit: Run) -> None:
    model = onnx.load("thin.onnx")
    renamed = {"v": "kernel", "layer": "hidden", "layer/Gemm": "hidden/Gemm"}
    for node in model.graph.node:
        node.name = renamed.get(node.name, node.name)
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    model.graph.initializer[0].name = "kernel"
    onnx.save(model, "thin.onnx")
    document = json.loads(frivkit(*BOTH, *DATA, "--json", "-").out)
    assert document["layers"] == []
    assert [skip["node"] for skip in document["skipped"]] == ["layer"]
    del files


def test_requirement_that_is_met_and_one_that_is_not(files: Path, frivkit: Run) -> None:
    same = ("verify", "net.onnx", "net.onnx", *DATA, "--json", "found.json", "--task", "classify")
    met = frivkit(*same, "--require", "0.98")
    assert (met.code, met.err) == (0, "")
    short = frivkit(*same, "--require", "0.99")
    assert short.code == 1
    assert "200 examples cannot show more than 0.9817" in short.error()
    assert "give 368 or more" in short.error()
    assert "200 of 200 labels are the same" in short.out
    assert json.loads((files / "found.json").read_text())["agreement"]["labels"] == 1
    assert frivkit(*BOTH, *DATA).code == 0
    low = frivkit(*BOTH, *DATA, "--require", "0.98", "-q")
    assert low.code == 1
    assert "compress less" in low.error()


@pytest.mark.parametrize(("share", "code"), [(0.5, 0), (1.5, 4)], ids=["faster", "slower"])
def test_a_faster_model_can_be_required(
    frivkit: Run, monkeypatch: pytest.MonkeyPatch, share: float, code: int
) -> None:
    def measured(*_: object) -> tuple[Latency, Latency]:
        return Latency((1.0, 2.0, 3.0)), Latency((share, 2 * share, 3 * share))

    monkeypatch.setattr("frivkit.verification.verification.interleaved", measured)
    same = (*BOTH, *DATA, "--time-batch", "1, 16", "--json", "found.json")
    ran = frivkit(*same, "--require-faster")
    assert ran.code == code
    latency = json.loads(Path("found.json").read_text())["latency"]
    assert latency["ratio"] == {"1": [share] * 3, "16": [share] * 3}
    assert latency["verdict"] == dict.fromkeys(("1", "16"), "slower" if code else "faster")
    assert latency["left_fast_path"] == []  # dense layers have no blocked layout
    first = "The compressed model is not faster: it takes 1.500 times as long at batch 1 (slower),"
    assert ran.out.startswith(first[:70]) == bool(code)
    if code:
        assert (
            "not faster: it takes 1.500 times as long at batch 1 (slower)"
            in ran.err.splitlines()[-1]
        )
    assert frivkit(*same).code == 0


def test_page_shows_agreement_and_widths(frivkit: Run) -> None:
    ran = frivkit(*BOTH, *DATA, "--no-time", "--json", "v.json", "--report", "v.html")
    assert ran.code == 0
    page, document = Path("v.html").read_text(), json.loads(Path("v.json").read_text())
    assert json.loads(data_of(page)) == document
    root = tree(without_data(page))
    (row,) = cells(root.one("table", "sortable"))
    assert row[2:5] == ["16", "12", "75.0\xa0%"]
    assert f"{document['agreement']['same']} of" in root.one("div", "lead").text
    assert root.all("a", "removed")[0].all("text", "line")[0].text == "16 → 12"


def test_latency_need_not_be_measured(frivkit: Run) -> None:
    ran = frivkit(*BOTH, *DATA, "--no-time", "--json", "found.json")
    document = json.loads(Path("found.json").read_text())
    assert complaints(document) == []
    assert (ran.code, document["latency"]["ratio"]) == (0, {})
    assert "batch" not in ran.out
    refused = frivkit(*BOTH, *DATA, "--no-time", "--require-faster")
    assert (refused.code, refused.out) == (2, "")
    assert frivkit(*BOTH, *DATA, "--time-batch", "0").code == 2


@pytest.mark.parametrize("value", ["1", "1.5", "-0.1", "nan", "all"])
def test_requirement_that_means_nothing(frivkit: Run, value: str) -> None:
    ran = frivkit(*BOTH, *DATA, "--require", value)
    assert (ran.code, ran.out) == (2, "")
    assert "--require" in ran.error()


def test_noise_is_said_to_be_noise_in_every_place(frivkit: Run) -> None:
    ran = frivkit(*BOTH, "--json", "found.json")
    assert ran.code == 0
    assert ran.err.startswith("frivkit: warning: no data was named, so gaussian noise")
    assert "(noise, no real inputs)" in " ".join(ran.out.split())
    document = json.loads(Path("found.json").read_text())
    assert "gaussian noise" in document["warnings"][0]
    assert document["accuracy"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["net.onnx", "missing.onnx", *DATA], 1, ["missing.onnx", "does not exist"]),
        (["missing.onnx", "thin.onnx", *DATA], 1, ["missing.onnx", "does not exist"]),
        (["net.onnx", "x.npz", *DATA], 1, ["x.npz", "ONNX"]),
        (["net.onnx", "fewer.onnx", *DATA], 1, ["(5,)", "(3,)", "fewer.onnx", "--output-name"]),
        (["net.onnx", "inputs.onnx", *DATA], 1, ["x", "image", "rename"]),
        (["net.onnx", "log.onnx", *DATA, "--output-name", "z"], 1, ["'z'", "logits"]),
        (["log.onnx", "thin.onnx", *DATA], 1, ["log.onnx gives NaN", "example"]),
        (["net.onnx", "thin.onnx", "--data", "npz:missing.npz"], 1, ["missing.npz"]),
        (["net.onnx", "thin.onnx", *DATA, "--json", "thin.onnx"], 2, ["thin.onnx", "another"]),
        (["net.onnx", "thin.onnx", *DATA, "--json", "net.onnx"], 2, ["net.onnx", "another"]),
        (["net.onnx", "thin.onnx", *DATA, "--json", "no/where"], 1, ["no/where", "no folder"]),
        (["net.onnx", *DATA], 2, ["COMPRESSED"]),
        (["net.onnx", "thin.onnx", *DATA, "--examples", "0"], 2, ["--examples"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake_is_one_line(
    files: Path, frivkit: Run, arguments: list[str], code: int, words: list[str]
) -> None:
    write_mlp(files / "log.onnx", last="Log")
    gemm = "y = Gemm <transB = 1> ({}, w) }}"
    three = "g (float[N, 8] x) => (float[N, 3] y) { " + gemm.format("x")
    onnx.save(written(three, w=(3, INPUTS)), files / "fewer.onnx")
    image = "g (float[N, 8] image) => (float[N, 4] y) { " + gemm.format("image")
    onnx.save(written(image, w=(CLASSES, INPUTS)), files / "inputs.onnx")
    before = {path: path.read_bytes() for path in files.iterdir() if path.is_file()}
    ran = frivkit("verify", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert all(word in ran.error() for word in words), ran.err
    assert {path: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


def test_thin_model_that_gives_nan_is_a_result(files: Path, frivkit: Run) -> None:
    write_mlp(files / "log.onnx", last="Log")
    ran = frivkit("verify", "net.onnx", "log.onnx", *DATA, "--json", "-")
    assert ran.code == 0
    document = json.loads(ran.out)
    bad = (outputs("log.onnx") < 0).any(axis=1).sum()
    assert document["agreement"]["undefined"] == bad > 0
    assert [document["outputs"][key] for key in ("max_abs", "relative_l2")] == [None, None]
    assert f"gives NaN for {bad} labels" in ran.err


def test_fixed_batch_is_told_and_left_out(files: Path, frivkit: Run) -> None:
    write_mlp(files / "one.onnx", batch=1)
    ran = frivkit("verify", "net.onnx", "one.onnx", *DATA, "--json", "found.json")
    assert ran.code == 0
    assert "batch 64: one.onnx takes batches of 1 only" in " ".join(ran.out.split())
    document = json.loads((files / "found.json").read_text())
    assert document["thin"]["latency_ms"]["64"] is document["original"]["latency_ms"]["64"] is None
    assert document["thin"]["latency_ms"]["1"] > 0
    assert document["agreement"]["labels"] == 1
    assert complaints(document) == []


def test_interruption_ends_with_130(frivkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("frivkit.verification.verification.interleaved", interrupted)
    ran = frivkit(*BOTH, *DATA, "--json", "found.json")
    assert (ran.code, ran.out) == (130, "")
    assert ran.error() == "frivkit: interrupted; no file is incomplete"
    assert not Path("found.json").exists()


def test_names_out_of_files_cannot_command_the_terminal(files: Path, frivkit: Run) -> None:
    name = "evil\x1b[2J.onnx"
    (files / "thin.onnx").rename(files / name)
    ran = frivkit("verify", "net.onnx", name, *DATA)
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err
