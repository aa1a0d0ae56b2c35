"""``frivkit compress``: several budgets at once, plans as files, and what plans must keep to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import onnx
import pytest

from frivkit.cli.values import Multiple, Ratio, Shares
from tests.contract import complaints
from tests.program import Outcome, same_networks, write_cnn, write_rows

Run = Callable[..., Outcome]
SIDE, CHANNELS = 8, 8
DATA = ("--data", "npz:x.npz")
HALF = ("compress", "net.onnx", "-o", "thin.onnx", "--macs", "0.5", *DATA)


@pytest.fixture(autouse=True)
def net(files: Path) -> Path:
    """Return net.onnx, two convolutions and a dense layer, and x.npz."""
    write_rows(files / "x.npz", 1, SIDE, SIDE)
    return write_cnn(files / "net.onnx", CHANNELS, SIDE)


def read(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(path).read_text())
    assert complaints(found) == []
    return found


def plan(frivkit: Run, *arguments: str) -> dict[str, Any]:
    """Return the document of a plan."""
    ran = frivkit("compress", "net.onnx", "--dry-run", *DATA, *arguments, "--json", "plan.json")
    assert ran.code == 0, ran.err
    return read("plan.json")


def kept(document: dict[str, Any]) -> dict[str, int]:
    return {layer["layer"]: layer["units_after"] for layer in document["layers"]}


class TestSeveralBudgets:
    def test_files_are_those_of_one_budget_each_and_calibration_is_done_once(
        self, files: Path, frivkit: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from frivkit.compression import compress

        calls, calibrate = [], compress.calibrate
        counted: Any = lambda *given, **more: calls.append(1) or calibrate(*given, **more)  # noqa: E731
        monkeypatch.setattr(compress, "calibrate", counted)
        ran = frivkit(
            *("compress", "net.onnx", "--macs", "0.75,0.5", *DATA),
            *("-o", "thin-{budget}.onnx", "--json", "found-{budget}.json"),
            *("--report", "{budget}.html", "--save-plan", "plan-{budget}.json"),
        )
        assert ran.code == 0, ran.err
        assert len(calls) == 1
        for share in ("0.75", "0.5"):
            assert frivkit(*HALF[:5], share, *DATA, "--json", "one.json").code == 0
            assert same_networks(files / "thin.onnx", files / f"thin-{share}.onnx")
            assert kept(read(f"found-{share}.json")) == kept(read("one.json"))
            assert read(f"found-{share}.json")["budget"]["share"] == float(share)
            assert read(f"plan-{share}.json")["schema"] == "frivkit.plan/1"
            assert (files / f"{share}.html").exists()
        assert ran.out.count("labels are the same") == 2

    @pytest.mark.parametrize(
        "places",
        [
            ("-o", "thin.onnx"),
            ("-o", "thin-{budget}.onnx", "--json", "found.json"),
            ("--dry-run", "--save-plan", "plan.json"),
        ],
    )
    def test_names_say_where_each_budget_goes(
        self, frivkit: Run, files: Path, places: tuple[str, ...]
    ) -> None:
        before = set(files.iterdir())
        ran = frivkit("compress", "net.onnx", "--macs", "0.75,0.5", *DATA, *places)
        assert (ran.code, ran.out) == (2, "")
        assert "2 budgets cannot all be written to" in ran.error()
        assert "{budget}" in ran.error()
        assert set(files.iterdir()) == before

    def test_a_budget_given_twice_is_one(self, frivkit: Run) -> None:
        ran = frivkit("compress", "net.onnx", "--macs", "0.5,0.50", *DATA, "--dry-run")
        assert (ran.code, ran.out.count("This is a plan")) == (0, 1)


class TestPlanFiles:
    def test_saved_plan_makes_the_same_file(self, files: Path, frivkit: Run) -> None:
        assert frivkit(*HALF, "--save-plan", "plan.json").code == 0
        again = ("compress", "net.onnx", "-o", "again.onnx", "--plan", "plan.json", *DATA)
        ran = frivkit(*again, "--json", "-")
        assert ran.code == 0, ran.err
        found = json.loads(ran.out)
        assert complaints(found) == []
        assert "not as frivkit wrote it" not in " ".join(found["warnings"])
        assert found["budget"]["kind"] == "plan"
        assert same_networks(files / "thin.onnx", files / "again.onnx")
        told = {prop.key: prop.value for prop in onnx.load("again.onnx").metadata_props}
        assert told["frivkit.budget"] == "plan 1"

    def test_dry_run_saves_the_plan_and_it_can_be_edited(self, frivkit: Run) -> None:
        assert frivkit(*HALF, "--dry-run", "--save-plan", "plan.json").code == 0
        edited = read("plan.json")
        first, second = edited["layers"]
        first["removed"], second["removed"], edited["factorized"] = [2], [0, 7], []
        Path("plan.json").write_text(json.dumps(edited))
        found = plan(frivkit, "--plan", "plan.json")
        assert "plan.json is not as frivkit wrote it" in " ".join(found["warnings"])
        assert kept(found) == {first["layer"]: CHANNELS - 1, second["layer"]: CHANNELS - 2}

    @pytest.mark.parametrize("budget", [("--macs", "0.5"), ("--latency", "0.5,0.4")])
    def test_plan_and_budget_are_one_too_many(self, frivkit: Run, budget: tuple[str, str]) -> None:
        ran = frivkit("compress", "net.onnx", "--plan", "p.json", *budget, *DATA, "--dry-run")
        assert (ran.code, ran.out) == (2, "")
        assert f"{budget[0]} and --plan are given" in ran.error()

    @pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"schema": "frivkit.plan/1"}'])
    def test_file_that_is_no_plan_is_one_line(self, frivkit: Run, content: str | None) -> None:
        if content is not None:
            Path("plan.json").write_text(content)
        ran = frivkit("compress", "net.onnx", "--plan", "plan.json", *DATA, "-o", "t.onnx")
        assert (ran.code, ran.out) == (2, "")
        assert "plan.json" in ran.error()
        assert not Path("t.onnx").exists()

    def test_plan_that_removes_nothing_is_refused(self, frivkit: Run) -> None:
        assert frivkit(*HALF, "--dry-run", "--save-plan", "plan.json").code == 0
        edited = read("plan.json")
        edited["factorized"] = edited["dropped_branches"] = []
        edited["layers"] = []
        Path("plan.json").write_text(json.dumps(edited))
        ran = frivkit("compress", "net.onnx", "--plan", "plan.json", *DATA, "-o", "t.onnx")
        assert ran.code == 1
        assert "under this plan" in ran.error()


class TestControl:
    def test_layers_are_left_whole(self, frivkit: Run) -> None:
        found = plan(frivkit, "--macs", "0.8", "--keep-layer", "conv1")
        assert kept(found)["conv1"] == CHANNELS
        assert found["budget"]["left"]["macs"] <= 0.8

    def test_ratios_and_least_units_hold(self, frivkit: Run) -> None:
        found = plan(frivkit, "--macs", "0.9", "--ratio", "conv2=0.5", "--round-to", "none")
        assert kept(found)["conv2"] == CHANNELS // 2
        few = ("--basis", "select", "--round-to", "none", "--tolerance", "0.99")
        assert min(kept(plan(frivkit, *few)).values()) < 3
        assert min(kept(plan(frivkit, *few, "--least", "3")).values()) == 3

    @pytest.mark.parametrize(("multiple", "widths"), [("4", {4, 8}), ("none", set(range(1, 9)))])
    def test_widths_are_multiples(self, frivkit: Run, multiple: str, widths: set[int]) -> None:
        found = plan(frivkit, "--params", "0.6", "--basis", "select", "--round-to", multiple)
        assert set(kept(found).values()) <= widths

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--keep-layer", "nobody*"], ["no layer matches 'nobody*'", "conv1, conv2"]),
            (["--ratio", "nobody=0.5"], ["no layer matches 'nobody'"]),
            (["--ratio", "conv1"], ["'conv1' is no pattern with a share"]),
            (["--ratio", "conv1=2"], ["no pattern with a share"]),
            (["--least", "0"], ["--least"]),
            (["--round-to", "0"], ["0 is not in the range"]),
            (["--round-to", "some"], ["'some' is not auto, none or a number"]),
            (["--target", "z80"], ["target is named 'z80'", "avx2"]),
            (["--batch", "0"], ["--batch"]),
        ],
        ids=" ".join,
    )
    def test_what_means_nothing_is_a_mistake(
        self, frivkit: Run, arguments: list[str], words: list[str]
    ) -> None:
        ran = frivkit(*HALF, *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert all(word in ran.error() for word in words), ran.err
        assert not Path("thin.onnx").exists()


class TestValues:
    """The types of options, by themselves."""

    @pytest.mark.parametrize(
        ("text", "shares"),
        [("0.5", (0.5,)), ("0.75, 0.5", (0.75, 0.5)), ("1", (1.0,)), ("5e-1,.5", (0.5,))],
    )
    def test_shares(self, text: str, shares: tuple[float, ...]) -> None:
        assert Shares().convert(text, None, None) == shares
        assert Shares().convert(shares, None, None) == shares

    @pytest.mark.parametrize("text", ["", ",", "0.5,", "0", "-0.5", "1.1", "nan", "inf", "half"])
    def test_no_shares(self, text: str) -> None:
        with pytest.raises(click.BadParameter):
            Shares().convert(text, None, None)

    @pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("none", 1), ("16", 16)])
    def test_multiples(self, text: str, value: object) -> None:
        assert Multiple().convert(text, None, None) == value

    @pytest.mark.parametrize("text", ["", "0", "-8", "8.0", "Auto", "8,16"])
    def test_no_multiples(self, text: str) -> None:
        with pytest.raises(click.BadParameter):
            Multiple().convert(text, None, None)

    @pytest.mark.parametrize(
        ("text", "value"), [("conv*=0.5", ("conv*", 0.5)), ("a=b=1", ("a=b", 1.0))]
    )
    def test_ratios(self, text: str, value: tuple[str, float]) -> None:
        assert Ratio().convert(text, None, None) == value
        assert Ratio().convert(value, None, None) == value

    @pytest.mark.parametrize("text", ["", "=0.5", "a", "a=", "a=0", "a=2", "a=nan", "a=x"])
    def test_no_ratios(self, text: str) -> None:
        with pytest.raises(click.BadParameter):
            Ratio().convert(text, None, None)
