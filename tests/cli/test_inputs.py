"""``--input`` and ``--input-shape`` reach the model, whichever the command and the kind of file."""

import json
import warnings
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import frivkit as api
from frivkit.errors import FrivkitError
from frivkit_torchscript import provider
from tests.handmade import written


class Switched(nn.Module):
    """Computes other numbers at one rate, which has no axis for examples."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 5, 3)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor, rate: Tensor) -> Tensor:
        h = self.first(x)
        h = torch.relu(torch.where(rate == 16000, h, h + 0.5))
        return self.head(torch.relu(self.second(h)).mean((2, 3)))


class Numbered(nn.Module):
    """The same with a rate that is a number of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Switched()

    def forward(self, x: Tensor, rate: int) -> Tensor:
        return self.inner(x, torch.tensor(rate))


SWITCHED = """g (float[n, 1, h, w] x, int64 rate) => (float[n, 3] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, u)
  high = Constant <value_int = 16000> ()
  is = Equal (rate, high)
  half = Constant <value_float = 0.5> ()
  b = Add (a, half)
  c = Where (is, a, b)
  r = Relu (c)
  d = Conv (r, v)
  s = Relu (d)
  m = GlobalAveragePool (s)
  f = Flatten (m)
  y = MatMul (f, w)
}"""
SHAPE = ("--input-shape", "1x1x8x8")
DATA = ("--data", "npz:x.npz", "--no-cache")
COMMANDS = {
    "inspect": (),
    "analyze": (*DATA, "--metric", "redundancy"),
    "activations": (*DATA, "-o", "out.h5"),
    "compress": (*DATA, "--units-kept", "0.7", "--refit", "none", "--no-time", "-o", "thin.onnx"),
    "compress --frontier": (*DATA, "--macs", "0.8", "--refit", "none", "--no-time"),
    "verify": ("narrow.onnx", *DATA, "--no-time"),
    "visualize": (*DATA, "--units", "1", "--steps", "1", "--layer", "*", "-o", "pictures"),
    "advise": ("wide.onnx", *DATA, "--protocol", "paper", "--option", "tolerance=0.5"),
}
KINDS = {"onnx": "net.onnx", "TorchScript": "net.pt", "a number": "int.pt", "pt2": "net.pt2"}


def switched(width: int) -> onnx.ModelProto:
    return written(SWITCHED, u=(width, 1, 3, 3), v=(5, width, 3, 3), w=(5, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the network in each kind of file, and examples."""
    folder = tmp_path_factory.mktemp("switched")
    for name, width in (("net", 6), ("narrow", 4), ("wide", 12)):
        onnx.save(switched(width), folder / f"{name}.onnx")
    module = Switched().eval()
    examples = (torch.rand(2, 1, 8, 8), torch.tensor(8000))
    axes = ({0: torch.export.Dim("rows")}, None)
    torch.export.save(
        torch.export.export(module, examples, dynamic_shapes=axes), folder / "net.pt2"
    )
    for name, network in (("net", module), ("int", Numbered().eval())):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is on its way out
            torch.jit.save(torch.jit.script(network), folder / f"{name}.pt")
    x = np.random.default_rng(0).random((24, 1, 8, 8)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    np.savez(folder / "both.npz", x=x, rate=np.array(16000))
    with h5py.File(folder / "both.h5", "w") as file:
        file.update({"x": x, "rate": 16000})
    return folder


@pytest.fixture(scope="module")
def converted():
    """Convert each torch file once for each value of its inputs."""
    real, kept = provider.convert_in_process, {}

    def convert(job, examples, folder):
        numbers = {name: np.ravel(each).tolist() for name, each in job.inputs.items()}
        key = (job.path.name, str(numbers), str(job.scalars))
        if key not in kept:
            try:
                kept[key] = real(job, examples, folder).read_bytes()
            except FrivkitError as error:
                kept[key] = error
        if isinstance(kept[key], Exception):
            raise kept[key]
        (folder / "model.onnx").write_bytes(kept[key])
        return folder / "model.onnx"

    return convert


@pytest.fixture
def run(frivkit, folder, converted, tmp_path, monkeypatch):
    """Return a function that runs a command on a kind of file in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provider, "convert_in_process", converted)
    for file in folder.iterdir():
        Path(file.name).symlink_to(file)

    def command(name: str, kind: str, *more: str):
        words = name.split()
        return frivkit(words[0], KINDS[kind], *words[1:], *COMMANDS[name], "--trust", *more)

    return command


@pytest.mark.parametrize("kind", ["onnx", "TorchScript", "pt2"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_sizes_and_numbers_of_inputs(command, kind, run):
    malformed = run(command, kind, "--input-shape", "1xx8", "--input", "rate=8000")
    assert (malformed.code, len(malformed.err.splitlines())) == (1, 1)
    assert "--input-shape '1xx8' is not of the form" in malformed.err
    if kind == "onnx" or (command, kind) == ("inspect", "TorchScript"):  # converting takes seconds
        without = run(command, kind, *SHAPE)
        assert (without.code, len(without.err.splitlines())) == (1, 1)
        assert "'rate'" in without.err
        assert "--input rate=VALUE" in without.err
    given = run(command, kind, *SHAPE, "--input", "rate=8000")
    assert given.code == 0, given.err


@pytest.mark.parametrize(("kind", "rate"), [("TorchScript", 8000), ("a number", 0), ("pt2", 0)])
def test_a_torch_file_computes_with_the_number_that_it_is_given(kind, rate, folder, run):
    """Given, or else from the data, where it is 16000; compared with the network itself."""
    x = torch.from_numpy(np.load("x.npz")["x"][:4])
    module = api.to_torch(
        KINDS[kind],
        data=None if rate else "npz:both.npz",
        input_shape=SHAPE[1],
        inputs={"rate": rate} if rate else {},
        trust=True,
    )
    wanted = Switched()(x, torch.tensor(rate or 16000))
    torch.testing.assert_close(module(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_single_number_of_the_data_is_taken_and_said(run):
    def measured(data: str, *more: str):
        done = run("analyze", "onnx", *SHAPE, "--data", data, "--json", "-", *more)
        assert done.code == 0, done.err
        assert ("rate=16000 is taken from the data" in done.err) is not bool(more)
        return [each["detail"] for each in json.loads(done.out)["measurements"]]

    stored = measured("npz:both.npz")
    assert stored == measured("hdf5:both.h5")
    assert stored == measured("npz:x.npz", "--input", "rate=16000")
    assert stored != measured("npz:both.npz", "--input", "rate=8000")
