"""Every kind of work goes through engines, and its tasks can be sent: they are pickled here."""

from concurrent.futures import Executor, Future

import numpy as np
import pytest
import torch
from torch import nn

import frivkit
from frivkit.engines.executor import ExecutorEngine


class Here(Executor):
    """Runs functions at once, in this process."""

    def __init__(self) -> None:
        self.calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A network with images, residual additions and dropped layers, and data for it."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 64, 150),  # its weights cross in a file of their own
        nn.ReLU(),
        nn.Linear(150, 4),
    )
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    x = np.random.default_rng(0).normal(size=(60, 1, 8, 8)).astype(np.float32)
    frivkit.save(net, path, example=x[:2])
    return path, x


def values(result):
    return [(row["metric"], row["layer"], row["value"]) for row in result.document["measurements"]]


METRICS = [
    *("prunability", "targeted-prunability", "activation-noise", "weight-noise"),
    *("weight-knockout", "frivolity", "redundancy", "predictability", "correlation"),
    *("similarity", "selectivity", "dead-units"),
]


@pytest.mark.parametrize("task", ["classify", "regress", "embed"])
def test_metrics(net, task):
    path, x = net
    data = (x, np.arange(60) % 4)
    metrics = METRICS if task == "classify" else ["prunability"]

    def measured(engine):
        arguments = {"data": data, "task": task, "threads": 1, "cache": False}
        return values(frivkit.analyze(path, metrics, engine=engine, **arguments))

    executor = Here()
    assert measured(ExecutorEngine(executor, workers=3)) == measured("local")
    assert executor.calls > 10


@pytest.mark.parametrize("refit", ["none", "ridge", "sequential", "relu"])
def test_compression(net, refit, tmp_path):
    path, x = net
    written = []
    for engine in ("local", ExecutorEngine(Here(), workers=2)):
        output = tmp_path / f"{len(written)}.onnx"
        options = {"threads": 1, "refit": refit, "macs": 0.6, "cache": False}
        frivkit.compress(path, output, data=x, engine=engine, **options)
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_activations(net, tmp_path):
    path, x = net
    found = [
        frivkit.activations(path, data=x, engine=engine, threads=1)
        for engine in ("local", ExecutorEngine(Here(), workers=2))
    ]
    for name in found[0]:
        assert np.array_equal(found[0][name], found[1][name])


def test_one_worker_keeps_what_enters_a_suffix(net, tmp_path, monkeypatch):
    """The cache stays with this process, and tasks take nothing of it along."""
    monkeypatch.setattr("frivkit.measure.compared_runs.WORTH_KEEPING", 0)
    path, x = net
    found = {}
    for name, engine in {"here": "local", "there": ExecutorEngine(Here(), workers=1)}.items():
        for run in ("first", "second"):
            metrics = "prunability" if run == "first" else "targeted-prunability"
            arguments = {"data": x, "threads": 1, "cache": tmp_path / name, "engine": engine}
            found[name, run] = frivkit.analyze(path, metrics, **arguments)
    for run in ("first", "second"):
        assert values(found["here", run]) == values(found["there", run])
    assert found["there", "second"].document["provenance"]["reused"]["entry activations"] > 0
