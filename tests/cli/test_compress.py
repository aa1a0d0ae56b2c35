"""``frivkit compress``: what it writes, proves, shows and refuses."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from frivkit.data.subset import held_out
from tests.contract import complaints
from tests.handmade import written
from tests.program import CLASSES, Outcome, same_networks, write_cnn, write_rows

Run = Callable[..., Outcome]
SIDE, CHANNELS = 8, 8
DATA = ("--data", "npz:x.npz")
HALF = ("compress", "net.onnx", "-o", "thin.onnx", "--macs", "0.5")
PROOF = ("thin", "agreement", "accuracy", "outputs", "latency")


@pytest.fixture(autouse=True)
def net(
    files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return net.onnx, two convolutions and a dense layer, and x.npz; the cache is elsewhere."""
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    write_rows(files / "x.npz", 1, SIDE, SIDE)
    return write_cnn(files / "net.onnx", CHANNELS, SIDE)


def document(ran: Outcome) -> dict[str, Any]:
    """Return the one document that is all of stdout, which keeps the contract."""
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    assert complaints(found) == []
    return found


def there(files: Path) -> set[Path]:
    """Return the files of a folder, without the cache."""
    return {path for path in files.iterdir() if path.name != "cache"}


def weights(path: str) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def cost(path: str) -> dict[str, int]:
    """Count by hand what a file costs, from the sizes of its weights."""
    arrays = weights(path).values()
    kernels = [array.size for array in arrays if array.ndim == 4]
    (dense,) = (array.size for array in arrays if array.ndim == 2)
    units = [len(array) for array in arrays if array.ndim == 4]
    return {
        "macs": SIDE * SIDE * sum(kernels) + dense,
        "params": sum(array.size for array in arrays),
        "units": sum(units),
    }


def logits(path: str, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["logits"], {"x": x})[0]
    return found


@pytest.mark.parametrize(
    ("option", "resource"), [("--macs", "macs"), ("--params", "params"), ("--units-kept", "units")]
)
@pytest.mark.parametrize("refit", ["relu", "ridge", "none"])
def test_budget_of_each_kind_is_met_by_the_file(
    frivkit: Run, option: str, resource: str, refit: str
) -> None:
    ran = frivkit(
        *("compress", "net.onnx", "-o", "thin.onnx", option, "0.6", *DATA),
        *("--basis", "select", "--refit", refit, "--json", "-"),  # each convolution stays one
    )
    found = document(ran)
    before, after = cost("net.onnx"), cost("thin.onnx")
    assert after[resource] <= 0.6 * before[resource]
    for each in before:
        assert found["budget"]["left"][each] == pytest.approx(after[each] / before[each])
    assert found["budget"]["kind"] == resource
    assert found["budget"]["share"] == 0.6
    assert (found["thin"]["macs"], found["thin"]["parameters"]) == (after["macs"], after["params"])
    assert sum(layer["units_after"] for layer in found["layers"]) == after["units"]


def test_points_of_other_budgets_are_what_their_plans_predict(frivkit: Run) -> None:
    plan = ("compress", "net.onnx", "--dry-run", *DATA, "--json", "-", "--macs")
    path = document(frivkit(*plan, "0.5"))["budget_path"]
    points = list(zip(path["left"], path["predicted_error"], strict=True))
    assert path["resource"] == "macs"
    assert points[0] == (1.0, 0.0)
    assert points == sorted(points, key=lambda point: (-point[0], point[1]))
    for left, error in points[2::4]:
        other = document(frivkit(*plan, f"{left + 1e-9}"))
        assert other["budget"]["left"]["macs"] == pytest.approx(left, abs=0.02)
        assert other["budget_path"]["plan_error"] == pytest.approx(error, rel=0.3)


def test_tolerance_lets_more_leave_the_larger_it_is(frivkit: Run) -> None:
    plan = ("compress", "net.onnx", "--dry-run", *DATA, "--json", "-", "--tolerance")
    left = [document(frivkit(*plan, t))["budget"]["left"]["units"] for t in ("0.001", "0.1", "0.9")]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


