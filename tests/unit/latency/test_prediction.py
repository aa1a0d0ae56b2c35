"""Predicted latency, with profiles that are computed instead of measured."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from frivkit.cache import Cache
from frivkit.graph.layout import IntArray
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.graph.surgery.factorize import factorize
from frivkit.graph.surgery.narrow import narrow
from frivkit.latency import prediction
from frivkit.latency.fast_widths import fast_counts
from frivkit.latency.features import node_features, other_terms
from frivkit.latency.prediction import LatencyModel, fit_latency
from frivkit.latency.stored import latency_key, stored_latency
from frivkit.latency.target import this_machine
from frivkit.progress import Silent
from frivkit.runtime.optimized import ProfiledSession
from frivkit.runtime.session import Device
from tests.nets import examples
from tests.unit.latency.builder import Builder

BLOCK = this_machine().block
ONE = Device(threads=1)


def spread_counts(counts: Sequence[IntArray], number: int, seed: int) -> NDArray[np.intp]:
    """Return random numbers of pruning groups that stay, whose widths are spread evenly.

    Args:
        counts: The allowed numbers of each layer group, sorted; the last is of all groups.
        number: How many narrowings to draw.
        seed: The seed.

    Returns:
        The number of groups for each narrowing and each layer group, shape (number, layer groups).
        For each layer group they lie near evenly spread shares from a tenth to all.
    """
    generator = np.random.default_rng(seed)
    drawn = np.empty((number, len(counts)), np.intp)
    for column, allowed in enumerate(counts):
        shares = (generator.permutation(number) + generator.random(number)) / number
        wanted = (0.1 + 0.9 * shares) * allowed[-1]
        nearest = np.abs(allowed[:, None] - wanted).argmin(axis=0)
        drawn[:, column] = allowed[nearest]
    return drawn


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    build = Builder()
    inner = build.relu(build.conv("x", 6 * BLOCK, 3))
    inner = build.relu(build.conv(inner, 6 * BLOCK, 3, groups=6 * BLOCK))
    inner = build.relu(build.conv(inner, 5 * BLOCK))
    end = build.dense(build.dense(inner, 40), 4)
    return build.model(end, tmp_path_factory.mktemp("net"))


def variants(model, number, seed):
    """Return narrowings at fast widths that are spread evenly."""
    sites = find_sites(model)
    graph = analyze_groups(model, sites)
    counts = [c[c >= BLOCK] for c in fast_counts(model, graph, this_machine())]
    found = []
    for row in spread_counts(counts, number, seed):
        stays = np.ones(graph.groups.count, bool)
        for layers, count in zip(graph.groups.layer_groups, row, strict=True):
            stays[np.unique(graph.groups.of[layers[0]])[count:]] = False
        found.append(narrow(model, sites, graph.groups.flags(stays)))
    return found


def seconds(graph):
    """Compute what a graph takes, by a rule that a sum over nodes can follow exactly."""
    total = 2e-6 * other_terms(graph.graph, node_features(graph.graph, BLOCK))[1]
    for position, features in node_features(graph.graph, BLOCK).items():
        total += features.terms @ [0.1, 0.02, 0.01, 0.05 / (1 + position)]
    return total


def computed_profiles(original, graphs, *_):
    """Return profiles by that rule, with a tenth more for a run than for its nodes."""
    whole = seconds(original)
    profiles = []
    for graph in (*graphs, original):
        weighted = node_features(graph.graph, BLOCK)
        times = {
            position: features.terms @ [0.1, 0.02, 0.01, 0.05 / (1 + position)] / whole
            for position, features in weighted.items()
        }
        nodes = list(graph.graph)
        terms = other_terms(graph.graph, weighted)
        profiles.append(
            prediction._Profile(
                {position: nodes[position].name for position in weighted},
                weighted,
                times,
                2e-6 * terms[1] / whole,
                terms,
                1 + 0.8 * (seconds(graph) / whole - 1),
            )
        )
    return profiles, 50.0


@pytest.fixture
def fitted(network, monkeypatch):
    monkeypatch.setattr(prediction, "_profiles", computed_profiles)
    return fit_latency(network.ir, variants(network, 16, 0), examples(network, 1), ONE, Silent())


def test_it_predicts_what_a_sum_over_nodes_takes(network, fitted):
    assert fitted.predict(network.ir) == pytest.approx(50)
    for graph in variants(network, 8, 1):
        share = 1 + 0.8 * (seconds(graph) / seconds(network.ir) - 1)
        assert fitted.predict(graph) == pytest.approx(50 * share, rel=0.03)


def test_a_factorized_node_takes_less_at_a_lower_rank(network, fitted):
    def made(rank):
        columns, outputs = 6 * BLOCK, 5 * BLOCK
        first, second = np.ones((columns, rank)), np.ones((rank, outputs))
        return fitted.predict(factorize(network.ir, {"conv4": (first, second, None)}))

    assert made(BLOCK) < made(2 * BLOCK) < made(4 * BLOCK)


def test_json_keeps_all_of_it(network, fitted):
    again = LatencyModel.from_json(fitted.json)
    assert again == fitted
    assert again.predict(network.ir) == fitted.predict(network.ir)


def test_the_cache_keeps_it_for_this_machine(fitted, tmp_path):
    cache = Cache(tmp_path)
    key = latency_key("sha", ONE, 1)
    assert stored_latency(cache, key, lambda: fitted) == fitted
    assert stored_latency(cache, key, pytest.fail) == fitted
    others = (("other", ONE, 1), ("sha", Device(threads=2), 1), ("sha", ONE, 2))
    assert len({key.digest, *(latency_key(*other).digest for other in others)}) == 4


def test_it_is_fitted_to_measured_profiles(network, monkeypatch):
    monkeypatch.setattr(prediction, "SECONDS", 0.0)
    few = variants(network, 4, 0)
    found = fit_latency(network.ir, few, examples(network, 1), ONE, Silent())
    assert found.milliseconds > 0
    assert found.predict(network.ir) == pytest.approx(found.milliseconds)
    assert set(found.nodes) == {"conv0", "conv2", "conv4", "dense8", "dense9"}


def test_a_profile_has_the_time_of_every_weighted_node(network):
    session = ProfiledSession(prediction.numbered(network.ir), ONE)
    for _ in range(3):
        session.run(examples(network, 2))
    sums = prediction._sums(network.ir, session.times())
    assert set(node_features(network.graph, BLOCK)) <= set(sums)
    assert all(times.shape == (3,) and (times >= 0).all() for times in sums.values())


def test_spread_counts_are_allowed_and_reach_from_few_to_all():
    allowed = [np.array([8, 16, 24, 32]), np.arange(1, 101)]
    drawn = spread_counts(allowed, 20, 0)
    assert drawn.shape == (20, 2)
    assert set(drawn[:, 0]) == {8, 16, 24, 32}
    assert drawn[:, 1].min() <= 16
    assert drawn[:, 1].max() >= 90
    assert not np.array_equal(drawn, spread_counts(allowed, 20, 1))
