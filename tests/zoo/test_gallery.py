"""The gallery of pretrained networks: its statistics, and its page against the stored results."""

import json
import xml.etree.ElementTree as ET
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.zoo.gallery import ABSENT, FOLDER, SHOWN, figure, page, rank_correlation, slug
from tests.zoo.packaged import PACKAGED

RESULTS = json.loads((FOLDER / "results.json").read_bytes())


@given(st.lists(st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.9]), min_size=3, max_size=40))
def test_rank_correlation_is_that_of_scipy(shares):
    found = rank_correlation(shares)
    if len(set(shares)) == 1:
        assert np.isnan(found.value)
        assert found.p == 1
        return
    assert found.value == pytest.approx(stats.spearmanr(range(len(shares)), shares).statistic)
    if found.interval is not None:
        assert found.interval[0] < found.value < found.interval[1]


def test_p_is_exact_for_few_layers():
    shares = (0.2, 0.1, 0.4, 0.5, 0.3)
    observed = abs(stats.spearmanr(range(5), shares).statistic)
    others = [abs(stats.spearmanr(range(5), order).statistic) for order in permutations(shares)]
    assert rank_correlation(shares).p == np.mean([each >= observed - 1e-9 for each in others])
    assert rank_correlation((0.1, 0.2, 0.3)).p == pytest.approx(2 / 6)


def test_p_of_many_layers_is_near_that_of_scipy():
    generator = np.random.default_rng(5)
    shares = generator.random(30) + np.arange(30) / 60
    expected = stats.spearmanr(range(30), shares).pvalue
    assert rank_correlation(list(shares)).p == pytest.approx(expected, abs=0.01)


def test_page_is_made_of_the_stored_results():
    assert list(RESULTS["networks"]) == list(SHOWN)
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == page(RESULTS)
    drawn = {path.name for path in (FOLDER / "figures").iterdir()}
    assert drawn == {f"{slug(name)}.svg" for name in SHOWN}
    assert figure(RESULTS["networks"]["ccexam mnist"]).startswith(b"<?xml")


def test_every_trained_network_of_a_package_is_shown_or_left_out_with_a_reason():
    trained = {name for name in PACKAGED if not name.startswith("light ")}
    assert trained == {*SHOWN, *ABSENT}


def test_layers_are_counted_in_whole_numbers_on_the_figures():
    svg = figure(RESULTS["networks"]["magika"])
    drawn = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")  # noqa: S314  # our own
    numbers = sorted(each.text for each in drawn if each.text and each.text.isdigit())
    assert numbers == ["1", "1", "2", "2"]
    assert b">1.50<" not in svg


def test_interval_without_width_is_left_out():
    equal = RESULTS["networks"]["NudeNet YOLOv8n"]["layers"][1]["prunable"]
    assert equal[1][0] == equal[1][1]
    assert f"| `model.0.conv` | 16 | {equal[0]:.2f} | " in page(RESULTS)


def test_layers_are_all_that_the_networks_have():
    for name, network in RESULTS["networks"].items():
        assert len(network["layers"]) == 1 + PACKAGED[name].sites
        whole, *layers = network["layers"]
        assert whole["layer"] is None
        assert whole["units"] == sum(layer["units"] for layer in layers)


def test_layers_of_few_observations_are_marked_and_left_out():
    from tests.zoo.gallery import LEAST_ROWS, correlations

    for name, network in RESULTS["networks"].items():
        layers = network["layers"][1:]
        many = [each for each in layers if each["rows"] >= LEAST_ROWS * each["units"]]
        expected = stats.spearmanr(range(len(many)), [each["redundant"][0] for each in many])
        assert correlations(network)["redundant"].value == pytest.approx(expected.statistic), name
    text = page(RESULTS)
    marked = sum(
        each["rows"] < LEAST_ROWS * each["units"]
        for network in RESULTS["networks"].values()
        for each in network["layers"][1:]
    )
    assert text.count(" † |") == marked
