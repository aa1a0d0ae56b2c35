"""The installed wheel: ``make wheel-test`` makes its environment and names it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.program import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(scope="session")
def environment() -> Path:
    """Return the environment in which nothing but the wheel and what it requires is installed."""
    folder = os.environ.get("FRIVKIT_WHEEL_ENVIRONMENT")
    if folder is None:
        pytest.skip("no wheel is installed: run make wheel-test")
    return Path(folder).absolute()


@pytest.fixture(scope="session")
def started(environment, tmp_path_factory) -> Run:
    """Return a function that runs a program of that environment, far from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    passed = {"HOME", "PATH", "LANG", "OMP_NUM_THREADS", "SYSTEMROOT", "TEMP"}
    plain = {name: value for name, value in os.environ.items() if name in passed}
    plain["FRIVKIT_CACHE_DIR"] = str(folder / "cache")

    def run(program: str, *arguments: str | Path, **variables: str) -> Outcome:
        ran = subprocess.run(
            [environment / "bin" / program, *map(str, arguments)],
            cwd=folder,
            env=plain | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        return Outcome(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.fixture(scope="session")
def frivkit(started) -> Run:
    """Return a function that runs the installed program."""
    return lambda *arguments, **variables: started("frivkit", *arguments, **variables)


@pytest.fixture(scope="session")
def python(started) -> Callable[..., str]:
    """Return a function that runs a program in Python and gives what it prints."""

    def run(code: str, **variables: str) -> str:
        ran = started("python", "-c", code, **variables)
        assert ran.code == 0, ran.err
        return ran.out

    return run


@pytest.fixture(scope="session")
def demo(frivkit, tmp_path_factory) -> Path:
    """Return the folder that the installed demo wrote."""
    folder = tmp_path_factory.mktemp("demo")
    ran = frivkit("demo", "-o", folder, "--no-progress")
    assert ran.code == 0, ran.err
    return folder
