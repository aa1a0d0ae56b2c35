"""Files of torch, and modules: converted, compared, refused; what a file does stays its own."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import frivkit
from frivkit.compression.compress import Budget, compress
from frivkit.engine.runs import Intact
from frivkit.engine.session import Device
from frivkit.errors import ModelError
from frivkit.pipeline import Request, analyze, inspect_model, load_model, open_study
from tests.nets import draw
from tests.zoo.files import ZOO, built


class Two(nn.Module):
    """Two inputs, of which one is whole numbers; a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.image = nn.Embedding(7, 4), nn.Linear(6, 4)
        self.hidden, self.out = nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, image: Tensor, ids: Tensor) -> dict[str, Tensor]:
        both = torch.cat([torch.relu(self.image(image)), self.words(ids).mean(1)], 1)
        hidden = torch.relu(self.hidden(both))
        return {"logits": self.out(hidden), "hidden": hidden}


def net() -> nn.Module:
    """Give a small network with a norm behind a nonlinearity, in evaluation mode."""
    made = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(96, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 10),
    )  # fmt: skip
    draw(made)
    return made.eval()


def saved(module: nn.Module, example: tuple[Tensor, ...], path: Path, way: str) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript deprecates itself
        if way == "program":
            axes = tuple({0: torch.export.Dim("N", max=4096)} for _ in example)
            torch.export.save(
                torch.export.export(module, example, dynamic_shapes=axes), path.with_suffix(".pt2")
            )
            return path.with_suffix(".pt2")
        made = torch.jit.script(module) if way == "scripted" else torch.jit.trace(module, example)
        torch.jit.save(made, path)
    return path


IMAGES = torch.zeros(2, 1, 8, 8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("nets")
    ways = ("traced", "scripted", "program")
    return {way: saved(net(), (IMAGES,), folder / f"{way}.pt", way) for way in ways}


def outputs(request: Request, inputs: np.ndarray) -> np.ndarray:
    model = load_model(request)
    intact = Intact(model, model.output(None), Device(threads=1), 1 << 28)
    return intact.run({model.inputs[0].name: inputs})


@pytest.mark.parametrize("way", ["traced", "scripted", "program"])
def test_outputs_are_those_of_torch_at_any_batch_size(way, files):
    request = Request(files[way], trust=True, input_shape="1x1x8x8")
    digits = (load_digits().images[:50, None] / 16).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal((7, 1, 8, 8)).astype(np.float32)
    for inputs in (digits, noise):
        wanted = net()(torch.from_numpy(inputs)).detach().numpy()
        assert abs(outputs(request, inputs) - wanted).max() < 1e-5 * max(1, abs(wanted).max())


def test_layers_are_named_by_the_path_of_their_module(files):
    for way in files:
        model, found = inspect_model(Request(files[way], trust=True, input_shape="1x1x8x8"))
        assert [(site.layer, site.width) for site in found.sites] == [("0", 6), ("5", 12)]
        assert model.format == ("torch.export" if way == "program" else "torchscript")
        assert (model.path, model.batch, model.changes) == (files[way], None, ())


def test_every_form_of_one_network_measures_the_same(files, tmp_path):
    onnx_file = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net(), (IMAGES,), str(onnx_file), dynamo=False, opset_version=17,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "N"}, "y": {0: "N"}},
        )  # fmt: skip
    models = [onnx_file, *files.values(), frivkit.load(net(), IMAGES)]
    found = []
    for model in models:
        request = Request(model, data="digits?n=150", trust=True)
        measured = analyze(request, ("prunability", "redundancy")).measurements
        found.append([(m.metric, m.layer, m.value, m.interval) for m in measured])
    names = [(metric, layer) for metric, layer, *_ in found[0]]
    assert len(names) == 6
    for other in found[1:]:
        assert [(metric, layer) for metric, layer, *_ in other] == names
        assert [value for *_, value, _ in other] == pytest.approx([v for *_, v, _ in found[0]])


def test_a_file_of_torch_is_compressed(files, tmp_path):
    request = Request(files["traced"], data="digits?n=400", trust=True)
    made = compress(request, tmp_path / "thin.onnx", Budget("units", 0.5))
    assert made.proof.comparison.agreement.interval[0] > 0.7
    assert (tmp_path / "thin.onnx").stat().st_size < 9000


def test_several_inputs_and_outputs(tmp_path):
    module = Two().eval()
    example = (torch.zeros(2, 6), torch.zeros(2, 5, dtype=torch.int64))
    path = saved(module, example, tmp_path / "two.pt", "scripted")
    request = Request(path, trust=True, input_shape="1x6,1x5:int64")
    model, found = inspect_model(request)
    assert [(i.name, i.dtype, i.shape) for i in model.inputs] == [
        ("image", "float32", (6,)),
        ("ids", "int64", (5,)),
    ]
    assert len(model.graph.outputs) == 2
    assert [site.width for site in found.sites] == [4, 5]
    with pytest.raises(ModelError, match=r"takes 2 inputs \(image, ids\), and 3 are given"):
        load_model(Request(path, trust=True, input_shape="1x6,1x5:int64,1x2"))


