"""Without a refit, predicted errors are those of what is done: weights that are left out."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from frivkit.compression.budget import Budget
from frivkit.compression.compress import Compressor
from frivkit.compression.constraints import Constraints
from frivkit.compression.method import Method
from frivkit.measure.pipeline import Request
from tests import nets
from tests.nets import examples, opened
from tests.program import write_cnn, write_mlp, write_rows

MLP = ("layer", "w", ["z"])
CNN = ("conv1", "v", ["conv2"])


@pytest.fixture(params=["mlp", "cnn"])
def network(request, tmp_path):
    """Return a file, its data, a layer, the weight that reads it and what that writes."""
    path, data = tmp_path / "net.onnx", tmp_path / "x.npz"
    if request.param == "mlp":
        write_mlp(path)
        write_rows(data, n=400)
        return path, data, *MLP
    write_cnn(path)
    write_rows(data, 1, 8, 8, n=100)
    return path, data, *CNN


def compressor(path, data, refit):
    request = Request(path, data=f"npz:{data}")
    method = Method(basis="select", refit=refit)
    return Compressor(request, method=method, constraints=Constraints(round_to=1))


def measured(path, x, weight, output, removed):
    """Return the squared change of a tensor as a share of its variance, the weights set to 0."""
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info(output, 1, None))
    outputs = []
    for units in ([], removed):
        (stored,) = (each for each in model.graph.initializer if each.name == weight)
        array = numpy_helper.to_array(stored).copy()
        array[:, units] = 0
        stored.CopyFrom(numpy_helper.from_array(array, weight))
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        outputs.append(np.moveaxis(session.run([output], {"x": x})[0], 1, -1).astype(float))
    before, after = (each.reshape(-1, each.shape[-1]) for each in outputs)
    return ((after - before) ** 2).mean(axis=0).sum() / before.var(axis=0).sum()


def test_predicted_errors_are_those_of_the_weights_that_are_left_out(network):
    path, data, layer, weight, (output,) = network
    made = compressor(path, data, "none")
    names = {site.layer: site.name for site in made.calibration.site_map.sites}
    (ranking,) = (each for each in made.allocator.moves.units if names[layer] in each.sites)
    groups = made.calibration.pruning_graph.groups
    (site,) = ranking.sites
    chosen = made.calibration.run.data
    x = chosen.read(0, chosen.examples).inputs["x"]
    for count in (1, len(ranking.order) // 2, len(ranking.order) - 1):
        removed = np.flatnonzero(np.isin(groups.of[site], ranking.order[:count]))
        due = measured(path, x, weight, output, removed)
        # Of pictures some positions are drawn, of which moments are made.
        assert ranking.errors[count - 1] == pytest.approx(due, rel=2e-3 if x.ndim == 2 else 0.2)


def test_a_tolerance_without_a_refit_removes_no_more_than_it_allows(network):
    path, data, layer, weight, (output,) = network
    left = {}
    for refit in ("none", "ridge"):
        made = compressor(path, data, refit)
        plan, _ = made.plan(Budget("tolerance", 0.1))
        (keep,) = (
            plan.keep[site.name] for site in made.calibration.site_map.sites if site.layer == layer
        )
        left[refit] = int(keep.sum())
        if refit == "none":
            chosen = made.calibration.run.data
            x = chosen.read(0, chosen.examples).inputs["x"]
            assert measured(path, x, weight, output, np.flatnonzero(~keep)) <= 0.1 * (
                1.01 if x.ndim == 2 else 1.2
            )
    assert left["none"] >= left["ridge"]


def test_plans_under_every_budget_are_chosen_by_the_errors_of_cuts(network):
    path, data, *_ = network
    made = {refit: compressor(path, data, refit) for refit in ("none", "ridge")}
    for budget in (Budget("units", 0.5), Budget("macs", 0.6)):
        plans = {refit: each.plan(budget)[0] for refit, each in made.items()}
        assert plans["none"].error > plans["ridge"].error
    curves = [ranking.errors for ranking in made["none"].allocator.moves.units]
    tolerant, _ = made["none"].plan(Budget("tolerance", 0.05))
    assert tolerant.error <= 0.05 * len(curves)


def test_readers_without_a_refit_of_any_kind_lose_shares_of_what_they_read(tmp_path):
    path = tmp_path / "net.onnx"
    model = opened(nets.network("recurrent"), path)
    np.savez(tmp_path / "x.npz", **examples(model, 64))
    made = compressor(path, tmp_path / "x.npz", "none")
    unfitted = [
        group.sites
        for group in made.calibration.layer_groups
        if any(term.consumer is None for term in group.terms)
    ]
    assert unfitted
    for ranking in made.allocator.moves.units:
        if ranking.sites in unfitted:
            assert ranking.errors[-1] == pytest.approx(1)
            assert (np.diff(ranking.errors) > 0).all()
