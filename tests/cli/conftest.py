"""What the tests of the command line may ask for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from frivkit.cli import main
from tests.program import Outcome, write_mlp, write_rows


@pytest.fixture
def frivkit(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs the program in this process and gives what came of it."""

    def run(*arguments: str | Path) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Outcome(end.value.code or 0, *capfd.readouterr())

    return run


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working folder: net.onnx, x.npz that fits it, and a cache folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRIVKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FRIVKIT_CACHE_LIMIT", raising=False)
    monkeypatch.delenv("FRIVKIT_LOAD_PLUGINS", raising=False)
    write_mlp(tmp_path / "net.onnx")
    write_rows(tmp_path / "x.npz")
    return tmp_path