@pytest.mark.parametrize("name", ["ResNet basic", "ViT", "LSTM classifier"])
def test_modules_of_many_kinds(name):
    module, example = built(name), ZOO[name].examples(2)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    module.train()
    model = frivkit.load(module, example)
    assert module.training
    assert all((value == before[key]).all() for key, value in module.state_dict().items())
    study, _ = open_study(Request(model, data="gaussian?n=8"))
    (inputs,) = study.data.read(0, 8).inputs.values()
    wanted = module.eval()(torch.from_numpy(inputs)).detach().numpy()
    assert abs(study.outputs() - wanted).max() < 1e-5 * max(1, abs(wanted).max())


class TestRefused:
    def test_what_is_not_trusted(self, files):
        for path in files.values():
            with pytest.raises(ModelError, match=r"run code and read files of yours; give --trust"):
                load_model(Request(path, input_shape="1x1x8x8"))

    def test_what_does_not_say_what_it_takes(self, files):
        with pytest.raises(ModelError, match="give --input-shape"):
            load_model(Request(files["traced"], trust=True))
        with pytest.raises(ModelError, match="give --input-shape"):
            load_model(Request(files["traced"], trust=True, data="gaussian"))

    def test_shapes_that_do_not_fit(self, files):
        with pytest.raises(ModelError, match="cannot be run on"):
            load_model(Request(files["traced"], trust=True, input_shape="1x3x8x8"))

    def test_weights_and_modules_without_code(self, tmp_path):
        path, marker = tmp_path / "w.pt", tmp_path / "ran"

        class Payload:
            def __reduce__(self):
                return (os.mkdir, (str(marker),))

        for content in (net().state_dict(), {"a": Payload()}):
            torch.save(content, path)
            with pytest.raises(ModelError, match=r"holds weights.*torch\.jit\.save"):
                load_model(Request(path, trust=True, input_shape="1x1x8x8"))
        torch.save(net().state_dict(), path, _use_new_zipfile_serialization=False)
        with pytest.raises(ModelError, match="holds weights"):
            load_model(Request(path, trust=True, input_shape="1x1x8x8"))
        assert not marker.exists()

    def test_damaged_and_missing_files(self, files, tmp_path):
        content = files["traced"].read_bytes()
        path = tmp_path / "m.pt"
        for damaged in (b"", content[:1000], content[: len(content) // 2], b"no such thing"):
            path.write_bytes(damaged)
            with pytest.raises(ModelError, match="cannot be read as a file of torch"):
                load_model(Request(path, trust=True, input_shape="1x1x8x8"))
        for wrong in (tmp_path, tmp_path / "nowhere.pt"):
            with pytest.raises(ModelError, match=r"is a folder|does not exist"):
                load_model(Request(wrong, trust=True))

    def test_a_network_in_training_mode(self, tmp_path):
        path = saved(net().train(), (torch.randn(2, 1, 8, 8),), tmp_path / "m.pt", "traced")
        with pytest.raises(ModelError, match="in training mode"):
            load_model(Request(path, trust=True, input_shape="1x1x8x8"))


class Hangs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n = 0
        while n >= 0:
            n = (n + 1) % 7
        return x * n


class Greedy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        kept = [torch.ones(1 << 28) for _ in range(10_000)]
        return kept[-1] + x


class Loud(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        print("LOUD", x.shape)
        return self.out(torch.relu(self.layer(x)))


@pytest.fixture
def scratch(tmp_path, monkeypatch) -> Path:
    """Give a folder that temporary files go to, and nobody else's."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_file_that_runs_for_ever_is_ended(tmp_path, monkeypatch, scratch):
    path = saved(Hangs(), (torch.zeros(1, 4),), tmp_path / "m.pt", "scripted")
    monkeypatch.setenv("FRIVKIT_CONVERT_SECONDS", "6")
    started = time.monotonic()
    with pytest.raises(ModelError, match="was not converted in 6 seconds"):
        load_model(Request(path, trust=True, input_shape="1x4"))
    assert time.monotonic() - started < 30
    assert not list(scratch.glob("frivkit-*"))
    monkeypatch.setenv("FRIVKIT_CONVERT_SECONDS", "soon")
    with pytest.raises(ModelError, match="'soon'; give a number of seconds"):
        load_model(Request(path, trust=True, input_shape="1x4"))


def test_a_file_that_takes_too_much_memory_is_ended(tmp_path):
    path = saved(Greedy(), (torch.zeros(1),), tmp_path / "m.pt", "scripted")
    with pytest.raises(ModelError, match=r"memory|status"):
        load_model(Request(path, trust=True, input_shape="1x1", memory=1 << 20))


def test_what_a_file_prints_stays_in_its_process(tmp_path):
    path = saved(Loud().eval(), (torch.zeros(1, 4),), tmp_path / "m.pt", "scripted")
    command = [sys.executable, "-m", "frivkit", "inspect", str(path), "--trust"]
    done = subprocess.run(  # ours
        [*command, "--input-shape", "1x4"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "layer" in done.stdout
    assert "LOUD" not in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_an_interrupt_leaves_no_process_and_no_file(tmp_path, scratch):
    path = saved(Hangs(), (torch.zeros(1, 4),), tmp_path / "m.pt", "scripted")
    command = [sys.executable, "-m", "frivkit", "inspect", str(path), "--trust"]
    running = subprocess.Popen(  # ours
        [*command, "--input-shape", "1x4"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(scratch.glob("frivkit-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert len(said.splitlines()) == 1
    assert not list(scratch.glob("frivkit-*"))
    alive = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(scratch) not in alive.stdout
