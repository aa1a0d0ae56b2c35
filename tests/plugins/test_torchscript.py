"""Networks of torch as models: what is read, what it computes, and what is refused."""

import os
import re
import signal
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import frivkit
from frivkit.compression.budget import Budget
from frivkit.compression.compress import compress
from frivkit.data import open_data
from frivkit.errors import DataError, ModelError, UsageError
from frivkit.graph.model import digest
from frivkit.measure.pipeline import Request, analyze, inspect_model, open_study
from frivkit.runtime.session import Device, Session
from frivkit.torch_io.export import exported
from frivkit.torch_io.load import load as load_module
from frivkit.verification import verify
from frivkit_torchscript.provider import load
from tests.program import ended, start
from tests.zoo.files import ZOO, built

linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="looks into /proc")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU())
        self.drop = nn.Dropout()
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.head(self.drop(torch.flatten(self.body(x), 1)))


class Two(nn.Module):
    """Two inputs, one of indices; outputs in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.left = nn.Linear(3, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, left: Tensor, words: Tensor) -> dict[str, Tensor]:
        hidden = torch.relu(self.left(left) + self.table(words).mean(1))
        return {"logits": self.head(hidden), "twice": 2 * hidden}


class Loud(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("LOUD")
        return torch.relu(x)


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n = 0
        while n >= 0:
            n = (n + 1) % 1000
        return x + n


class Greedy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones([1000000, 1000000]).sum()


class Once(nn.Module):
    """Works for one example at a time, as it was traced."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(x).reshape(1, -1))


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trap-went-off"),))


def net() -> Net:
    torch.manual_seed(0)
    made = Net()
    made(torch.randn(64, 1, 8, 8))  # moves batch norm's statistics from their start
    return made


