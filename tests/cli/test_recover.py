"""``frivkit compress --recover``: what is done after the refit, said, and refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import frivkit as api
from frivkit.compression.recovery import training
from tests.contract import complaints
from tests.program import Outcome, write_cnn, write_rows

Run = Callable[..., Outcome]
HALF = ("compress", "net.onnx", "--data", "npz:x.npz", "--round-to", "none", "--no-time")


@pytest.fixture(autouse=True)
def net(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return net.onnx and x.npz, and let a recovery be short."""
    monkeypatch.setattr(training, "PERIODS", 2)
    write_rows(files / "x.npz", 1, 8, 8)
    return write_cnn(files / "net.onnx", 8, 8)


def test_each_budget_is_recovered_and_told_of(frivkit: Run) -> None:
    some = (*HALF, "--macs", "0.7,0.4", "-o", "thin-{budget}.onnx", "--refit", "none")
    ran = frivkit(*some, "--recover", "60", "--augment", "flip, crop", "--json", "{budget}.json")
    assert ran.code == 0, ran.err
    assert ran.out.count("gradients") + ran.out.count("Gradients") == 2
    for budget in ("0.7", "0.4"):
        found = json.loads(Path(f"{budget}.json").read_text())
        assert complaints(found) == []
        recovery = found["recovery"]
        assert (recovery["planned"], recovery["stopped"]) == (24, "done")
        assert recovery["kept"] == (recovery["error"]["after"] < recovery["error"]["before"])
        assert found["method"]["refit"] == "none"


def test_plans_of_a_frontier_are_recovered(frivkit: Run) -> None:
    ran = frivkit(
        *(*HALF, "--frontier", "--macs", "0.7,0.4", "--refit", "distil"),
        *("--json", "found.json", "--report", "page.html"),
    )
    assert ran.code == 0, ran.err
    found = json.loads(Path("found.json").read_text())
    assert complaints(found) == []
    assert [plan["recovery"]["steps"] for plan in found["plans"]] == [24, 24]
    for text in (ran.out, Path("page.html").read_text()):
        assert "Plans that gradients after the refit changed:" in " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--augment", "flip"), "augmentation by flip is for a recovery, and none is requested"),
        (("--recover", "1", "--augment", "blur"), "no augmentation is named 'blur'"),
        (("--recover", "0"), "0 is not in the range"),
        (("--recover", "nan"), "nan minutes are given to recover; give more than 0"),
    ],
)
def test_options_that_mean_nothing_are_one_line(
    frivkit: Run, options: tuple[str, ...], says: str
) -> None:
    ran = frivkit(*HALF, "--macs", "0.5", "-o", "thin.onnx", *options)
    assert ran.code == 2
    assert says in ran.error()
    assert not Path("thin.onnx").exists()


def test_python_takes_the_same_options(files: Path) -> None:
    x = np.random.default_rng(0).normal(size=(80, 1, 8, 8)).astype(np.float32)
    made = api.compress(
        *("net.onnx", "thin.onnx"),
        data=x,
        macs=0.5,
        round_to="none",
        refit="none",
        threads=1,
        recover=60,
        augment="flip",
    )
    assert made.document["recovery"]["steps"] == 24
    assert "gradients" in str(made).lower()
    with pytest.raises(api.errors.UsageError, match="recover is 0"):
        api.compress("net.onnx", data=x, macs=0.5, recover=0)
