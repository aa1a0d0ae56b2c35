"""Prunability with ``--fast``: the same crossings from fewer runs."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from frivkit.cli.analyze import command
from frivkit.errors import UsageError
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Request, analyze, open_study
from frivkit.report.analysis_html import analysis_page
from frivkit.runtime.execution import Execution
from frivkit.units.masks import Mask
from frivkit_ablation.fast_search import side_is_sure
from frivkit_unit_selectors.selectors import LOCATION
from tests.contract import complaints
from tests.nets import network

EXAMPLES = 700


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a network and data, one class after the other: no prefix stands for the whole."""
    folder = tmp_path_factory.mktemp("fast")
    (folder / "m.onnx").write_bytes(network("mlp").SerializeToString())
    request = Request(folder / "m.onnx", execution=Execution(threads=1))
    shape = open_study(request)[0].model.inputs[0].shape
    x = np.random.default_rng(0).normal(size=(EXAMPLES, *shape)).astype(np.float32)
    np.savez(folder / "x.npz", x=x)
    labels = open_study(replaced(request, folder))[0].labels()[:, 0]
    np.savez(folder / "x.npz", x=x[np.argsort(labels, kind="stable")])
    return replaced(request, folder)


def replaced(request: Request, folder) -> Request:
    return Request(request.model, data=f"npz:{folder / 'x.npz'}", execution=request.execution)


def measured(request: Request, **options: str) -> tuple[Measurement, ...]:
    return analyze(request, ["prunability"], options).measurements


@pytest.mark.parametrize("more", [{}, {"bisect": "true"}, {"tolerance": "0.5", "repeats": "1"}])
def test_crossings_are_those_of_the_full_measurement(files, more):
    full, fast = measured(files, **more), measured(files, fast="true", **more)
    for exact, quick in zip(full, fast, strict=True):
        assert quick.value == exact.value
        assert quick.detail["values"] == exact.detail["values"]
        assert quick.detail["levels"] == exact.detail["levels"]
        assert quick.detail["crossed"] == exact.detail["crossed"]
        line = 1 - exact.detail["tolerance"]
        for curve, estimate in zip(
            exact.detail["unchanged"], quick.detail["unchanged"], strict=True
        ):
            pairs = [(a, b) for a, b in zip(curve, estimate, strict=True) if a is not None]
            assert all((a >= line) == (b >= line) for a, b in pairs)
        saving = quick.detail["fast"]
        assert 0 < saving["runs"] < saving["full_runs"]
        assert saving["full_runs"] == EXAMPLES * sum(
            share is not None for curve in exact.detail["unchanged"] for share in curve
        )
        assert quick.interval == pytest.approx(exact.interval, abs=0.1)
        assert "fast" not in exact.detail
    assert sum(m.detail["fast"]["runs"] for m in fast) < 0.75 * sum(
        m.detail["fast"]["full_runs"] for m in fast
    )


def test_the_reference_protocol_takes_its_examples_only(files):
    request = Request(files.model, data=files.data, protocol="reference", execution=files.execution)
    full, fast = measured(request), measured(request, fast="true")
    assert [m.value for m in fast] == [m.value for m in full]
    assert {m.examples for m in fast} == {(EXAMPLES // 128 - 1) * 128}


def test_few_examples_are_all_run(files):
    few = Request(files.model, data=files.data, examples=50, execution=files.execution)
    full, fast = measured(few), measured(few, fast="true")
    for exact, quick in zip(full, fast, strict=True):
        assert (quick.value, quick.interval) == (exact.value, exact.interval)
        assert quick.detail["unchanged"] == exact.detail["unchanged"]
        assert quick.detail["fast"]["runs"] == quick.detail["fast"]["full_runs"]


def test_the_command_shows_the_saving_in_text_json_and_page(files, tmp_path):
    arguments = [str(files.model), "--data", files.data, "--threads", "1", "--no-cache"]
    place = tmp_path / "a.json"
    ran = CliRunner().invoke(command, [*arguments, "--fast", "--json", str(place)])
    assert ran.exit_code == 0, ran.output
    document = json.loads(place.read_text())
    assert complaints(document) == []
    runs = [m["detail"]["fast"] for m in document["measurements"]]
    saved = 1 - sum(each["runs"] for each in runs) / sum(each["full_runs"] for each in runs)
    line = f"--fast: {saved:.0%} of the runs of examples were left out"
    assert line in ran.output
    assert any(line in warning for warning in document["warnings"])
    assert line in analysis_page(document)
    refused = CliRunner().invoke(command, [*arguments, "--fast", "--metric", "redundancy"])
    assert isinstance(refused.exception, UsageError)
    assert "fast" in str(refused.exception)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.78, 0.82, 1.0])
def test_intervals_miss_as_rarely_as_they_say(share):
    """Follow one curve's share over growing draws, as a level is run."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        flags = generator.random(2048) < share
        exact = flags.mean() >= 0.8
        for drawn in (64, 128, 256, 512, 1024):
            if side_is_sure(flags[:drawn].mean(), drawn, 0.8):
                wrong += (flags[:drawn].mean() >= 0.8) != exact
                break
    assert wrong <= 1


def test_examples_that_are_run_apart_give_what_they_give_together(files):
    study = open_study(files)[0]
    site = study.sites[0]
    keep = np.random.default_rng(0).random(LOCATION.count(site)) < 0.4
    masks = [Mask({site.name: keep}), Mask({site.name: np.ones_like(keep)})]
    among = np.array([0, 3, 4, 200, EXAMPLES - 1])
    together, apart = (
        study.unchanged(masks, LOCATION),
        study.unchanged(masks, LOCATION, among=among),
    )
    assert np.array_equal(apart.shares, together.shares[:, among])
