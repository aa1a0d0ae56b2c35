"""The runner: results in the order of the examples, whatever the engine does."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from frivkit.data import open_data
from frivkit.engines.engine import LocalEngine
from frivkit.engines.executor import ExecutorEngine
from frivkit.engines.open import open_engine
from frivkit.measure.pipeline import Request, analyze
from frivkit.progress import Silent
from frivkit.runtime.execution import Execution
from frivkit.runtime.runner import Runner
from frivkit.testing.tiny_models import residual, write


def threads():
    return ExecutorEngine(ThreadPoolExecutor(3), workers=3)


class Steps(Silent):
    """Notes what is reported."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.advanced: list[int] = []
        self.finished = 0

    def start(self, what: str, steps: int) -> None:
        self.begun.append((what, steps))

    def advance(self, steps: int = 1) -> None:
        self.advanced.append(steps)

    def finish(self) -> None:
        self.finished += 1


ENGINES = [LocalEngine(), threads()]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("examples", "size", "first"), [(7, 3, 0), (6, 3, 3), (1, 9, 0), (5, 5, 5)]
)
def test_batches_come_in_order_and_count_once(engine, examples, size, first):
    data, steps = open_data(f"digits?n={examples}", None), Steps()
    runner = Runner(engine, steps)
    batches = list(runner.map(data, size, lambda batch: batch, "reading", first=first))
    read = [np.concatenate([b.inputs["x"] for b in batches])] if batches else []
    assert [b.first for b in batches] == list(range(first, examples, size))
    assert all(np.array_equal(x, data.read(first, examples).inputs["x"]) for x in read)
    assert steps.begun == [("reading", examples)]
    assert (sum(steps.advanced), steps.finished) == (examples, 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_steps_of_a_task_count_once(engine):
    steps = Steps()
    runner = Runner(engine, steps)

    def task(start: int, stop: int) -> int:
        for _ in range(4):
            runner.tick(stop - start)
        return stop

    assert list(runner.map_ranges(10, 4, task, "runs", steps=4)) == [4, 8, 10]
    assert sum(steps.advanced) == 40


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_of_a_task_ends_the_map_and_the_display(engine):
    steps = Steps()

    def task(start: int, stop: int) -> int:
        if start == 2:
            raise ValueError("the second batch")
        return stop

    results = Runner(engine, steps).map_ranges(6, 2, task, "runs")
    assert next(results) == 2
    with pytest.raises(ValueError, match="the second batch"):
        list(results)
    assert steps.finished == 1


def test_nothing_is_read_ahead_of_the_results_in_one_process():
    seen: list[int] = []
    results = Runner(LocalEngine(), Silent()).map_ranges(9, 3, lambda a, b: seen.append(a), "runs")
    next(results)
    assert seen == [0]


def test_engines_give_equal_measurements(tmp_path: Path):
    model = write(residual(), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))

    def measured(engine):
        execution = Execution(engine=engine, threads=1)
        request = Request(model, data=f"npz:{tmp_path / 'x.npz'}", execution=execution)
        return analyze(request, ("prunability", "redundancy", "activation-noise")).measurements

    assert measured(LocalEngine()) == measured(threads())


def test_engine_is_found_by_name():
    assert list(open_engine("local").map(abs, [-1, 2])) == [1, 2]
