"""Networks that others trained and published, from inspection to analysis.

What is said of each was read off its file and its publication by hand.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from frivkit.cli import main
from frivkit.measure.pipeline import Request, open_study
from frivkit.measure.study import Study
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.session import Device
from frivkit.units.masks import Mask
from tests.contract import check_analysis

pytestmark = pytest.mark.assets

MEMORY = 1 << 30


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a network.

    Attributes:
        sites: The number of layers with units.
        some: Units and sizes of places of some of them, by a part of the layer's name that no
            other has.
        skipped: Weighted nodes that hold no units to ablate: the last layer.
        accuracy: The least share of examples whose label it meets.
        examples: How many of them are enough for a test.
    """

    sites: int
    some: dict[str, tuple[int, list[int]]]
    skipped: int
    accuracy: float
    examples: int


KNOWN = {
    # Two convolutions and a hidden layer.
    "mnist": Known(
        3,
        {"features.0": (32, [28, 28]), "features.3": (64, [14, 14]), "classifier.0": (128, [])},
        1,
        0.98,
        200,
    ),
    # PP-LCNet at its full width (arXiv:2109.15099): a stem, 13 blocks of a depthwise and a
    # pointwise convolution, of which the last two have two squeeze-and-excite layers each, and a
    # pointwise convolution before the classifier.
    "orientation": Known(
        1 + 2 * 13 + 2 * 2 + 1,
        {
            "Conv.0": (16, [112, 112]),
            "Conv.24": (64, [1, 1]),
            "Conv.25": (256, [1, 1]),
            "Conv.31": (1280, [1, 1]),
        },
        1,
        0.9,
        12,
    ),
    # A dense layer on each of 2048 bytes, and a convolution 5 wide over 512 groups of 4 of them.
    "magika": Known(2, {"Dense_0": (64, [2048]), "Conv_0": (512, [512 - 5 + 1])}, 1, 0.8, 32),
}


@pytest.fixture(params=list(KNOWN))
def known(request: pytest.FixtureRequest) -> tuple[Known, Path, Path]:
    """Return what is known of a network, its file and its examples."""
    files = {
        "mnist": ("mnist_model", "mnist_digits"),
        "orientation": ("orientation_model", "orientation_pages"),
        "magika": ("magika_model", "magika_bytes"),
    }[request.param]
    model, data = (request.getfixturevalue(name) for name in files)
    return KNOWN[request.param], model, data


def ran(capfd: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """Run the program and give the document it writes to stdout."""
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments), "--json", "-"])
    out, err = capfd.readouterr()
    assert not end.value.code, err
    document: dict[str, Any] = json.loads(out)
    return document


def test_sites_are_those_found_by_hand(known, capfd: pytest.CaptureFixture[str]) -> None:
    expected, model, _ = known
    document = ran(capfd, "inspect", model)
    sites = document["sites"]
    assert len(sites) == expected.sites
    for part, (units, places) in expected.some.items():
        (site,) = (s for s in sites if f".{part}." in f".{s['layer']}.")
        assert (site["units"], site["spatial"]) == (units, places), part
    assert len(document["skipped"]) == expected.skipped


def test_weights_of_the_mnist_network_are_counted(
    mnist_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = ran(capfd, "inspect", mnist_model)["model"]
    layers = [(32, 1 * 9, 28 * 28), (64, 32 * 9, 14 * 14), (128, 64 * 7 * 7, 1), (10, 128, 1)]
    assert model["parameters"] == sum(units * (reads + 1) for units, reads, _ in layers) == 421_642
    assert model["macs"] == sum(units * reads * places for units, reads, places in layers)


def test_analysis_is_complete_and_makes_sense(
    known, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    expected, model, data = known
    document = ran(
        capfd,
        *("analyze", model, "--data", f"npz:{data}", "--examples", expected.examples),
        *("--units", "map", "--option", "levels=3", "--option", "refine=1"),
        *("--option", "repeats=1", "--cache", tmp_path / "cache"),
    )
    check_analysis(document)
    scopes = [m["scope"] for m in document["measurements"]]
    assert scopes == ["network"] + ["layer"] * expected.sites
    assert [m["layer"] for m in document["measurements"][1:]] == [
        site["layer"] for site in document["sites"]
    ]
    assert document["data"]["accuracy"] >= expected.accuracy
    assert document["data"]["labels_in_largest_class"] < 0.9
    network, *layers = (m["value"] for m in document["measurements"])
    assert 0 < network < 1
    assert network < max(layers)  # all at once are not easier to lose than the easiest layer


def study_of(known: tuple[Known, Path, Path], examples: int) -> Study:
    _, model, data = known
    return open_study(Request(model, data=f"npz:{data}", examples=examples))[0]


def through(study: Study, sites: list[Any], inputs: dict[str, Any]) -> np.ndarray:
    """Return the output under masks that keep every unit."""
    selector = study.units("map")
    way = PerturbedModel(study.model, sites, study.model.output(), Device(), MEMORY)
    mask = Mask({site.name: np.ones(selector.count(site), np.bool_) for site in sites})
    return way.run(way.prepare(inputs), mask, selector)


def plain(study: Study, path: Path, inputs: dict[str, Any]) -> np.ndarray:
    """Return the output of ONNX Runtime alone."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        path, sess_options=options, providers=["CPUExecutionProvider"]
    )
    return session.run([study.model.output()], inputs)[0]


@pytest.fixture
def one_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ONNX Runtime from laying channels out in blocks.

    It does so between operators that it has such kernels for, and a mask is a place where blocks
    end.  An average over places then adds the same numbers in another order.
    """
    opened: Callable[..., Any] = onnxruntime.InferenceSession

    def session(*arguments: Any, **more: Any) -> Any:
        return opened(*arguments, disabled_optimizers=["NchwcTransformer"], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


@pytest.mark.usefixtures("one_layout")
def test_masks_that_keep_everything_change_no_bit(known) -> None:
    study = study_of(known, 8)
    inputs = dict(study.data.read(0, 8).inputs)
    expected = plain(study, known[1], inputs)
    baseline = BaselineModel(study.model, study.model.output(), Device(), MEMORY)
    assert np.array_equal(baseline.run(inputs), expected)
    assert np.array_equal(through(study, list(study.sites), inputs), expected)
    for site in study.sites:
        assert np.array_equal(through(study, [site], inputs), expected), site.layer


def test_masks_that_keep_everything_change_no_label_however_channels_lie(known) -> None:
    study = study_of(known, 8)
    inputs = dict(study.data.read(0, 8).inputs)
    expected = plain(study, known[1], inputs)
    baseline = BaselineModel(study.model, study.model.output(), Device(), MEMORY)
    assert np.array_equal(baseline.run(inputs), expected)
    for sites in [list(study.sites), *([site] for site in study.sites)]:
        found = through(study, sites, inputs)
        assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))
        assert np.allclose(found, expected, rtol=0, atol=1e-6), [site.layer for site in sites]
