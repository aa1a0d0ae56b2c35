"""What ``--memory`` leaves to tasks beside the program and the weights, and what it refuses."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.engines.engine import LocalEngine
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.measure.pipeline import Request, load_model
from frivkit.runtime import whole_memory
from frivkit.runtime.example_memory import SMALLEST
from frivkit.runtime.execution import Execution, default_memory
from frivkit.runtime.whole_memory import beside_weights

MIB = 1 << 20


class Workers(LocalEngine):
    """An engine that says that it has workers of this machine."""

    workers = 3
    shares_memory = True


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setattr(whole_memory, "_program", lambda: 100 * MIB)


def model_of(mebibytes):
    weight = ir.tensor(np.zeros(mebibytes * MIB // 4, np.float32), name="w")
    value = ir.Value(name="w", const_value=weight)
    graph = ir.Graph((), (), nodes=(), initializers=[value], opset_imports={"": 18})
    return Model(ir.Model(graph, ir_version=9), Path("net.onnx"), "onnx", "", (), None)


def left(whole, *models, engine=None, more=0):
    execution = Execution(whole=whole, engine=engine or LocalEngine())
    return beside_weights(execution, *(models or [model_of(0)]), more=more).memory


def test_tasks_have_what_program_and_weights_leave():
    assert left(1000 * MIB) == 900 * MIB
    assert left(1000 * MIB, model_of(50), model_of(10), more=7) == 780 * MIB - 7


def test_processes_of_this_machine_share():
    assert left(2000 * MIB, model_of(10), engine=Workers()) == (500 - 120) * MIB


def test_many_processes_have_room_if_nobody_says_how_much(monkeypatch):
    assert default_memory(LocalEngine()) == default_memory(Workers()) == 2048 * MIB
    monkeypatch.setattr(Workers, "workers", 31)
    assert default_memory(Workers()) == 32 * 512 * MIB
    assert left(default_memory(Workers()), engine=Workers()) == (512 - 100) * MIB


def test_an_execution_that_bounds_only_tasks_stays_as_it_is():
    execution = Execution(memory=7)
    assert beside_weights(execution, model_of(10)) is execution


def test_a_small_network_runs_however_little_is_asked():
    assert left(5) == 5
    assert left(150 * MIB, model_of(1)) == 2 * SMALLEST - 2 * MIB


def test_what_does_not_fit_is_refused_with_what_does():
    with pytest.raises(ModelError, match=r"100\.0 MiB for the program and 600\.0 MiB") as refusal:
        left(512 * MIB, model_of(300))
    assert str(refusal.value).endswith("give --memory 764MiB or more")
    assert left(764 * MIB, model_of(300)) == SMALLEST
    with pytest.raises(ModelError, match=r"in each of 4 processes.*or fewer workers by --engine"):
        left(512 * MIB, engine=Workers())


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "net.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match=r"net\.onnx takes .*give --memory 2097316MiB or more"):
        load_model(Request(path, execution=Execution(whole=2 << 30)))
