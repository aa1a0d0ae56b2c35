"""``frivkit compress --frontier`` as a user runs it."""

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from frivkit.compression.agreement_search import AgreementSearch
from frivkit.verification.agreement import Agreement
from tests.contract import complaints
from tests.program import Outcome, write_cnn, write_rows

Run = Callable[..., Outcome]
FRONTIER = ("compress", "net.onnx", "--frontier", "--data", "npz:x.npz")


@pytest.fixture(autouse=True)
def net(files: Path) -> Path:
    """Return net.onnx, two convolutions and a dense layer, and x.npz."""
    write_rows(files / "x.npz", 1, 8, 8)
    return write_cnn(files / "net.onnx", 8, 8)


def test_frontier_is_measured_written_and_shown(frivkit: Run) -> None:
    ran = frivkit(
        *(*FRONTIER, "--macs", "0.8,0.5", "--agreement", "0.6", "--time-batch", "1,2", "-v"),
        *("-o", "thin-{budget}.onnx", "--save-plan", "plan-{budget}.json"),
        *("--json", "found.json", "--report", "page.html", "--figure", "figure.svg"),
    )
    assert ran.code == 0, ran.err
    found = json.loads(Path("found.json").read_text())
    assert complaints(found) == []
    assert [plan["share"] for plan in found["plans"]] == [0.8, 0.5]
    for plan in found["plans"]:
        assert plan["path"] == f"thin-{plan['share']:g}.onnx"
        onnx.checker.check_model(plan["path"], full_check=True)
        assert json.loads(Path(f"plan-{plan['share']:g}.json").read_text())["layers"]
        for latency in plan["latency"].values():
            low, middle, high = latency["ratio"]
            assert 0 < low <= middle <= high
        assert f"{plan['share']:g}: {plan['agreement']['labels']:.4f} of the labels" in ran.err
        assert f"\n   {plan['share']:g}" in ran.out
    assert {choice["agreement"] for choice in found["choices"]} == {0.6}
    assert "0.6 or more, as found" in ran.out
    assert Path("page.html").read_text().count("<figure") == 3
    assert "latency left at batch 2" in Path("figure.svg").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--params", "0.5"), "--params cannot be given with --frontier"),
        (("--units-kept", "0.5", "--dry-run"), "--units-kept and --dry-run cannot be given"),
        (("--require-faster",), "--require-faster cannot be given"),
        (("-o", "thin.onnx"), "cannot all be written to thin.onnx; put {budget} into its name"),
        (("-o", "thin-{budget}.pt"), "an ONNX file cannot be named thin-{budget}.pt"),
        (("-o", "{budget}.onnx"), "0.5.onnx is the model or another result too"),
        (("--figure", "figure.png"), "figure.png is no name for a picture; end it in .svg"),
        (("--int8",), "--int8 cannot be given with --frontier"),
        (("--time-batch", "1,0"), "--time-batch is '1,0'; give whole numbers from 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    frivkit: Run, more: tuple[str, ...], message: str
) -> None:
    Path("0.5.onnx").symlink_to("net.onnx")
    ran = frivkit(*FRONTIER, *more)
    assert ran.code == 2
    assert message in ran.err
    assert ran.out == ""


def test_interruption_leaves_the_files_of_all_plans_as_they_were(
    frivkit: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(search: AgreementSearch, network: ir.Model) -> Agreement:
        compared.append(network)
        if len(compared) == 2:
            raise KeyboardInterrupt
        return agreement(search, network)

    compared: list[object] = []
    agreement = AgreementSearch.agreement
    monkeypatch.setattr(AgreementSearch, "agreement", interrupted)
    Path("thin-0.8.onnx").write_bytes(b"earlier")
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    ran = frivkit(*FRONTIER, "--macs", "0.8,0.5", "--no-time", "-o", "thin-{budget}.onnx")
    assert (ran.code, ran.out, len(compared)) == (130, "", 2)
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_picture_needs_several_plans(frivkit: Run) -> None:
    ran = frivkit("compress", "net.onnx", "--macs", "0.5", "--dry-run", "--figure", "figure.svg")
    assert ran.code == 2
    assert "--figure is the picture of several plans; give --frontier, too" in ran.err


def test_nothing_is_timed_or_written_that_is_not_asked_for(frivkit: Run) -> None:
    ran = frivkit(*FRONTIER, "--macs", "0.5", "--no-time", "--json", "-")
    found = json.loads(ran.out)
    assert complaints(found) == []
    assert found["timing"]["batches"] == []
    assert {choice["cost"] for choice in found["choices"]} == {"macs"}
    assert not list(Path().glob("*thin*"))
    assert "time" not in frivkit(*FRONTIER, "--macs", "0.5", "--no-time").out