def test_agreement_leaves_a_smaller_model_that_agrees(frivkit: Run) -> None:
    write_rows(Path("many.npz"), 1, SIDE, SIDE, n=600)
    ran = frivkit(
        *("compress", "net.onnx", "-o", "thin.onnx", "--agreement", "0.5"),
        *("--data", "npz:many.npz", "--json", "-"),
    )
    found = document(ran)
    assert cost("thin.onnx")["macs"] < cost("net.onnx")["macs"]
    assert found["agreement"]["labels"] > 0.5
    assert found["calibration"]["examples"] == 338  # three quarters of three quarters of 600
    assert found["agreement"]["examples"] == 150


def test_document_says_what_the_file_does(frivkit: Run) -> None:
    found = document(frivkit(*HALF, *DATA, "--json", "-"))
    with np.load("x.npz") as stored:
        x, y = stored["x"], stored["y"]
    verification = held_out(len(x))
    x, y = x[verification], y[verification]
    a, b = logits("net.onnx", x), logits("thin.onnx", x)
    same = int((a.argmax(1) == b.argmax(1)).sum())
    assert (found["agreement"]["same"], found["agreement"]["examples"]) == (same, 50)
    assert found["outputs"]["max_abs"] == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert found["accuracy"]["after"] == (b.argmax(1) == y).mean()
    left = {name: array.shape for name, array in weights("thin.onnx").items() if array.ndim > 1}
    assert [(layer["layer"], layer["units_after"]) for layer in found["layers"]] == [
        ("conv1", left["u"][0]),
        ("conv2", left["v"][0]),
    ]
    assert left["w"] == (CLASSES, left["v"][0])
    assert found["thin"]["bytes"] == Path("thin.onnx").stat().st_size
    assert found["calibration"]["examples"] == 150
    assert [skip["node"] for skip in found["skipped"]] == ["logits/Gemm"]
    assert found["provenance"]["command"][0] == "frivkit"


def test_predicted_error_is_the_largest_of_the_readers(frivkit: Run) -> None:
    found = document(frivkit(*HALF, *DATA, "--json", "-"))
    errors = {refit["node"]: refit["error"] for refit in found["refits"]}
    assert set(errors) == {"conv2/Conv", "logits/Gemm"}
    expected = {"conv1": errors["conv2/Conv"], "conv2": errors["logits/Gemm"]}
    assert {e["layer"]: e["predicted_error"] for e in found["layers"]} == expected
    assert all(error > 0 for error in expected.values())
    sliced = document(frivkit(*HALF, *DATA, "--refit", "none", "--json", "-"))
    assert [layer["predicted_error"] for layer in sliced["layers"]] == [None, None]
    assert {refit["ridge"] for refit in sliced["refits"]} == {0.0}


def test_refit_agrees_with_the_original_better_than_slices(frivkit: Run) -> None:
    fitted = document(frivkit(*HALF, *DATA, "--json", "-"))
    sliced = document(frivkit(*HALF, *DATA, "--refit", "none", "--json", "-"))
    assert fitted["outputs"]["relative_l2"] < sliced["outputs"]["relative_l2"]


def test_dry_run_writes_nothing(files: Path, frivkit: Run) -> None:
    before = there(files)
    ran = frivkit("compress", "net.onnx", "--macs", "0.5", *DATA, "--dry-run")
    assert (ran.code, ran.err) == (0, "")
    assert re.search(r"conv1 +8 +[1-8]", ran.out)
    assert "no model was written" in ran.out
    assert there(files) == before
    found = document(frivkit(*HALF, *DATA, "--dry-run", "--json", "-"))
    assert [found[part] for part in PROOF] == [None] * len(PROOF)
    assert found["budget"]["left"]["macs"] <= 0.5
    assert found["original"]["bytes"] == Path("net.onnx").stat().st_size
    assert set(found["original"]["latency_ms"].values()) == {None}
    assert there(files) == before


def test_dry_run_plans_what_a_run_does(frivkit: Run) -> None:
    plan = document(frivkit(*HALF, *DATA, "--dry-run", "--json", "-"))
    done = document(frivkit(*HALF, *DATA, "--json", "-"))
    for part in ("budget", "skipped", "calibration", "dropped_branches"):
        assert plan[part] == done[part]
    for part in ("layers", "factors"):  # whose errors a refit predicts
        errors = ("predicted_error", "error")
        bare = [
            [{k: v for k, v in each.items() if k not in errors} for each in found[part]]
            for found in (plan, done)
        ]
        assert bare[0] == bare[1]
    assert plan["refits"] == []


