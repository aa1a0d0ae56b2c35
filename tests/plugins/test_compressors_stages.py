"""A network run in stages gives the tensors of a whole run, and runs no node twice where it can."""

import numpy as np
import pytest

from frivkit.compression.linear_consumers import distinct_sources, find_linear_consumers
from frivkit.compression.patch_moments import PatchReader
from frivkit.compression.plan import ridge_fits
from frivkit.data import open_data
from frivkit.graph.model import Model
from frivkit.graph.sites.groups import analyze_groups
from frivkit.graph.sites.site_map import find_sites
from frivkit.runtime.execution import Execution
from frivkit_compressors import regression, sequential, stages
from tests.nets import NETS, examples, network, opened
from tests.planning import allocator, calibrated
from tests.plugins.test_compressors_refits import layers, write_data, write_residual
from tests.unit.compression.test_compress import write_layers
from tests.unit.units.test_perturbations import SITELESS

NAMES = [name for name in NETS if name not in SITELESS and "dynamo" not in name]
SIZE = 7


def sources_of(model: Model):
    sites = find_sites(model)
    found = distinct_sources(find_linear_consumers(model, sites, analyze_groups(model, sites)))
    position = {value.name: i for i, node in enumerate(model.graph) for value in node.outputs}
    return sorted(found, key=lambda source: position.get(source.tensor, -1))


@pytest.mark.parametrize("room", [0, 1 << 30])
@pytest.mark.parametrize("name", NAMES)
def test_stages_give_the_tensors_of_a_whole_run(name, room, tmp_path):
    shape = {"input_shape": "1x3x6x6"} if name == "cnn of any size" else {}
    model = opened(network(name), tmp_path / "m.onnx", **shape)
    inputs = examples(model, 20)
    np.savez(tmp_path / "x.npz", **{"x" if len(inputs) == 1 else k: v for k, v in inputs.items()})
    data = open_data(f"npz:{tmp_path / 'x.npz'}", model.inputs)
    sources = sources_of(model)
    if not sources:
        return
    execution = Execution(threads=1)
    reads = [[source.tensor] for source in sources]
    size = model.batch or SIZE
    staged = stages.StagedRun(data, size, reads, execution, room)
    reader = PatchReader(model, sources, execution.placement)
    for stage, source in enumerate(sources):
        seen = 0
        for first, tensors in staged.tensors(stage, model, (), "stage"):
            assert first == seen
            batch = data.read(first, min(first + size, 20))
            wanted = reader.tensors(batch.inputs)[source.tensor]
            np.testing.assert_allclose(tensors[source.tensor], wanted, rtol=1e-4, atol=1e-5)
            seen += len(wanted)
        assert seen == 20


@pytest.mark.parametrize(("room", "runs"), [(1 << 30, [1, 1, 1]), (0, [1, 2, 3])])
def test_later_stages_run_on_from_a_cut_that_fits_into_memory(room, runs, tmp_path, monkeypatch):
    path = write_layers(tmp_path / "m.onnx", *layers((8, 20), (20, 20), (20, 20), (20, 4)))
    found = calibrated(path, write_data(tmp_path / "x.npz", 8, 30))
    weighted = []
    session = stages.Session

    def counted(model, device):
        weighted.append(sum(node.op_type == "Gemm" for node in model.graph))
        return session(model, device)

    monkeypatch.setattr(stages, "Session", counted)
    reads = [["h0"], ["h1"], ["h2"]]
    staged = stages.StagedRun(found.run.data, 8, reads, found.run.execution, room)
    for stage in range(3):
        assert len(list(staged.tensors(stage, found.model, (), "stage"))) == 4
    assert weighted == runs


@pytest.mark.parametrize("share", ["CUT_SHARE", "TARGETS_SHARE"])
def test_little_memory_gives_the_same_refit(share, tmp_path, monkeypatch):
    model = write_residual(tmp_path / "m.onnx")
    found = calibrated(model, write_data(tmp_path / "x.npz", 8, 300))
    plan = allocator(found).for_budget("units", 0.6)
    fits = sequential.refit_in_sequence(found, plan)
    monkeypatch.setattr(sequential, share, 1 << 60)
    for fit, other in zip(fits, sequential.refit_in_sequence(found, plan), strict=True):
        assert fit.ridge == other.ridge
        np.testing.assert_allclose(fit.matrix, other.matrix, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("first", [20, 900])
def test_each_refit_is_that_of_numpy(first, tmp_path, monkeypatch):
    weights = layers((8, first), (first, 16), (16, 12), (12, 4))
    path = write_layers(tmp_path / "m.onnx", *weights)
    found = calibrated(path, write_data(tmp_path / "x.npz", 8, 300))
    plan = allocator(found).for_budget("units", 0.7)
    monkeypatch.setattr(sequential, "into_relu", lambda node, fit: False)
    plain = {fit.linear_consumer.consumer.node: fit for fit in ridge_fits(found, plan)}
    fits = sequential.refit_in_sequence(found, plan)
    assert len(fits) == (3 if first == 20 else 1)  # of the wide layer alone units leave
    before = found.run.data.read(0, 300).inputs["x"].astype(np.float64)
    after = np.maximum(before @ weights[0][:, plan.keep["h0"]], 0)
    before = np.maximum(before @ weights[0], 0)
    aside = np.arange(300) % 5 == 4
    for number, fit in enumerate(fits, start=1):
        pulled = plain[fit.linear_consumer.consumer.node].matrix
        kept = plan.keep.get(f"h{number}", np.ones(weights[number].shape[1], np.bool_))
        targets = before @ weights[number][:, kept]

        def solution(rows, strength, pulled=pulled, targets=targets, after=after):
            middle, goal = after[rows].mean(axis=0), targets[rows].mean(axis=0)
            centred = after[rows] - middle
            covariance = centred.T @ centred / len(centred)
            size = len(covariance)
            ridge = max(strength, 1e-6 * size**0.5) * covariance.trace() / size
            right = centred.T @ (targets[rows] - goal) / len(centred) + ridge * pulled
            matrix = np.linalg.solve(covariance + ridge * np.eye(size), right)
            return matrix, goal - middle @ matrix

        errors = []
        for strength in regression.STRONGER:
            matrix, bias = solution(~aside, strength)
            errors.append(((after[aside] @ matrix + bias - targets[aside]) ** 2).sum())
        chosen = regression.STRONGER.index(fit.ridge)
        assert errors[chosen] == pytest.approx(min(errors), rel=1e-4)
        matrix, bias = solution(aside | True, fit.ridge)
        np.testing.assert_allclose(fit.matrix, matrix, atol=1e-4)
        np.testing.assert_allclose(fit.bias, bias, atol=1e-4)
        before = np.maximum(before @ weights[number], 0)
        after = np.maximum(after @ matrix + bias, 0)
