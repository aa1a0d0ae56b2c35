"""``frivkit train``: what it writes, what it says, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import frivkit_trainers.sgd
from frivkit.cli import main
from frivkit.data import open_data
from frivkit.errors import DataError, UsageError
from frivkit.experiments.train import divided, train
from frivkit.measure.pipeline import Request, analyze

QUICK = ("--option", "epochs=2")
LARGE = ("--option", "init=normal", "--option", "std=1e30")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["train", *arguments])
    return end.value.code


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def counted_accuracy(path: Path, spec: str) -> float:
    """Count the labels met with nothing of frivkit but the data."""
    batch = open_data(spec, None).read(0, open_data(spec, None).examples)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"x": batch.inputs["x"]})
    return float((logits.argmax(axis=1) == batch.labels).mean())


@pytest.mark.parametrize(("name", "parameters"), [("mlp", 9610), ("cnn", 13802)])
def test_network_learns_the_digits_and_says_so(name, parameters, folder, capsys):
    assert run(name, "--data", "digits", "-o", "net.onnx") == 0
    told = capsys.readouterr()
    accuracy = counted_accuracy(folder / "net.onnx", "digits?split=test")
    assert accuracy >= 0.95
    assert told.err == ""
    first, second = told.out.splitlines()
    assert first.startswith(f"net.onnx: {name}, {parameters:,} trainable parameters")
    assert second == f"accuracy {accuracy:.1%} on 597 examples of digits?split=test"
    found = metadata(folder / "net.onnx")
    assert float(found["frivkit.accuracy"]) == accuracy
    assert names(folder) == ["net.onnx"]


def test_file_says_how_it_was_made(folder):
    arguments = ("--seed", "7", "--width", "0.5", *QUICK, "--option", "depth=2")
    assert run("mlp", "--data", "digits?scale=1/16", *arguments, "-o", "net.onnx") == 0
    onnx.checker.check_model(folder / "net.onnx", full_check=True)
    found = metadata(folder / "net.onnx")
    test = open_data("digits?scale=1/16&split=test", None)
    assert found["frivkit.data"] == test.spec
    assert found["frivkit.architecture"] == "mlp"
    assert found["frivkit.seed"] == "7"
    assert found["frivkit.version"]
    assert int(found["frivkit.trainable_parameters"]) == 64 * 65 + 64 * 65 + 65 * 10
    recipe = json.loads(found["frivkit.recipe"])
    assert recipe["architecture"] == {
        "name": "mlp",
        "width": 0.5,
        "depth": 2,
        "init": "he",
        "std": 0.01,
        "activation": "relu",
    }
    assert recipe["trainer"]["name"] == "sgd"
    assert recipe["trainer"]["epochs"] == 2
    assert recipe["data"][test.spec] == test.digest
    assert len(recipe["losses"]) == 2


def test_file_is_analysed_on_the_data_it_names(folder):
    train("mlp", "digits", folder / "net.onnx", width=0.25, options={"epochs": "2"})
    analysis = analyze(Request(folder / "net.onnx"))
    assert analysis.study.examples == 597
    assert analysis.accuracy == float(metadata(folder / "net.onnx")["frivkit.accuracy"])
    assert analysis.data_warnings == ()


def test_same_seed_gives_the_same_bytes_and_another_seed_others(folder):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run("cnn", "--data", "digits", "--seed", seed, *QUICK, "-o", f"{name}.onnx") == 0
    a, b, c = ((folder / f"{name}.onnx").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_training_leaves_torch_s_settings_alone(folder, monkeypatch):
    used = []

    def unchanged(network, batches, step):
        used.append(torch.get_num_threads())
        return 1.0

    monkeypatch.setattr(frivkit_trainers.sgd, "_epoch", unchanged)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    for wanted in (1, threads + 1):
        options = {"epochs": "1"}
        train("mlp", "digits", folder / "net.onnx", threads=wanted, options=options)
    assert used == [1, threads + 1]
    assert torch.get_num_threads() == threads
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_epochs_write_the_network_as_drawn(folder, capsys):
    arguments = ("--data", "digits", "--option", "epochs=0", "--option", "init=normal")
    assert run("mlp", *arguments, "--option", "std=0.3", "-o", "net.onnx") == 0
    weights = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(folder / "net.onnx").graph.initializer
    }
    assert 0.055 < np.abs(weights["fc1.weight"]).max() <= 0.06
    assert not weights["fc1.bias"].any()
    assert "trained for 0 epochs" in capsys.readouterr().out


def save(name: str, x, y=None) -> str:
    np.savez(name, **({"x": x} if y is None else {"x": x, "y": y}))
    return f"npz:{name}"


def random(count: int, size: int = 4) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)


def test_data_without_splits_are_tested_on_what_is_named(folder):
    x = random(200)
    fit = save("fit.npz", x[:150], (x[:150, 0] > 0).astype(int))
    test = save("test.npz", x[150:], (x[150:, 0] > 0).astype(int))
    specs = ("--data", fit, "--test-data", test, "--validation-data", fit)
    assert run("mlp", *specs, "-o", "net.onnx") == 0
    found = metadata(folder / "net.onnx")
    assert found["frivkit.data"] == "npz:test.npz"
    assert float(found["frivkit.accuracy"]) == counted_accuracy(folder / "net.onnx", test) > 0.9
    assert set(json.loads(found["frivkit.recipe"])["data"]) == {fit, test}
    assert json.loads(found["frivkit.recipe"])["validation_accuracy"] > 0.9


def test_classes_are_counted_in_all_the_data(folder):
    fit = save("fit.npz", random(20), np.arange(20) % 3)
    test = save("test.npz", random(8), np.full(8, 6))
    assert run("mlp", "--data", fit, "--test-data", test, *QUICK, "-o", "net.onnx") == 0
    (output,) = onnx.load(folder / "net.onnx").graph.output
    assert output.type.tensor_type.shape.dim[1].dim_value == 7


@pytest.mark.parametrize("spec", ["digits", "digits?split=train"])
def test_data_with_splits_are_tested_on_their_test_split(spec):
    fit, test = divided(spec)
    assert (fit.spec, fit.examples) == ("digits?split=train", 1200)
    assert (test.spec, test.examples) == ("digits?split=test", 597)


@pytest.mark.parametrize("spec", ["digits?split=all", "digits?split=test"])
def test_split_that_holds_the_test_split_is_refused(spec):
    with pytest.raises(UsageError, match="--test-data"):
        divided(spec)


def test_source_without_splits_needs_test_data():
    spec = save("fit.npz", random(5), np.arange(5))
    with pytest.raises(UsageError, match="name test data by --test-data"):
        divided(spec)


@pytest.mark.parametrize("spec", ["digits?nn=3", "digit", "digits?n=x"])
def test_spec_that_is_wrong_in_itself_is_not_blamed_on_splits(spec):
    with pytest.raises(UsageError) as caught:
        divided(spec)
    assert "--test-data" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"x": random(9)}, "no labels"),
        ({"x": random(9), "y": np.zeros(9, int)}, "at least two classes"),
        ({"x": random(1), "y": np.zeros(1, int)}, "single example"),
    ],
)
def test_data_that_no_classifier_can_learn_from_are_refused(arrays, complaint, folder, capsys):
    np.savez("d.npz", **arrays)
    code = run("mlp", "--data", "npz:d.npz", "--test-data", "npz:d.npz", "-o", "net.onnx")
    told = capsys.readouterr()
    assert (code, told.out) == (1, "")
    assert complaint in told.err
    assert told.err.count("\n") == 1
    assert names(folder) == ["d.npz"]


def test_test_data_of_another_shape_are_refused(folder):
    test = save("test.npz", random(9, size=5), np.arange(9))
    fit = save("fit.npz", random(9), np.arange(9))
    with pytest.raises(DataError, match=r"\(4,\) and .* \(5,\)"):
        train("mlp", fit, folder / "net.onnx", test_data=test)


def test_data_that_are_not_float32_are_refused(folder):
    with pytest.raises(DataError, match="float64"):
        train("mlp", "digits?dtype=float64", folder / "net.onnx")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("mpl",), 2, "did you mean mlp"),
        (("mlp", "--trainer", "sgdd"), 2, "did you mean sgd"),
        (("mlp", "--option", "epoch=1"), 2, "did you mean epochs"),
        (("cnn", "--option", "depth=2"), 2, "no option is named 'depth'"),
        (("mlp", "--option", "epochs=many"), 2, "whole number"),
        (("mlp", "--option", "epochs"), 2, "key=value"),
        (("mlp", "--width", "0"), 2, "above 0"),
        (("mlp", "--width", "nan"), 2, "above 0"),
        (("mlp", "--width", "1e-4"), 2, "makes 0 of 128 units"),
        (("mlp", "--width", "1e6", "--option", "depth=2"), 1, "cannot be built"),
        (("mlp", "--seed", "-1"), 2, "--seed"),
        (("mlp", "--option", "lr=1e9"), 1, "too high"),
        (("mlp", "--option", "epochs=0", *LARGE), 1, "a logit on digits?split=test is not finite"),
        (("mlp", "-o", "net.pt"), 2, "net.onnx"),
        (("mlp", "-o", "missing/net.onnx"), 1, "missing/net.onnx cannot be written"),
        (("mlp", "-o", "folder.onnx"), 1, "is a folder"),
        (("mlp", "--data", "digits?split=valid"), 2, "--test-data"),
    ],
)
def test_wrong_request_is_one_line_and_changes_nothing(arguments, code, complaint, folder, capsys):
    (folder / "net.onnx").write_bytes(b"old")
    (folder / "folder.onnx").mkdir()
    name, *rest = arguments
    assert run(name, "--data", "digits", "-o", "net.onnx", *rest) == code
    told = capsys.readouterr()
    assert complaint in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert (folder / "net.onnx").read_bytes() == b"old"
    assert names(folder) == ["folder.onnx", "net.onnx"]


def test_interrupted_run_keeps_the_file_that_was_there(folder, monkeypatch, capsys):
    (folder / "net.onnx").write_bytes(b"old")
    epochs = []

    def interrupted(network, batches, step):
        epochs.append(1)
        if len(epochs) == 3:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr(frivkit_trainers.sgd, "_epoch", interrupted)
    assert run("mlp", "--data", "digits", "-o", "net.onnx") == 130
    assert capsys.readouterr().out == ""
    assert (folder / "net.onnx").read_bytes() == b"old"
    assert names(folder) == ["net.onnx"]


def test_quiet_says_nothing_but_the_result(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert run("mlp", "--data", "digits", *QUICK, "-q", "-o", "net.onnx") == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.count("\n") == 2


def test_progress_is_shown_on_a_terminal_only(folder, capsys, monkeypatch):
    monkeypatch.setattr("frivkit.cli.progress.AFTER", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for flags, shown in (((), True), (("--no-progress",), False)):
        assert run("mlp", "--data", "digits", *QUICK, *flags, "-o", "net.onnx") == 0
        told = capsys.readouterr()
        assert ("training" in told.err) is shown
        assert "training" not in told.out