def saved(module: nn.Module, path: Path, *example: Tensor) -> Path:
    """Save a module as TorchScript: scripted, or traced where there is an example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        made = torch.jit.trace(module, example) if example else torch.jit.script(module)
        torch.jit.save(made, path)
    return path


def program(module: nn.Module, path: Path, *example: Tensor, free: bool = True) -> Path:
    axes = tuple({0: torch.export.Dim("rows")} for _ in example) if free else None
    torch.export.save(torch.export.export(module, example, dynamic_shapes=axes), path)
    return path


def opened(path: Path, **options: str):
    return load(path, {"trust": "yes", **options})


def refusal(path: Path, **options: str) -> str:
    with pytest.raises((ModelError, DataError)) as caught:
        opened(path, **options)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    return text


def outputs(model, *inputs: np.ndarray) -> list[np.ndarray]:
    feeds = {tensor.name: array for tensor, array in zip(model.inputs, inputs, strict=True)}
    return Session(model.ir, Device()).run(feeds, [value.name for value in model.graph.outputs])


def digits(count: int) -> np.ndarray:
    return open_data("digits?scale=1/16", None).read(0, count).inputs["x"]


def check(model, module: nn.Module) -> None:
    """Hold a model of digits to its module, on real inputs and on noise, at two batch sizes."""
    noise = np.random.default_rng(0).normal(size=(7, 1, 8, 8)).astype(np.float32)
    for x in (digits(50), noise):
        with torch.no_grad():
            expected = module.eval()(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(outputs(model, x)[0], expected, atol=1e-5)


class TestFiles:
    def test_scripted_in_training_mode(self, tmp_path):
        module = net().train()
        path = saved(module, tmp_path / "net.pt")
        model = opened(path, input_shape="1x1x8x8")
        assert (model.path, model.format, model.batch) == (path, "torchscript", None)
        assert model.sha256 == digest([path])
        assert [(t.name, t.dtype, t.shape) for t in model.inputs] == [("x", "float32", (1, 8, 8))]
        check(model, module)

    def test_traced_with_the_shape_of_the_data(self, tmp_path):
        module = net().eval()
        path = saved(module, tmp_path / "net.ts", torch.randn(4, 1, 8, 8))
        check(opened(path, data="digits"), module)

    def test_program(self, tmp_path):
        module = net().eval()
        path = program(module, tmp_path / "net.pt2", torch.randn(4, 1, 8, 8))
        model = opened(path)
        assert (model.format, model.batch, dict(model.metadata)) == ("torch.export", None, {})
        assert str(model.graph.inputs[0].shape) == "[N,1,8,8]"
        assert not any(node.metadata_props for node in model.graph)
        check(model, module)

    def test_several_inputs_and_outputs(self, tmp_path):
        module = Two()
        model = opened(saved(module, tmp_path / "two.pt"), input_shape="1x3,1x5:int64")
        assert [(t.name, t.dtype, t.shape) for t in model.inputs] == [
            ("left", "float32", (3,)),
            ("words", "int64", (5,)),
        ]
        assert [value.name for value in model.graph.outputs] == ["output", "output_1"]
        left = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
        words = np.arange(30).reshape(6, 5) % 20
        expected = module(torch.from_numpy(left), torch.from_numpy(words))
        for found, wanted in zip(outputs(model, left, words), expected.values(), strict=True):
            np.testing.assert_allclose(found, wanted.detach().numpy(), atol=1e-5)

    def test_a_batch_size_that_was_traced_is_kept(self, tmp_path):
        path = saved(Once(), tmp_path / "once.pt", torch.randn(1, 3))
        assert opened(path, input_shape="1x3").batch == 1

    def test_measures_what_the_same_network_does_in_other_forms(self, tmp_path):
        module = net().eval()
        example = torch.randn(2, 1, 8, 8)
        (tmp_path / "net.onnx").write_bytes(exported(module, example.numpy(), {}))
        forms = [
            tmp_path / "net.onnx",
            saved(module, tmp_path / "net.pt"),
            program(module, tmp_path / "net.pt2", example),
            frivkit.load(module, example),
        ]
        found = []
        for form in forms:
            request = Request(form, data="digits?scale=1/16", examples=60, trust=True)
            measured = analyze(request, ("prunability", "redundancy")).measurements
            found.append({(m.metric, m.layer): m.value for m in measured})
        assert len(found[0]) > 4
        for other in found[1:]:
            assert other == pytest.approx(found[0], abs=1e-5)


class TestRefusals:
    def test_without_trust(self, tmp_path):
        path = saved(net(), tmp_path / "net.pt")
        with pytest.raises(ModelError, match=r"is a program: opening it can run code .* --trust"):
            load(path, {"input_shape": "1x1x8x8"})
        with pytest.raises(ModelError, match=r"torch\.export file, which is a program"):
            load(program(net().eval(), tmp_path / "n.pt2", torch.randn(2, 1, 8, 8)), {})

    def test_without_a_shape_or_with_a_wrong_one(self, tmp_path):
        path = saved(net(), tmp_path / "net.pt")
        assert "does not say what it takes: give --input-shape" in refusal(path)
        assert "cannot be run on x 2x3x8x8 float32: " in refusal(path, input_shape="2x3x8x8")

    @pytest.mark.parametrize("old", [False, True])
    def test_weights_without_a_network(self, old, tmp_path):
        path = tmp_path / "net.pt"
        torch.save(net().state_dict(), path, _use_new_zipfile_serialization=not old)
        text = refusal(path, input_shape="1x1x8x8")
        assert "weights without their network" in text
        assert "frivkit.load(module, example)" in text

    @pytest.mark.parametrize("old", [False, True])
    def test_a_pickle_is_named_and_not_opened(self, old, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        module = net()
        module.trap = Trap()
        torch.save(module, "net.pt", _use_new_zipfile_serialization=not old)
        assert "is a pickle with " in refusal(Path("net.pt"), input_shape="1x1x8x8")
        assert not Path("trap-went-off").exists()
        torch.load("net.pt", weights_only=False)
        assert Path("trap-went-off").exists(), "the trap would not have gone off anyway"

    def test_what_is_no_network(self, tmp_path):
        path = tmp_path / "net.pt"
        assert "does not exist" in refusal(path)
        assert "is a folder" in refusal(tmp_path)
        path.touch()
        assert "is empty" in refusal(path)
        path.write_text("no network at all")
        assert "is not what torch.jit.save" in refusal(path)
        whole = saved(net(), path).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert "is cut short or damaged" in refusal(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "nothing")
        assert "an archive of something else" in refusal(path)

    def test_what_torch_cannot_open(self, tmp_path):
        path = tmp_path / "net.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net/constants.pkl", b"?")
            archive.writestr("net/code/x.py", b"?")
        assert "torch cannot open it: " in refusal(path, input_shape="1x2")

    def test_training_mode(self, tmp_path):
        module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()).train()
        path = program(module, tmp_path / "net.pt2", torch.randn(2, 3))
        assert "exported in training mode (batch_norm" in refusal(path)

    def test_what_takes_too_long(self, tmp_path, monkeypatch):
        path = saved(Endless(), tmp_path / "net.pt")
        monkeypatch.setenv("FRIVKIT_CONVERT_SECONDS", "4")
        began = time.monotonic()
        assert "did not end in 4 seconds" in refusal(path, input_shape="1x2")
        assert time.monotonic() - began < 120
        monkeypatch.setenv("FRIVKIT_CONVERT_SECONDS", "soon")
        with pytest.raises(UsageError, match="FRIVKIT_CONVERT_SECONDS is 'soon'"):
            opened(path, input_shape="1x2")

    @linux
    def test_what_takes_too_much_memory(self, tmp_path):
        path = saved(Greedy(), tmp_path / "net.pt")
        assert "more memory than allowed" in refusal(path, input_shape="1x2")


class TestModules:
    def test_module_stays_as_it_was(self):
        module = net().train()
        module.drop.eval()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        model = frivkit.load(module, torch.from_numpy(digits(3)))
        assert (module.training, module.drop.training, module.norm.training) == (True, False, True)
        assert all(torch.equal(before[k], value) for k, value in module.state_dict().items())
        assert (str(model.path), model.format) == ("<module>", "torch.nn.Module")
        assert model.sha256 == frivkit.load(module, digits(3)).sha256
        check(model, module)

    def test_example_by_name_and_in_order(self):
        module = Two()
        left, words = torch.randn(2, 3), torch.zeros(2, 5, dtype=torch.int64)
        by_name = frivkit.load(module, {"words": words, "left": left})
        assert [tensor.name for tensor in by_name.inputs] == ["left", "words"]
        assert frivkit.load(module, (left, words.numpy())).inputs == by_name.inputs

    def test_script_and_program(self):
        module, example = net().eval(), torch.randn(2, 1, 8, 8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.script(module)
        axes = {"x": {0: torch.export.Dim("n")}}
        exported_program = torch.export.export(module, (example,), dynamic_shapes=axes)
        check(frivkit.load(script, example), module)
        check(frivkit.load(exported_program), module)
        fixed = frivkit.load(torch.export.export(module, (example,)))
        assert fixed.batch == 2

    def test_weights_in_a_file_of_their_own_outlive_it(self, monkeypatch):
        monkeypatch.setattr("frivkit.torch_io.convert.LARGEST_INLINE", 100)
        module = net()
        model = frivkit.load(module, digits(2))
        check(model, module)

    def test_is_compared_like_a_file(self, tmp_path):
        module = net()
        (tmp_path / "net.onnx").write_bytes(exported(module, digits(2), {}))
        request = Request(frivkit.load(module, digits(2)), data="digits?scale=1/16", examples=70)
        found = verify(request, tmp_path / "net.onnx")
        assert found.comparison.agreement.share == 1
        assert found.original.bytes > 0

    @pytest.mark.parametrize(
        ("example", "why"),
        [
            (None, "give an example"),
            ((digits(1), digits(1)), "it takes 1 inputs (x), and 2 are given"),
            ((), "is empty"),
            ("text", "holds a str"),
            (np.zeros((0, 1, 8, 8), np.float32), "the same number of examples"),
            ({"y": np.zeros((1, 1, 8, 8), np.float32)}, "is for 'y'; the inputs are 'x'"),
            (np.zeros((1, 2, 8, 8), np.float32), "cannot be run on x 1x2x8x8 float32"),
        ],
    )
    def test_an_example_that_does_not_fit(self, example, why):
        with pytest.raises(ModelError, match="Net: ") as caught:
            frivkit.load(net(), example)
        assert why in str(caught.value)

    def test_what_is_no_module(self):
        with pytest.raises(ModelError, match="of type int cannot be opened as a model"):
            frivkit.load(3, digits(1))
        with pytest.raises(ModelError, match="of type str cannot be opened as a model"):
            load_module("net.pt", digits(1))

    def test_a_network_that_onnx_computes_otherwise(self):
        class Liar(nn.Module):
            def forward(self, x):
                return x * (1.01 if torch.jit.is_tracing() else 1.0)

        with pytest.raises(ModelError, match=r"differs from torch's by .*, more than"):
            frivkit.load(Liar(), torch.ones(2, 3))

    def test_a_network_of_chance(self):
        class Dice(nn.Module):
            def forward(self, x):
                return x + torch.rand(3)

        with pytest.raises(ModelError, match="outputs change from run to run"):
            frivkit.load(Dice(), torch.ones(2, 3))


class TestProgram:
    def test_nothing_of_the_file_is_heard(self, tmp_path):
        path = saved(nn.Sequential(nn.Linear(4, 5), Loud(), nn.Linear(5, 3)), tmp_path / "net.pt")
        run = ended(start("inspect", path, "--trust", "--input-shape", "1x4", cwd=tmp_path))
        assert (run.code, run.err) == (0, "")
        assert "LOUD" not in run.out
        assert "float32 n×4" in run.out

    @linux
    def test_interrupt_leaves_neither_process_nor_file(self, tmp_path):
        path = saved(Endless(), tmp_path / "net.pt")
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        options = ("--trust", "--input-shape", "1x2")
        process = start("inspect", path, *options, env={"TMPDIR": str(scratch)})
        until = time.monotonic() + 60
        while not children(scratch) and time.monotonic() < until:
            time.sleep(0.05)
        (child,) = children(scratch)
        process.send_signal(signal.SIGINT)
        run = ended(process)
        assert run.code == 130
        assert "interrupted" in run.error()
        assert not Path(f"/proc/{child}").exists()
        assert list(scratch.glob("frivkit-*")) == []

    @linux
    def test_conversion_ends_with_a_program_that_is_killed(self, tmp_path):
        path = saved(Endless(), tmp_path / "net.pt")
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        options = ("--trust", "--input-shape", "1x2")
        process = start("inspect", path, *options, env={"TMPDIR": str(scratch)})
        until = time.monotonic() + 60
        while not children(scratch) and time.monotonic() < until:
            time.sleep(0.05)
        assert children(scratch)
        process.kill()
        ended(process)
        until = time.monotonic() + 60
        while children(scratch) and time.monotonic() < until:
            time.sleep(0.05)
        assert children(scratch) == []


def children(scratch: Path) -> list[int]:
    """Return the processes that have a folder in ``scratch`` on their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes() if folder.name.isdecimal() else b""
        except OSError:
            continue
        if os.fsencode(scratch) in command:
            found.append(int(folder.name))
    return found


