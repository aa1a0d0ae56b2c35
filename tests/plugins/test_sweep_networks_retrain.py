"""Networks of a recipe that are trained again and kept."""

import json
from dataclasses import replace

import onnx
import pytest
from click.testing import CliRunner

from frivkit.cli import main
from frivkit.errors import UsageError
from frivkit.experiments.jobs import SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.results import encoded_row
from frivkit.experiments.runner import run
from frivkit_sweep_networks.retrain import command, differences, file_name, find_jobs

RECIPE = """
title = "a trial"
protocol = "paper"

[[networks]]
name = "flat"
architecture = "mlp"
source = "digits"
keys = { scale = "1/16", n = 150 }
options = { epochs = 2, lr = 0.1 }

[[curves]]
figure = "A"
series = "flat"
panels = ["redundant", "test accuracy"]

[scales.smoke]
widths = [0.125, 0.25, 0.5]
seeds = [0, 1]
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.toml").write_text(RECIPE)
    return "trial.toml"


def test_narrowest_and_widest_are_those_of_the_sweep(recipe, tmp_path):
    (plan,) = read_recipe(recipe, SweepRequest("smoke"))
    run(plan, tmp_path / "sweep")
    before = (tmp_path / "sweep/results.jsonl").read_bytes()
    arguments = [recipe, "flat", "--scale", "smoke", "--seed", "1", "-o", "nets"]
    ran = CliRunner().invoke(command, [*arguments, "--compare", "sweep"])
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("the same as in sweep") == 2
    assert (tmp_path / "sweep/results.jsonl").read_bytes() == before
    names = sorted(path.name for path in (tmp_path / "nets").iterdir())
    assert names == ["flat-1_2-1.onnx", "flat-1_8-1.onnx"]
    sizes = [
        onnx.load(tmp_path / "nets" / name).graph.initializer[0].dims[0] for name in reversed(names)
    ]
    assert sizes[1] == 4 * sizes[0]
    rows = [json.loads(line) for line in before.splitlines()]
    changed = [
        row | {"value": 0.5} if row.get("measurement") == "test accuracy" else row for row in rows
    ]
    for row in changed:
        row.pop("crc32", None)  # it is that of the former value
    (tmp_path / "sweep/results.jsonl").write_bytes(b"".join(map(encoded_row, changed)))
    again = [*arguments, "--width", "1/8", "--compare", "sweep"]
    ran = CliRunner().invoke(command, again)
    assert "test accuracy is " in ran.output
    assert ", and was 0.5" in ran.output
    (tmp_path / "sweep/results.jsonl").write_text("")
    assert "sweep has no such network" in CliRunner().invoke(command, again).output


def test_what_is_not_in_the_recipe_is_refused(recipe):
    request = SweepRequest("smoke")
    with pytest.raises(UsageError, match="trains no network 'deep'; it has flat"):
        find_jobs(recipe, request, "deep", (), 0)
    with pytest.raises(UsageError, match="the widths 1/8, 1/4, 1/2 and the seeds 0, 1, not all of"):
        find_jobs(recipe, request, "flat", (0.125, 1.0), 0)
    with pytest.raises(UsageError, match="with seed 2"):
        find_jobs(recipe, request, "flat", (), 2)


def test_program_fails_as_the_commands_do(recipe, tmp_path, capsys):
    """In one line with their exit codes, and before it trains what it could not write."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/results.jsonl").write_bytes(
        encoded_row({"measurement": "test accuracy", "network": "flat"})[:-9] + b'"}\n'
    )
    here = [recipe, "flat", "--scale", "smoke", "--width", "1/8"]
    for words, code, message in (
        ([recipe, "deep", "--scale", "smoke", "-o", "nets"], 2, "the recipe trial.toml trains no"),
        ([*here, "-o", "nets", "--width", "x"], 2, "give numbers such as 1/8 or 0.5"),
        ([*here, "-o", "file/nets"], 1, "file/nets cannot be written: Not a directory"),
        ([*here, "-o", "nets", "--compare", "empty"], 1, "empty holds no results.jsonl"),
        ([*here, "-o", "nets", "--compare", "odd"], 1, "odd/results.jsonl cannot be read"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words, command, "retrain")
        out, err = capsys.readouterr()
        assert (ended.value.code, out) == (code, "")
        (line,) = err.splitlines()
        assert line.startswith("frivkit: ")
        assert message in line
    assert not list(tmp_path.rglob("*.onnx"))


def test_file_lies_in_its_folder_whatever_the_network_is_called(recipe):
    (job, _) = find_jobs(recipe, SweepRequest("smoke"), "flat", (), 0)
    assert file_name(replace(job, label="../a/b", choice={"x": "1/2"})) == ".._a_b-1_8-0-x=1_2.onnx"


def test_rows_that_are_of_no_network_are_passed_over(recipe):
    (job, _) = find_jobs(recipe, SweepRequest("smoke"), "flat", (), 0)
    assert differences(job, {"epochs": 2}, [{"measurement": "epochs"}, {"figure": "A"}]) is None


def test_networks_of_the_study_are_found():
    request = SweepRequest("laptop", "reference", ("cifar10:cifar10",))
    for label in ("All", "AlexNet-rand", "ResNet56", "ResNet56-rand"):
        narrow, wide = find_jobs("fig4a", request, label, (), 0)
        assert wide.width >= 8 * narrow.width
