"""The cache as a user meets it: said when it helps, harmless when it cannot, shared, kept on ^C."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract import results
from tests.program import Outcome, ended, start, write_cnn, write_rows

Run = Callable[..., Outcome]
DATA = ("--data", "npz:x.npz")
ANALYZE = ("analyze", "net.onnx", *DATA, "--json", "-")


def test_second_run_says_what_it_reused_and_finds_the_same(files: Path, frivkit: Run) -> None:
    first = frivkit(*ANALYZE)
    assert first.err == ""  # what was worked out in the same run is not called reused
    assert first.document["provenance"]["reused"] == {}
    second = frivkit(*ANALYZE)
    assert second.err.startswith("frivkit: reused from the cache: 1 baseline outputs, ")
    assert "ablation runs" in second.err
    assert second.document["provenance"]["reused"]["baseline outputs"] == 1
    assert results(first.document) == results(second.document)
    del files


def test_other_options_reuse_what_does_not_depend_on_them(files: Path, frivkit: Run) -> None:
    assert frivkit(*ANALYZE).code == 0
    other = frivkit(*ANALYZE, "--seed", "1").document
    assert other["provenance"]["reused"] == {"baseline outputs": 1}
    tolerant = frivkit(*ANALYZE, "--option", "tolerance=0.5").document
    assert tolerant["provenance"]["reused"]["ablation runs"] > 0
    del files


@pytest.mark.parametrize("place", ["x.npz/cache", "/proc/frivkit", "/proc", "/dev/null/cache"])
def test_cache_that_cannot_be_written_to_costs_one_line(
    files: Path, frivkit: Run, place: str
) -> None:
    ran = frivkit(*ANALYZE, "--cache", place)
    assert ran.code == 0
    assert "cannot write to the cache" in ran.error()
    assert results(ran.document) == results(frivkit(*ANALYZE, "--no-cache").document)
    assert frivkit(*ANALYZE, "--cache", place, "-q").err == ""
    del files


def test_full_disk_costs_one_line_and_leaves_nothing_half_written(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(files)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: usage._replace(free=0))
        ran = frivkit(*ANALYZE)
    assert ran.code == 0
    assert "No space left on device" in ran.error()
    assert list((files / "cache").iterdir()) == []
    assert results(ran.document) == results(frivkit(*ANALYZE).document)


def test_cache_that_may_hold_nothing_is_no_news(
    files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRIVKIT_CACHE_LIMIT", "0")
    for _ in range(2):
        ran = frivkit(*ANALYZE)
        assert (ran.code, ran.err) == (0, "")
    del files


def test_damaged_entry_is_computed_again(files: Path, frivkit: Run) -> None:
    first = frivkit(*ANALYZE)
    for entry in (files / "cache").glob("*.h5"):
        entry.write_bytes(entry.read_bytes()[:100])
    second = frivkit(*ANALYZE)
    assert second.code == 0
    assert second.document["provenance"]["reused"] == {}
    assert results(first.document) == results(second.document)


@pytest.fixture
def long(files: Path) -> Path:
    """Return the working folder with a net that takes some seconds to analyse."""
    write_cnn(files / "net.onnx", channels=16, side=16)
    write_rows(files / "x.npz", 1, 16, 16, n=3000)
    return files


MANY = ("--threads", "1", "--option", "repeats=10")  # seconds of work behind the first scope
LONG = (*ANALYZE, *MANY)


def test_two_runs_at_once_share_one_cache(long: Path) -> None:
    both = [ended(process) for process in [start(*LONG), start(*LONG)]]
    assert [ran.code for ran in both] == [0, 0]
    first, second = (ran.document for ran in both)
    assert results(first) == results(second)
    assert all("frivkit: " in line for ran in both for line in ran.err.splitlines())
    # Whoever came second took over what the other had finished.
    assert first["provenance"]["reused"] or second["provenance"]["reused"]
    assert {path.suffix for path in (long / "cache").iterdir()} == {".h5"}


def test_interrupted_run_keeps_what_was_finished(long: Path) -> None:
    cache = long / "cache"
    (long / "result.json").write_text("an earlier result")
    process = start("analyze", "net.onnx", *DATA, *MANY, "--json", "result.json")
    _wait_for(lambda: cache.is_dir() and len(list(cache.glob("*.h5"))) >= 2)
    process.send_signal(signal.SIGINT)
    ran = ended(process)
    assert (ran.code, ran.out) == (130, "")
    assert ran.error().startswith("frivkit: interrupted; no file is incomplete, and finished")
    assert (long / "result.json").read_text() == "an earlier result"
    assert len(list(cache.glob("*.h5"))) >= 2
    again = ended(start(*LONG))
    assert {path.suffix for path in cache.iterdir()} == {".h5"}  # the rest was swept, if any was
    assert again.err.startswith("frivkit: reused from the cache: 1 baseline outputs, ")
    assert again.document["provenance"]["reused"]["ablation runs"] >= 1
    assert results(again.document) == results(ended(start(*LONG, "--no-cache")).document)


def test_interruption_without_a_cache_promises_nothing(long: Path) -> None:
    process = start("analyze", "net.onnx", *DATA, "--no-cache", *MANY, "-v")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("frivkit: prunability of network")
    process.send_signal(signal.SIGINT)
    ran = ended(process)
    assert ran.code == 130
    assert "interrupted" in ran.error()
    assert "kept" not in ran.error()
    assert not (long / "cache").exists()


def _wait_for(happened: Callable[[], bool], patience: float = 240) -> None:
    deadline = time.monotonic() + patience
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
