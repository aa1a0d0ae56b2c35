"""An unexpected error is the model's fault where ONNX Runtime refuses the model, else ours."""

import numpy as np
import onnx
import pytest

from frivkit.errors import DataError, ModelError
from frivkit.graph.onnx_io.load import read
from frivkit.runtime import file_check
from frivkit.runtime.file_check import naming_faults
from tests.handmade import written

RUNS = "g (float[n, 6] x) => (float[n, 3] y) { a = MatMul (x, u) y = MatMul (a, v) }"
FOREIGN = "g (float[n, 6] x) => (float[n, 3] y) { a = own.domain.Twist (x) y = MatMul (a, v) }"


def model(folder, text=RUNS, **weights):
    proto = written(text, domains=("own.domain",), **({"u": (6, 9), "v": (9, 3)} | weights))
    onnx.save(proto, folder / "m.onnx")
    return read(folder / "m.onnx")


def test_a_model_that_cannot_be_run_is_named_as_the_cause(tmp_path):
    invalid = model(tmp_path, v=(8, 3))  # the checker looks at no shapes
    refused = pytest.raises(ModelError, match=r"m.onnx is not a valid model: .*MatMul")
    with refused as caught, naming_faults(invalid):
        np.zeros((2, 9)) @ np.zeros((8, 3))
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(str(caught.value).splitlines()) == 1


def test_errors_over_a_valid_model_stay_what_they_are(tmp_path):
    for valid in (model(tmp_path), model(tmp_path, FOREIGN)):
        with pytest.raises(KeyError, match="a bug"), naming_faults(valid):
            raise KeyError("a bug")


@pytest.mark.parametrize("error", [DataError("no data"), OSError("disk"), MemoryError()])
def test_errors_that_say_their_cause_pass_without_a_run(error, tmp_path, monkeypatch):
    invalid = model(tmp_path, v=(8, 3))
    monkeypatch.setattr(file_check, "Session", None)
    with pytest.raises(type(error)) as caught, naming_faults(invalid):
        raise error
    assert caught.value is error


def test_work_that_ends_well_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(file_check, "Session", None)
    with naming_faults(model(tmp_path, v=(8, 3))):
        pass
