"""The Python API: every form of model and data gives what the command line gives."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import frivkit
from frivkit.cli import main
from frivkit.data import open_data
from frivkit.errors import DataError, DeviceError, ModelError, UsageError
from frivkit.progress import Silent

X = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
Y = np.arange(120) % 4


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
    )


@pytest.fixture(scope="module")
def file(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("api") / "net.onnx"
    onnx.save(onnx_model(net), path)
    return path


def onnx_model(net: nn.Module) -> onnx.ModelProto:
    from frivkit.torch_io.export import exported

    return onnx.load_from_string(exported(net, X[:2], {}))


def without_origin(document: dict) -> dict:
    return {key: value for key, value in document.items() if key not in ("model", "provenance")}


def values(result: frivkit.AnalysisResult) -> list[tuple[str, object, object]]:
    return [(row["metric"], row["layer"], row["value"]) for row in result.measurements]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_every_form_of_a_model_gives_the_same(net, file, tmp_path):
    scripted = tmp_path / "net.pt"
    torch.jit.script(net).save(scripted)
    forms = {
        "text": (str(file), {}),
        "path": (file, {}),
        "proto": (onnx.load(file), {}),
        "open": (frivkit.load(file), {}),
        "module": (net, {}),
        "module with example": (net, {"example": torch.zeros(1, 6)}),
        "script": (torch.jit.script(net), {}),
        "exported": (torch.export.export(net, (torch.from_numpy(X[:2]),)), {}),
        "file of a script": (scripted, {"trust": True, "input_shape": "1x6"}),
    }
    results = {
        name: [
            value
            for _, _, value in values(
                frivkit.analyze(model, "redundancy", data=X, threads=1, **more)
            )
        ]
        for name, (model, more) in forms.items()
    }
    first = results["text"]
    assert len(first) == 3
    for name, found in results.items():
        assert found == pytest.approx(first, abs=1e-12), name


def test_every_form_of_data_gives_the_same(file, tmp_path):
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    tensors = torch.from_numpy(X), torch.from_numpy(Y)
    set_ = torch.utils.data.TensorDataset(*tensors)
    forms = {
        "spec": f"npz:{tmp_path / 'x.npz'}",
        "path": tmp_path / "x.npz",
        "array": X,
        "tensor": tensors[0],
        "pair": (X, Y),
        "mapping": {"x": X, "y": Y},
        "loader": torch.utils.data.DataLoader(set_, batch_size=50),
        "torch dataset": set_,
        "ours": open_data(f"npz:{tmp_path / 'x.npz'}", frivkit.load(file).inputs),
    }
    results = {name: frivkit.analyze(file, data=data, threads=1) for name, data in forms.items()}
    assert len({json.dumps(values(result)) for result in results.values()}) == 1
    accuracies = {name: r.document["data"]["accuracy"] for name, r in results.items()}
    assert accuracies["array"] is accuracies["tensor"] is None
    assert len({a for n, a in accuracies.items() if n not in ("array", "tensor")}) == 1


def test_documents_are_those_of_the_command_line(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", x=X, y=Y)
    common = ["--data", "npz:x.npz", "--no-progress", "-q", "--seed", "3"]
    for command in (
        ["analyze", str(file), "--metric", "redundancy", "--no-cache", "--json", "a.json"],
        ["compress", str(file), "-o", "small.onnx", "--units-kept", "0.5", "--json", "c.json"],
    ):
        with pytest.raises(SystemExit) as end:
            main([*command, *common])
        assert not end.value.code
    told = {name: json.loads(Path(f"{name}.json").read_text()) for name in "ac"}
    analysis = frivkit.analyze(file, "redundancy", data="npz:x.npz", seed=3)
    assert without_origin(analysis.document) == without_origin(told["a"])
    made = frivkit.compress(file, "again.onnx", data="npz:x.npz", seed=3, units_kept=0.5)
    for key in ("budget", "method", "layers", "skipped", "refits", "agreement", "calibration"):
        assert made.document[key] == told["c"][key], key
    assert Path("again.onnx").read_bytes() == Path("small.onnx").read_bytes()


def test_a_script_that_a_user_would_write(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = frivkit.load(net, torch.zeros(1, 6))
    result = frivkit.analyze(model, ["redundancy", "prunability"], data=X, threads=1)
    table = result.to_pandas()
    by_layer = table[table.scope == "layer"].pivot(index="layer", columns="metric", values="value")
    assert list(by_layer.columns) == ["prunability", "redundancy"]
    assert by_layer.loc["0", "redundancy"] == result.value("redundancy", "0")
    assert (by_layer >= 0).all(axis=None)
    torch.manual_seed(1)
    wide = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 4))
    axes = result.plot("redundancy", label="narrow")
    assert frivkit.analyze(wide, "redundancy", data=X).plot(ax=axes, label="wide") is axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["narrow", "wide"]
    axes.figure.savefig("widths.png")
    assert Path("widths.png").read_bytes().startswith(b"\x89PNG")
    made = frivkit.compress(model, "small.onnx", data=X, units_kept=0.5)
    assert made.to_pandas().units_after.sum() == 14
    made.plot().figure.savefig("units.png")
    compared = frivkit.verify(net, made.path, data=X)
    assert 0 <= compared.interval[0] <= compared.agreement <= compared.interval[1] <= 1
    costs = compared.to_pandas().set_index("cost")
    assert costs.loc["parameters", "compressed"] < costs.loc["parameters", "original"]


def test_a_plan_writes_nothing(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = frivkit.compress(file, data=X, params=0.5)
    assert (plan.path, plan.agreement) == (None, None)
    assert "a plan" in repr(plan)
    assert "a plan" in plan._repr_html_()
    assert list(tmp_path.iterdir()) == []


def test_activations_are_what_the_network_computes(net, file, tmp_path):
    hidden = torch.relu(net[0](torch.from_numpy(X))).detach().numpy()
    in_memory = frivkit.activations(net, data=X)
    stored = frivkit.activations(file, tmp_path / "a.h5", data=X)
    for found in (in_memory, stored):
        assert list(found) == ["0", "2"] if found is in_memory else len(found) == 2
        first = found[next(iter(found))]
        assert np.abs(first - hidden).max() < 1e-5
        assert np.array_equal(found.labels[:, 0], found.outputs.argmax(axis=1))
    drawn = frivkit.activations(net, data=X, rows=7, layer="2")
    assert {name: array.shape for name, array in drawn.items()} == {"2": (7, 12)}


def test_training_returns_what_was_written(tmp_path):
    option = {"epochs": 2, "std": 0.1}
    trained = frivkit.train("mlp", tmp_path / "m.onnx", data="digits?n=200", option=option)
    assert (trained.path, trained.epochs) == (tmp_path / "m.onnx", 2)
    again = frivkit.analyze(trained.path, examples=40)
    assert again.document["data"]["spec"].startswith("digits")
    assert "2 epochs" in repr(trained)


def test_inspection_lists_layers(net):
    found = frivkit.inspect(net, data=X)
    assert found.to_pandas()[["layer", "units"]].to_numpy().tolist() == [["0", 16], ["2", 12]]
    assert found.layers == ["0", "2"]


class Steps(Silent):
    """Notes what was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def start(self, what: str, steps: int) -> None:
        del steps
        self.begun.append(what)


