"""The files of docs/cluster: scripts for SLURM, and an engine on another executor."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pytest

from frivkit.testing.conformance import check_engine

FOLDER = Path(__file__).parents[2] / "docs/cluster"
SCRIPTS = sorted(FOLDER.glob("*.sbatch"))


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path):
    """Stand-ins for the programs that scripts call: each writes its arguments to a log."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("frivkit", "srun"):
        program(folder, name, f'echo "{name} $*" >> {tmp_path}/log')
    program(
        folder,
        "dask",
        f'echo "dask $*" >> {tmp_path}/log; [ "$1" = scheduler ] && echo {{}} > "$3"; sleep 60',
    )
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def logged(script: str, arguments: list[str], folder: Path, environment: dict[str, str]):
    command = ["bash", str(FOLDER / script), *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=60)
    return (folder / "log").read_text().splitlines()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_has_no_fault_that_bash_sees(script):
    told = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize(("first", "number"), [(1, 3), (0, 4)])
def test_task_of_an_array_runs_its_shard(tmp_path, programs, first, number):
    slurm = {
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_ARRAY_TASK_MIN": str(first),
        "SLURM_ARRAY_TASK_COUNT": "8",
        "SLURM_CPUS_PER_TASK": "2",
    }
    (line,) = logged("sweep.sbatch", ["sweep", "e7", "-o", "a b"], tmp_path, programs | slurm)
    assert line == f"frivkit sweep e7 -o a b --shard {number}/8 --threads 2 --no-progress"


def test_job_starts_a_cluster_and_leaves_nothing(tmp_path, programs):
    log = tmp_path / "log"  # the job ends with frivkit, and with it a worker that starts late
    until_worked = f"until grep -q ^srun {log}; do sleep 0.05; done"
    program(tmp_path / "bin", "frivkit", f'{until_worked}; echo "frivkit $*" >> {log}')
    slurm = {"SLURM_SUBMIT_DIR": str(tmp_path)}
    lines = logged("dask.sbatch", ["analyze", "model.onnx"], tmp_path, programs | slurm)
    assert any(line.startswith("dask scheduler --scheduler-file") for line in lines)
    assert any(line.startswith("srun dask worker --scheduler-file") for line in lines)
    (ours,) = [line for line in lines if line.startswith("frivkit")]
    assert ours.startswith("frivkit analyze model.onnx --engine dask:")
    assert not list(tmp_path.glob("frivkit-dask-*"))


def test_other_executor_is_an_engine(monkeypatch):
    pool = ThreadPoolExecutor(2)

    def remote(**options):
        assert options == {"max_retries": 0}
        return lambda fn: SimpleNamespace(
            remote=lambda *args: SimpleNamespace(future=lambda: pool.submit(fn, *args))
        )

    ray = SimpleNamespace(
        init=lambda address: None,
        remote=remote,
        cluster_resources=lambda: {"CPU": 2.0},
        exceptions=SimpleNamespace(WorkerCrashedError=OSError, NodeDiedError=OSError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    spec = spec_from_file_location("ray_engine", FOLDER / "ray_engine.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    check_engine(module.open_ray)
