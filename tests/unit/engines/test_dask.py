"""dask: a real scheduler and workers on loopback, one of which is killed, and one joins late."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import distributed
import pytest

from frivkit.engines.engine import LocalEngine
from frivkit.errors import DeviceError, UsageError
from frivkit.measure.pipeline import Request, analyze
from frivkit.runtime.execution import Execution
from frivkit.testing.tiny_models import residual, write
from frivkit_dask.cluster import open_dask


@pytest.fixture
def started(tmp_path):
    """Start programs of dask; they are ended with the test."""
    running = []

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *arguments]
        with (tmp_path / f"{len(running)}.log").open("w") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def test_workers_that_are_lost_or_late_change_nothing(tmp_path, started):
    path = write(residual(), tmp_path / "net.onnx")
    file = tmp_path / "scheduler.json"

    def worker():
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")
        return started("worker", "--scheduler-file", str(file), *options)

    started(
        *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
        *("--scheduler-file", str(file)),
    )
    waited(file.exists)
    worker()
    engine = open_dask(str(file))

    def task(item):
        (tmp_path / f"{item}-{os.getpid()}").touch()
        time.sleep(0.3)
        return os.getpid()

    pids = []
    for i, pid in enumerate(engine.map(task, range(16))):
        pids.append(pid)
        if i == 0:
            worker()
            waited(lambda: engine.workers == 2)
        if i == 6:
            os.kill(pids[0], signal.SIGKILL)
    assert len(set(pids)) == 2
    assert pids[-1] != pids[0]
    assert sum(engine.machines.values()) == 16

    def measured(engine):
        execution = Execution(engine=engine, threads=1)
        request = Request(path, "gaussian?seed=5", examples=300, execution=execution)
        found = analyze(request, ("prunability", "redundancy"))
        return [(each.metric, each.layer, each.value, each.interval) for each in found.measurements]

    assert measured(engine) == measured(LocalEngine())


def test_an_engine_that_is_collected_on_the_thread_of_dask_ends_its_cluster():
    kept = [open_dask("1")]
    client = distributed.default_client()
    (worker,) = client.run(os.getpid).values()
    blocked = client.run(signal.pthread_sigmask, signal.SIG_BLOCK, [])
    assert [signal.SIGINT in signals for signals in blocked.values()] == [True]
    client.loop.add_callback(kept.clear)
    waited(lambda: client.status == "closed" and not Path(f"/proc/{worker}").exists())


def waited(done, patience=60):
    until = time.monotonic() + patience
    while not done():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("tcp://127.0.0.1:9", DeviceError, "no dask scheduler answers at tcp://127.0.0.1:9"),
        ("not-there.json", UsageError, "give dask:N, dask:tcp://HOST:PORT, or the path"),
        ("0", UsageError, "give 1 to 256 workers"),
        ("2?folder=/not/there", UsageError, "/not/there is no folder"),
        ("2?fodler=/tmp", UsageError, "give folder=DIR alone"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(text, error, says, monkeypatch):
    monkeypatch.setattr("frivkit_dask.cluster.WAIT", 1)
    with pytest.raises(error, match=says) as told:
        open_dask(text)
    assert "\n" not in str(told.value)