def test_progress_is_reported_where_it_is_asked_for(file, capsys):
    steps = Steps()
    frivkit.analyze(file, "redundancy", data=X, progress=steps)
    assert "moments" in steps.begun
    frivkit.analyze(file, "redundancy", data=X)
    assert capsys.readouterr().err == ""
    frivkit.analyze(file, "redundancy", data=X, progress=True)
    assert "moments" in capsys.readouterr().err


def test_results_are_cached_where_that_is_asked_for(file, tmp_path):
    def reused(**more: object) -> dict:
        result = frivkit.analyze(file, "redundancy", data=X, **more)
        return result.document["provenance"]["reused"]

    assert reused() == reused(cache=False) == reused(cache=tmp_path) == {}
    assert reused(cache=str(tmp_path))["moments"] == 2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f: frivkit.analyze(f, data=X, exampels=3), TypeError, "did you mean example"),
        (lambda f: frivkit.analyze(f, "prunabilty", data=X), UsageError, "did you mean prunabil"),
        (lambda f: frivkit.analyze("no.onnx", data=X), ModelError, "no.onnx does not exist"),
        (lambda f: frivkit.load(3), ModelError, "of type int cannot be opened"),
        (lambda f: frivkit.load(nn.Linear(2, 2)), ModelError, "give an example"),
        (lambda f: frivkit.analyze(f, data=X[:, :5]), DataError, "examples of shape"),
        (lambda f: frivkit.compress(f, data=X), UsageError, "no budget is given; give exactly one"),
        (
            lambda f: frivkit.compress(f, data=X, macs=1, params=1),
            UsageError,
            "macs and params are",
        ),
        (lambda f: frivkit.compress(f, "a.pt", data=X, macs=0.5), UsageError, "name it a.onnx"),
        (lambda f: frivkit.analyze(f, data=X, memory="0"), UsageError, "memory is 0"),
        (lambda f: frivkit.analyze(f, data=X, threads=0), UsageError, "threads is 0"),
        (lambda f: frivkit.analyze(f, data=X, engine="cluster"), DeviceError, "no engine is named"),
        (lambda f: frivkit.load(onnx.GraphProto()), ModelError, "of type GraphProto cannot be"),
    ],
)
def test_errors_say_what_to_do_in_one_line(call, error, words, file):
    with pytest.raises(error, match=words) as raised:
        call(file)
    assert "\n" not in str(raised.value)


def test_texts_of_models_are_escaped_in_a_notebook(net, tmp_path):
    proto = onnx_model(net)
    for node in proto.graph.node:
        node.name = "/<b onclick=x>/" + node.name
    result = frivkit.analyze(proto, "redundancy", data=X)
    assert "<b onclick" not in result._repr_html_()
    assert "&lt;b" in result._repr_html_() or "<b" not in repr(result)
    for shown in (repr(result), str(result), result._repr_html_()):
        assert shown.isprintable() or "\n" in shown
