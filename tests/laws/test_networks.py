"""The networks of the laws are what they are said to be."""

from pathlib import Path

import numpy as np
import pytest

from frivkit.measure.pipeline import Request, open_study
from frivkit.runtime.memory import batch_size, example_bytes
from frivkit.testing.laws.metric_rules import BATCH
from frivkit.testing.networks import EXAMPLES, LabelledNetwork, small_cnn, small_mlp
from frivkit.testing.tiny_models import evaluate
from frivkit.units.moments import merged

FITTED = [small_mlp, small_cnn]


@pytest.mark.parametrize("make", FITTED)
class TestFitted:
    def test_tells_three_classes_apart(self, make) -> None:
        network = make()
        found = evaluate(network.model, network.x).argmax(axis=1)
        assert (found == network.y).mean() > 0.8
        assert set(found.tolist()) == {0, 1, 2}

    def test_no_unit_is_dead_or_always_on(self, make, tmp_path: Path) -> None:
        study = opened(make(), tmp_path)
        assert {site.layer: site.width for site in study.sites} == {
            layer: make().weights.units(layer) for layer in make().weights.hidden
        }
        for _, parts in study.moments(study.units("map")):
            assert (merged(parts).variance > 0).all()

    def test_computes_the_same_with_units_in_another_order(self, make) -> None:
        network = make()
        wanted = evaluate(network.model, network.x)
        for layer in network.weights.hidden:
            order = np.roll(np.arange(network.weights.units(layer)), 1)
            permuted = network.weights.rewired(layer, order.tolist())
            assert not np.array_equal(permuted.layers[layer][0], network.weights.layers[layer][0])
            np.testing.assert_allclose(evaluate(permuted.model(), network.x), wanted, atol=1e-5)

    def test_computes_the_same_with_copies(self, make) -> None:
        network = make()
        wanted = evaluate(network.model, network.x)
        for layer in network.weights.hidden:
            units = network.weights.units(layer)
            copied = network.weights.rewired(layer, [*range(units), 0, 1, 0])
            assert copied.units(layer) == units + 3
            np.testing.assert_allclose(evaluate(copied.model(), network.x), wanted, atol=1e-5)

    def test_silenced_unit_is_off_for_every_example(self, make, tmp_path: Path) -> None:
        network = make()
        for layer in network.weights.hidden:
            other = network.instead("silenced", network.weights.silenced(layer, 1))
            study = opened(other, tmp_path)
            rows = next(rows for _, rows in study.activations(study.units("map")))
            (name,) = (site.name for site in study.sites if site.layer == layer)
            assert not rows[name][:, 1].any()
            assert rows[name].any()


def test_small_memory_splits_the_data_unevenly(tmp_path: Path) -> None:
    study = opened(small_cnn(), tmp_path)
    assert EXAMPLES % BATCH
    graph = study.model.graph
    assert batch_size(graph, BATCH * example_bytes(graph), study.model.batch) == BATCH


def opened(network: LabelledNetwork, folder: Path):
    model, data = network.write(folder / network.name)
    return open_study(Request(model, data=f"npz:{data}"))[0]