def test_example_of_the_page_runs():
    page = (Path(__file__).parents[2] / "docs/torch.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "docs/torch.md", "exec"), names)  # noqa: S102  # our own page
    assert 0 <= names["result"].value("redundancy") <= 1


def test_zeros_as_an_example_are_not_all_that_is_compared():
    class Subtle(nn.Module):
        def forward(self, x):
            return x * (1.01 if torch.jit.is_tracing() else 1.0)

    with pytest.raises(ModelError, match="differs from torch's"):
        frivkit.load(Subtle(), torch.zeros(1, 3))


def test_nothing_of_torch_is_imported_to_read_a_file(tmp_path):
    import subprocess
    import sys

    path = saved(net(), tmp_path / "net.pt")
    code = (
        "import sys; from pathlib import Path; from frivkit_torchscript.provider import load\n"
        f"load(Path({str(path)!r}), {{'trust': 'yes', 'input_shape': '1x1x8x8'}})\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["ResNet basic", "ViT", "LSTM classifier"])
def test_modules_of_many_kinds(name):
    module, example = built(name), ZOO[name].examples(2)
    model = frivkit.load(module.train(), example)
    assert module.training
    study, _ = open_study(Request(model, data="gaussian?n=8"))
    (inputs,) = study.data.read(0, 8).inputs.values()
    wanted = module.eval()(torch.from_numpy(inputs)).detach().numpy()
    assert abs(study.outputs() - wanted).max() < 1e-5 * max(1, abs(wanted).max())


def test_a_file_of_torch_is_compressed(tmp_path):
    net = built("MLP")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript deprecates itself
        torch.jit.save(torch.jit.trace(net, torch.zeros(2, 6)), tmp_path / "net.pt")
    request = Request(tmp_path / "net.pt", data="gaussian?n=400", trust=True, input_shape="1x6")
    made = compress(request, tmp_path / "thin.onnx", Budget("units", 0.5))
    assert made.verification.comparison.agreement.interval[0] > 0.5
    assert inspect_model(Request(tmp_path / "thin.onnx"))[0].parameters < 219
