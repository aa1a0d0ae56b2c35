"""Processes: what one finds, several find, also when one of them is lost."""

import gc
import os
import signal
import threading
import time
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

from frivkit.engines.engine import LocalEngine
from frivkit.engines.executor import TRIES, ExecutorEngine
from frivkit.engines.open import open_engine
from frivkit.engines.processes import WorkerProcesses
from frivkit.errors import DeviceError, FrivkitError, UsageError, WorkerLostError
from frivkit.files import HOST
from frivkit.measure.pipeline import Request, analyze
from frivkit.runtime.execution import Execution
from frivkit.testing.tiny_models import residual, write
from frivkit_engines.processes import open_processes


def test_several_processes_measure_what_one_does(tmp_path):
    path = write(residual(), tmp_path / "net.onnx")

    def measured(engine):
        execution = Execution(engine=engine, threads=1)
        request = Request(path, "gaussian?seed=5", examples=300, execution=execution)
        found = analyze(request, ("prunability", "redundancy", "dead-units"))
        return [(each.metric, each.layer, each.value, each.interval) for each in found.measurements]

    local = measured(LocalEngine())
    assert len(local) > 6
    with WorkerProcesses(4) as processes:
        for workers in (1, 2, 4):
            assert measured(ExecutorEngine(processes, workers=workers)) == local, workers


def test_process_that_is_killed_costs_its_own_task(tmp_path):
    def task(item):
        begun = tmp_path / f"{item}-{os.getpid()}"
        begun.touch()
        if item == 3 and len(list(tmp_path.glob("3-*"))) < TRIES:
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item

    engine = open_processes("2")
    assert list(engine.map(task, range(8))) == [item * item for item in range(8)]
    runs = {item: len(list(tmp_path.glob(f"{item}-*"))) for item in range(8)}
    assert runs == dict.fromkeys(range(8), 1) | {3: TRIES}
    assert sum(engine.machines.values()) == 8


def test_task_that_always_loses_its_worker_fails_and_the_others_do_not():
    def task(item):
        if item == 1:
            os._exit(7)
        return item

    engine = open_processes("2")
    outcomes = {outcome.item: outcome for outcome in engine.outcomes(task, range(4))}
    assert [outcomes[item].result for item in (0, 2, 3)] == [0, 2, 3]
    assert outcomes[1].lost is not None
    assert f"lost {TRIES} times" in outcomes[1].lost
    found = []
    with pytest.raises(WorkerLostError, match=f"lost {TRIES} times") as error:
        found.extend(engine.map(task, range(4)))
    assert found == [0]
    assert "\n" not in str(error.value)


def test_ctrl_c_reaches_no_worker():
    def blocked(_):
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])

    assert list(open_processes("2").map(blocked, range(4))) == [True] * 4
    assert not blocked(None)


def test_interrupt_ends_what_is_running():
    engine = open_processes("1")

    def sleeper(seconds):
        time.sleep(seconds)
        return os.getpid()

    pid = next(engine.map(sleeper, [0]))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(engine.map(sleeper, [90]))
        assert time.monotonic() - begun < 60
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(engine.map(sleeper, [0])) != [pid]


class Losing(Executor):
    """Loses a worker as often as it is told."""

    def __init__(self, times: int) -> None:
        self.times, self.calls = times, 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        future = Future()
        if self.calls <= self.times:
            future.set_exception(BrokenProcessPool("a process\ndied"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.parametrize("times", range(TRIES + 1))
def test_lost_workers_are_made_up_for(times):
    executor = Losing(times)
    engine = ExecutorEngine(executor, workers=1)
    (outcome,) = engine.outcomes(abs, [-4])
    assert executor.calls == min(times + 1, TRIES)
    assert outcome.result == (4 if times < TRIES else None)
    assert (outcome.lost is None) == (times < TRIES)


def test_machines_of_two_kinds_are_warned_about(monkeypatch):
    kinds = iter(["one", "one", "another", "one"])
    monkeypatch.setattr("frivkit.engines.worker.machine_kind", lambda: next(kinds))
    engine = ExecutorEngine(Losing(0), workers=1)
    with pytest.warns(UserWarning, match="machines of several kinds") as told:
        assert list(engine.map(abs, [-1, -2, -3, -4])) == [1, 2, 3, 4]
    assert len(told) == 1
    assert engine.machines == {"one": 3, "another": 1}


@pytest.mark.parametrize("text", ["0", "x", "-1", "1000", "2.5"])
def test_number_of_processes_is_checked(text):
    with pytest.raises(UsageError, match="give processes:N with N processes"):
        open_processes(text)


def test_engine_is_found_by_name():
    assert isinstance(open_engine("local"), LocalEngine)
    assert open_engine("processes:3").workers == 3
    with pytest.raises(UsageError, match="give processes:4"):
        open_engine("local:4")
    with pytest.raises(DeviceError, match="no engine is named 'ray'; there are") as error:
        open_engine("ray:auto")
    assert error.value.exit_code == 3


def test_error_that_cannot_be_pickled_comes_back_as_text():
    class OddError(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    def task(item):
        raise OddError(item, item)

    with pytest.raises(FrivkitError, match="OddError: 1 and 1"):
        list(ExecutorEngine(Losing(0), workers=1).map(task, [1]))


def test_files_of_tasks_are_private_and_do_not_stay(tmp_path):
    engine = ExecutorEngine(Losing(0), workers=1, folder=tmp_path)
    array = np.ones(100_000)
    assert list(engine.map(lambda factor: float(array.sum()) * factor, [1, 2])) == [1e5, 2e5]
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [each.suffix for each in folder.iterdir()] == [".array"]
    del engine
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_files_of_a_process_that_was_killed_are_removed_by_the_next(tmp_path):
    (tmp_path / f".frivkit-tasks.4194304-{HOST}{'0' * 8}.tmp").mkdir()
    engine = ExecutorEngine(Losing(0), workers=1, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    assert list(engine.map(abs, [-1])) == [1]


def test_folder_that_cannot_be_written_is_told_of(tmp_path):
    with pytest.raises(FrivkitError, match="cannot be written"):
        ExecutorEngine(Losing(0), workers=1, folder=tmp_path / "not" / "there")
