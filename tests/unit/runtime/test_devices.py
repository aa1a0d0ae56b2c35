"""Devices: options of providers, arrays that stay on a device, and what is said where one lacks.

No GPU is needed: inputs and outputs are bound to places on the CPU, which gives the same bits.
"""

import gc

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

import frivkit
from frivkit.cli import main
from frivkit.errors import DeviceError, ModelError
from frivkit.runtime import providers
from frivkit.runtime.binding import BoundRuns, unchanging
from frivkit.runtime.session import Device, Session
from frivkit.testing.networks import small_cnn
from frivkit.torch_io.placement import exact_on, torch_device
from tests.nets import NETS

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")


@pytest.fixture
def bound(monkeypatch):
    """Bind inputs and outputs of every session, to places on the CPU; returns the bindings."""
    opens, all_bound = Session.__init__, []

    def opens_bound(self, *arguments, **more):
        opens(self, *arguments, **more)
        self._bound = BoundRuns(self._session, "cpu")
        all_bound.append(self._bound)

    monkeypatch.setattr(Session, "__init__", opens_bound)
    return all_bound


def analysed(folder):
    """Curves under masks, eigenvalues of moments, and the bytes of a smaller model."""
    model, data = small_cnn().write(folder)
    given = {"data": f"npz:{data}", "threads": 1, "memory": "1MB"}
    option = {"repeats": 1, "levels": 5}
    curves = frivkit.analyze(model, ["prunability", "redundancy"], option=option, **given)
    frivkit.compress(model, folder / "thin.onnx", macs=0.6, **given)
    return curves.measurements, (folder / "thin.onnx").read_bytes()


def test_bound_runs_give_the_same_bits(tmp_path, request):
    plain = analysed(tmp_path)
    all_bound = request.getfixturevalue("bound")
    assert analysed(tmp_path) == plain
    assert sum(each.uploads for each in all_bound)


def test_an_array_is_uploaded_once_and_stays_as_long_as_it_is_kept():
    session = ort.InferenceSession(
        NETS["mlp"]().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    runs, name = BoundRuns(session, "cpu"), session.get_inputs()[0].name
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    fixed = unchanging(x)
    for _ in range(3):
        (first,) = runs.run([], {name: fixed}, None)
    assert (runs.uploads, len(runs._kept)) == (1, 1)
    del fixed
    gc.collect()
    assert len(runs._kept) == 0
    np.testing.assert_array_equal(first, session.run(None, {name: x})[0])
    x[:] = 1  # an array that can be written to may be another one in the next run
    (second,) = runs.run([], {name: x.T.copy().T}, None)
    np.testing.assert_array_equal(second, session.run(None, {name: np.ones_like(x)})[0])
    assert runs.uploads == 1


def test_the_entry_of_a_suffix_is_uploaded_once_for_all_masks(tmp_path, bound):
    model, data = small_cnn().write(tmp_path)
    frivkit.analyze(
        model, data=f"npz:{data}", layer="second", option={"repeats": 3, "levels": 5, "refine": 0},
        threads=1,
    )  # fmt: skip
    runs = [each.uploads for each in bound if each.uploads]
    assert runs == [1], "one batch, one entry, whatever the number of masks"


def test_cuda_computes_in_float32_by_the_same_kernels_in_each_run(monkeypatch):
    given = {}

    def opens(model, **arguments):
        given.update(arguments)
        raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(ort, "InferenceSession", opens)
    model = ir.from_proto(NETS["mlp"]())
    with pytest.raises(DeviceError, match="no CUDA-capable device") as error:
        Session(model, Device("cuda"))
    assert "--device cpu" in str(error.value)
    ((name, options),) = given["providers"]
    assert name == "CUDAExecutionProvider"
    assert options["use_tf32"] == "0"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert given["sess_options"].use_deterministic_compute
    full = RuntimeError("CUDA failure 2: out of memory")
    monkeypatch.setattr(ort, "InferenceSession", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(ModelError, match="smaller --memory"):
        Session(model, Device("cuda"))


def test_a_runtime_without_the_provider_is_told(monkeypatch):
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match="onnxruntime-gpu"):
        providers.provider_of("cuda")
    with pytest.raises(DeviceError, match="known: cpu, cuda"):
        providers.provider_of("tpu")


def test_results_name_the_gpu_that_they_come_from(tmp_path, monkeypatch):
    for slot, model in (("0", "NVIDIA A100"), ("1", "NVIDIA A100"), ("2", "NVIDIA L4")):
        (tmp_path / slot).mkdir()
        (tmp_path / slot / "information").write_text(f"Model: \t\t {model}\nIRQ: 1\n")
    names = providers.gpu_names(tmp_path)
    assert names == ("NVIDIA A100", "NVIDIA L4")
    monkeypatch.setattr("frivkit.runtime.session.gpu_names", lambda: names)
    assert Device("cuda").fingerprint.endswith("CUDAExecutionProvider NVIDIA A100 NVIDIA L4")
    assert "NVIDIA" not in Device("cpu").fingerprint


@NO_GPU
@pytest.mark.parametrize(
    "command",
    [
        ["analyze", "{model}", "--data", "npz:{data}"],
        ["compress", "{model}", "--data", "npz:{data}", "--macs", "0.6", "-o", "{out}"],
        ["visualize", "{model}", "--data", "npz:{data}", "-o", "{out}"],
        ["train", "mlp", "--data", "digits", "-o", "{out}"],
    ],
)
def test_a_gpu_that_is_not_there_ends_a_command_with_one_line(command, tmp_path, capsys):
    model, data = small_cnn().write(tmp_path)
    out = tmp_path / "out.onnx"
    given = [part.format(model=model, data=data, out=out) for part in command]
    with pytest.raises(SystemExit) as end:
        main([*given, "--device", "cuda"])
    told = capsys.readouterr().err.strip()
    assert end.value.code == 3
    assert len(told.splitlines()) == 1
    assert "'cuda'" in told
    assert "cpu" in told
    assert not out.is_file()


def test_torch_computes_in_float32_on_a_gpu_and_forgets_it_afterwards():
    def state():
        cudnn = torch.backends.cudnn
        tf32 = (torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32)
        return (*tf32, cudnn.deterministic, cudnn.benchmark, cudnn.enabled)

    before = state()
    with exact_on(torch.device("cuda")):
        assert state()[:4] == (False, False, True, False)
    assert state() == before
    assert torch_device("cpu").type == "cpu"