def test_text_shows_layers_reasons_and_the_proof(frivkit: Run) -> None:
    ran = frivkit(*HALF, *DATA)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert re.fullmatch(r"layer +units +kept +predicted error", lines[0])
    assert re.fullmatch(r"conv1 +8 +[1-8] +\S+", lines[1])
    text = " ".join(" ".join(lines).split())
    assert "not compressed logits/Gemm: its units are the model's outputs" in text
    assert "Calibrated on 150 examples of npz:x.npz" in text
    assert re.search(r"What is left: [\d.]+ % of the MACs, [\d.]+ % of the parameters", text)
    assert re.search(r"\d+ of 50 labels are the same, [\d.]+ % \(95 % interval", text)
    assert max(map(len, lines)) <= 80


def test_layers_of_which_nothing_can_leave_are_named_with_reasons(
    files: Path, frivkit: Run
) -> None:
    model = written(
        f"""g (float[N, 1, {SIDE}, {SIDE}] x) => (float[N, 4] logits) {{
          first = Conv <pads = [1, 1, 1, 1]> (x, u)
          a = Relu (first)
          n = LRN <size = 3> (a)
          second = Conv <pads = [1, 1, 1, 1]> (n, v)
          b = Relu (second)
          c = GlobalAveragePool (b)
          d = Flatten (c)
          logits = Gemm <transB = 1> (d, w)
        }}""",
        u=(6, 1, 3, 3),
        v=(6, 6, 3, 3),
        w=(4, 6),
    )
    onnx.save(model, files / "net.onnx")
    ran = frivkit("compress", "net.onnx", "--units-kept", "0.8", *DATA, "--dry-run")
    assert ran.code == 0
    assert re.search(r"first: n/LRN: ", ran.out)
    plan = ("compress", "net.onnx", "--units-kept", "0.8", *DATA, "--dry-run", "--json", "-")
    first, last = document(frivkit(*plan))["skipped"]
    assert (first["layer"], first["op"]) == ("first", "Conv")
    assert "LRN" in first["reason"]
    assert last["node"] == "logits/Gemm"


def test_thin_file_says_where_it_comes_from_and_names_its_data(files: Path, frivkit: Run) -> None:
    model = onnx.load("net.onnx")
    onnx.helper.set_model_props(model, {"frivkit.data": "npz:x.npz", "author": "somebody"})
    onnx.save(model, "net.onnx")
    found = document(frivkit(*HALF, "--json", "-"))
    told = {prop.key: prop.value for prop in onnx.load("thin.onnx").metadata_props}
    assert told["author"] == "somebody"
    assert told["frivkit.data"] == "npz:x.npz"
    assert told["frivkit.source"] == found["original"]["sha256"]
    assert told["frivkit.calibration"] == found["calibration"]["sha256"]
    assert told["frivkit.budget"] == "macs 0.5"
    ran = frivkit("analyze", "thin.onnx", "--metric", "redundancy", "--no-cache", "--json", "-")
    assert ran.document["data"]["spec"] == "npz:x.npz"
    del files


def test_data_for_the_proof_are_used_for_it_alone(files: Path, frivkit: Run) -> None:
    x = np.random.default_rng(9).normal(size=(70, 1, SIDE, SIDE)).astype(np.float32)
    np.savez(files / "other.npz", x=x)
    found = document(frivkit(*HALF, *DATA, "--verify-data", "npz:other.npz", "--json", "-"))
    assert found["calibration"]["data"] == "npz:x.npz"
    assert found["calibration"]["examples"] == 200
    assert found["agreement"]["data"] == "npz:other.npz"
    same = (logits("net.onnx", x).argmax(1) == logits("thin.onnx", x).argmax(1)).sum()
    assert found["agreement"]["same"] == same
    assert found["accuracy"] is None


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("dry", [True, False])
def test_noise_is_said_to_be_noise(frivkit: Run, named: bool, dry: bool) -> None:
    data = ("--data", "gaussian") if named else ()
    ran = frivkit(*HALF, *data, *(["--dry-run"] if dry else []))
    assert ran.code == 0
    first = ran.err.splitlines()[0]
    assert first.startswith("frivkit: warning: ")
    assert ("examples are noise" if named else "gaussian noise stands in") in first
    if not dry:
        assert "(noise, no real inputs)" in " ".join(ran.out.split())


def test_few_examples_are_warned_about(frivkit: Run) -> None:
    ran = frivkit(*HALF, *DATA, "--examples", "8", "--dry-run")
    assert ran.code == 0
    assert "6 examples calibrate layers of up to 8 units" in ran.err
    assert "examples calibrate" not in frivkit(*HALF, *DATA, "--dry-run").err
    none = frivkit(*HALF, *DATA, "--examples", "7")
    assert none.code == 1
    assert "7 examples, too few" in none.error()
    assert "--verify-data" in none.error()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no budget", "--macs", "--units-kept"]),
        (["--macs", "0.5", "--params", "0.5"], ["--macs and --params are given", "exactly one"]),
        (["--macs", "0.5", "--tolerance", "0.1"], ["--macs and --tolerance are given"]),
        (["--macs", "0"], ["--macs"]),
        (["--macs", "1.5"], ["--macs"]),
        (["--macs", "nan"], ["--macs", "nan is not in the range"]),
        (["--macs", "half"], ["--macs"]),
        (["--tolerance", "1"], ["tolerance is 1"]),
        (["--macs", "0.5", "--refit", "lasso"], ["refit is named 'lasso'", "ridge"]),
        (["--macs", "0.5", "--basis", "ica"], ["basis is named 'ica'", "pca"]),
        (["--macs", "0.5", "--ranking", "size"], ["ranking is named 'size'", "backward"]),
        (["--units-kept", "0.5", "--basis", "pca"], ["removes no unit", "--macs"]),
        (["--macs", "0.5", "--examples", "0"], ["--examples"]),
    ],
    ids=" ".join,
)
def test_budget_that_means_nothing_is_a_mistake(
    files: Path, frivkit: Run, arguments: list[str], words: list[str]
) -> None:
    ran = frivkit("compress", "net.onnx", "-o", "thin.onnx", *DATA, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert all(word in ran.error() for word in words), ran.err
    assert not (files / "thin.onnx").exists()


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Note whether any work is done."""
    calls: list[object] = []
    monkeypatch.setattr("frivkit.compression.compress.load_model", calls.append)
    return calls


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ([], 2, ["-o SMALLER.onnx", "--dry-run"]),
        (["-o", "net.onnx"], 2, ["net.onnx", "another"]),
        (["-o", "./folder/../net.onnx"], 2, ["net.onnx", "another"]),
        (["-o", "link.onnx"], 2, ["link.onnx", "another"]),
        (["-o", "thin.onnx", "--json", "net.onnx"], 2, ["net.onnx", "another"]),
        (["-o", "thin.onnx", "--json", "thin.onnx"], 2, ["thin.onnx", "another"]),
        (["-o", "no/thin.onnx"], 1, ["no/thin.onnx", "no folder"]),
        (["-o", "folder.onnx"], 1, ["folder.onnx", "it is a folder"]),
        (["-o", "x.npz"], 2, ["x.npz", "name it x.onnx"]),
        (["-o", "-"], 2, ["name it"]),
        (["-o", ""], 2, ["name"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_place_that_cannot_be_written_is_refused_before_any_work(
    frivkit: Run, working: list[object], output: list[str], code: int, words: list[str]
) -> None:
    files = Path.cwd()
    (files / "folder").mkdir()
    (files / "folder.onnx").mkdir()
    (files / "link.onnx").symlink_to("net.onnx")
    before = {path: path.read_bytes() for path in files.iterdir() if path.is_file()}
    ran = frivkit("compress", "net.onnx", *output, "--macs", "0.5", *DATA)
    assert (ran.code, ran.out) == (code, "")
    assert all(word in ran.error() for word in words), ran.err
    assert working == []
    assert {path: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


def test_folder_without_permission_is_refused_before_any_work(
    frivkit: Run, working: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frivkit.cli.output.os.access", lambda path, mode: mode != os.W_OK)
    ran = frivkit(*HALF, *DATA)
    assert ran.code == 1
    assert "thin.onnx cannot be written: no permission" in ran.error()
    assert working == []


def test_hard_link_to_the_input_leaves_the_input_as_it_was(files: Path, frivkit: Run) -> None:
    os.link("net.onnx", "thin.onnx")
    before = (files / "net.onnx").read_bytes()
    assert frivkit(*HALF, *DATA).code == 0
    assert (files / "net.onnx").read_bytes() == before
    assert (files / "thin.onnx").read_bytes() != before


def test_output_of_an_earlier_run_is_replaced(files: Path, frivkit: Run) -> None:
    assert frivkit("compress", "net.onnx", "-o", "thin.onnx", "--macs", "0.8", *DATA).code == 0
    first = (files / "thin.onnx").read_bytes()
    assert frivkit(*HALF, *DATA).code == 0
    assert len((files / "thin.onnx").read_bytes()) < len(first)


def test_same_command_writes_the_same_network(files: Path, frivkit: Run) -> None:
    assert frivkit(*HALF, *DATA).code == 0
    first = (files / "thin.onnx").rename(files / "first.onnx")
    assert frivkit(*HALF, *DATA).code == 0
    assert same_networks(first, files / "thin.onnx")


def test_budget_that_cannot_be_met_names_the_smallest_that_can(files: Path, frivkit: Run) -> None:
    ran = frivkit("compress", "net.onnx", "-o", "thin.onnx", "--units-kept", "0.01", *DATA)
    assert (ran.code, ran.out) == (1, "")
    least = re.search(r"the smallest model has ([\d.]+)", ran.error())
    assert least is not None
    assert float(least[1]) == pytest.approx(2 / (2 * CHANNELS), rel=1e-3)
    assert not (files / "thin.onnx").exists()
    assert (
        frivkit("compress", "net.onnx", "-o", "thin.onnx", "--units-kept", least[1], *DATA).code
        == 0
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.onnx", *DATA], ["missing.onnx", "does not exist"]),
        (["x.npz", *DATA], ["x.npz", "ONNX"]),
        (["net.onnx", "--data", "npz:missing.npz"], ["missing.npz"]),
        (["net.onnx", *DATA, "--verify-data", "npz:missing.npz"], ["missing.npz"]),
        (["net.onnx", *DATA, "--output-name", "z"], ["'z'", "logits"]),
        (["none.onnx", *DATA], ["no unit of none.onnx can be removed"]),
    ],
    ids=" ".join,
)
def test_mistake_is_one_line_and_leaves_an_older_file(
    files: Path, frivkit: Run, arguments: list[str], words: list[str]
) -> None:
    head = f"g (float[N, 1, {SIDE}, {SIDE}] x) => (float[N, 4] y) "
    dense = written(head + "{ f = Flatten (x) y = Gemm (f, w) }", w=(SIDE * SIDE, 4))
    onnx.save(dense, files / "none.onnx")
    (files / "thin.onnx").write_text("older")
    ran = frivkit("compress", *arguments, "-o", "thin.onnx", "--macs", "0.5")
    assert (ran.code, ran.out) == (1, "")
    assert all(word in ran.error() for word in words), ran.err
    assert (files / "thin.onnx").read_text() == "older"


def test_full_disk_leaves_nothing_and_says_so(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: object, path: Path, **more: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = there(files)
    monkeypatch.setattr("frivkit.graph.onnx_io.save.ir.save", full)
    ran = frivkit(*HALF, *DATA, "--json", "found.json")
    assert (ran.code, ran.out) == (1, "")
    assert "thin.onnx cannot be written: No space left on device" in ran.error()
    assert there(files) == before


@pytest.mark.parametrize(
    "step",
    [
        "frivkit.compression.compress.calibrate",
        "frivkit.compression.plan.fit_ridge",
        "frivkit.graph.onnx_io.save._check",
    ],
)
def test_interruption_leaves_no_file(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = there(files)
    monkeypatch.setattr(step, interrupted)
    ran = frivkit(*HALF, *DATA, "--json", "found.json")
    assert (ran.code, ran.out) == (130, "")
    assert ran.error() == "frivkit: interrupted; no file is incomplete"
    assert there(files) == before


def test_interruption_of_the_proof_keeps_the_earlier_file(
    frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    Path("thin.onnx").write_bytes(b"earlier")
    before = sorted(path.name for path in Path().iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("frivkit.compression.compress.verify", interrupted)
        ran = frivkit(*HALF, *DATA, "--json", "found.json")
    assert (ran.code, ran.out) == (130, "")
    assert sorted(path.name for path in Path().iterdir()) == before
    assert Path("thin.onnx").read_bytes() == b"earlier"
    assert frivkit(*HALF, *DATA).code == 0


def test_both_files_are_put_in_their_places_once_the_int8_file_is_proved(
    frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("thin.onnx", "thin-int8.onnx"):
        Path(name).write_bytes(b"earlier")
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr("frivkit.quantization.int8.verify", interrupted)
        assert frivkit(*HALF, *DATA, "--int8").code == 130
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    found = document(frivkit(*HALF, *DATA, "--int8", "--no-time", "--json", "-"))
    for name, part in {"thin.onnx": found, "thin-int8.onnx": found["int8"]["verification"]}.items():
        written = hashlib.sha256(Path(name).read_bytes()).hexdigest()
        assert part["thin"]["path"] == name
        assert part["thin"]["sha256"] == written
        assert part["thin"]["latency_ms"] == {}
    assert found["int8"]["against_float"]["path"] == "thin.onnx"
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_page_shows_layers_reasons_and_the_proof(frivkit: Run) -> None:
    found = document(frivkit(*HALF, *DATA, "--report", "page.html", "--json", "-"))
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 3
    assert "Predicted, not measured" in page
    for layer in found["layers"]:
        assert f"{layer['units_after']} of {layer['units_before']}" in page
    assert "conv1" in page
    assert "its units are the model&#39;s outputs" in page
    assert f"{found['agreement']['same']} of 50 labels are the same" in page
    assert found["thin"]["sha256"] in page
    assert frivkit(*HALF, *DATA, "--dry-run", "--report", "plan.html").code == 0
    plan = Path("plan.html").read_text(encoding="utf-8")
    assert "no model was written" in plan
    assert "Predicted, not measured" in plan
    tolerant = ("compress", "net.onnx", "--tolerance", "0.1", "--dry-run", *DATA)
    assert frivkit(*tolerant, "--report", "tolerant.html").code == 0
    page = Path("tolerant.html").read_text(encoding="utf-8")
    assert "Predicted, not measured" not in page
    assert "--frontier measures it for several budgets" in page
    assert "labels are the same" not in plan


def test_page_of_names_that_mean_harm_holds_none(files: Path, frivkit: Run) -> None:
    model = onnx.load("net.onnx")
    evil = "<script>alert(1)</script>"
    for node in model.graph.node:
        node.name = node.name.replace("conv1", evil)
        node.input[:] = [evil if name == "conv1" else name for name in node.input]
        node.output[:] = [evil if name == "conv1" else name for name in node.output]
    onnx.save(model, files / "net.onnx")
    found = document(frivkit(*HALF, *DATA, "--report", "page.html", "--json", "-"))
    assert "<script>" in found["layers"][0]["layer"]
    page = Path("page.html").read_text(encoding="utf-8")
    assert "alert(1)" in page
    assert page.count("<script") == 2  # the document, which is data, and the page's own
    assert evil not in page


def test_results_that_cannot_be_written_are_still_shown(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("frivkit.files.replace_file", full)
    ran = frivkit(*HALF, *DATA, "--json", "found.json", "-q")
    assert ran.code == 1
    assert "found.json cannot be written" in ran.error()
    assert "of 50 labels are the same" in " ".join(ran.out.split())
    assert (files / "thin.onnx").exists()


def test_names_out_of_files_cannot_command_the_terminal(files: Path, frivkit: Run) -> None:
    name = "evil\x1b[2J.onnx"
    (files / "net.onnx").rename(files / name)
    ran = frivkit("compress", name, "-o", "th\x1b[2Jin.onnx", "--macs", "0.5", *DATA)
    assert ran.code == 0
    assert "\x1b" not in ran.out + ran.err
