"""What is in front of a site has the same bits whatever was kept, and whoever asks for it."""

import pickle
from itertools import pairwise

import numpy as np
import pytest

from frivkit.graph.cost import macs
from frivkit.graph.instrument.perturb import between, entry_of, with_outputs
from frivkit.graph.instrument.stages import STEP, StagePlan
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site, find_sites
from frivkit.runtime import stage_runs
from frivkit.runtime.perturbed_model import PerturbedModel
from frivkit.runtime.session import Device, Session
from frivkit.runtime.stage_runs import StageRuns
from tests.nets import examples, network, opened

BRANCHED = ["cnn of four", "residual", "dense", "inception", "hourglass", "two inputs", "attention"]
PLENTY = 1 << 30


@pytest.fixture(autouse=True)
def everything_is_worth_keeping(monkeypatch):
    """Keep what small networks compute, too."""
    monkeypatch.setattr(stage_runs, "WORTH_KEEPING", 0)


def entry(model: Model, site: Site, stages: StageRuns | None, batch: str | None = "first") -> dict:
    way = PerturbedModel(model, [site], model.output(), Device(threads=1), PLENTY, stages=stages)
    return dict(way.prepare(examples(model, model.batch or 3), batch).entry)


def stages_of(model: Model, room: int = PLENTY) -> StageRuns:
    return StageRuns(model, StagePlan(model, model.output(), find_sites(model).sites), room)


@pytest.mark.parametrize("name", BRANCHED)
def test_what_was_kept_changes_no_bit(name, tmp_path, monkeypatch):
    model = opened(network(name), tmp_path / "m.onnx")
    ran: list[str] = []
    run = Session.run
    monkeypatch.setattr(Session, "run", lambda *given: ran.append(name) or run(*given))
    kept, counts = stages_of(model), {"kept": 0, "alone": 0}
    for site in find_sites(model).sites:
        found = entry(model, site, kept)
        counts["kept"] += len(ran)
        ran.clear()
        alone = entry(model, site, stages_of(model, room=0))
        counts["alone"] += len(ran)
        in_worker = pickle.loads(pickle.dumps(kept_path(model, site)))  # noqa: S301  # made here
        there = in_worker.prepare(examples(model, model.batch or 3)).entry
        direct = entry(model, site, None)
        assert found.keys() == alone.keys() == there.keys() == direct.keys()
        for tensor, array in found.items():
            assert np.array_equal(array, alone[tensor]), tensor
            assert np.array_equal(array, there[tensor]), tensor
            np.testing.assert_allclose(array, direct[tensor], rtol=1e-4, atol=1e-5)
        ran.clear()
    assert counts["kept"] < counts["alone"]


def kept_path(model: Model, site: Site) -> PerturbedModel:
    return PerturbedModel(
        model, [site], model.output(), Device(threads=1), PLENTY, stages=stages_of(model)
    )


@pytest.mark.parametrize("name", BRANCHED)
def test_no_stage_is_computed_again_on_the_way_from_it(name, tmp_path):
    model = opened(network(name), tmp_path / "m.onnx")
    output, sites = model.output(), find_sites(model).sites
    plan = StagePlan(model, output, sites)
    inputs = {value.name for value in model.graph.inputs}
    used = set()

    def cost(names, given=()):
        wanted = [name for name in names if name not in given]
        return macs(between(model, given, wanted).ir.graph) if wanted else 0

    for site in sites:
        tensors = [name for name in entry_of(model, site, output) if name not in inputs]
        stage = plan.before(tensors)
        if stage is not None:
            used.add(stage)
            way = [*stage.path]
            legs = cost(way[0].tensors) + sum(cost(b.tensors, a.tensors) for a, b in pairwise(way))
            whole = macs(with_outputs(model, tensors).ir.graph)
            assert legs + cost(tensors, stage.tensors) == whole
    assert used
    passed = [macs(with_outputs(model, stage.tensors).ir.graph) for stage in plan.stages]
    assert min(np.diff([0, *passed])) >= STEP * macs(model.graph)


def test_no_more_is_kept_than_there_is_room_for(tmp_path):
    model = opened(network("residual"), tmp_path / "m.onnx")
    plenty = stages_of(model)
    most = 0
    for site in find_sites(model).sites:
        for batch in ("first", "second"):
            entry(model, site, plenty, batch)
        most = max(most, plenty.kept_bytes)
    assert most > 0
    for room in (most // 2, most // 4, 1):
        few = stages_of(model, room)
        for site in find_sites(model).sites:
            for batch in ("first", "second"):
                found = entry(model, site, few, batch)
                assert few.kept_bytes <= room
                expected = entry(model, site, plenty, batch)
                assert all(np.array_equal(found[name], expected[name]) for name in expected)
        assert (few.kept_bytes == 0) == (room == 1)


def test_what_is_soon_computed_again_is_not_kept(tmp_path, monkeypatch):
    model = opened(network("residual"), tmp_path / "m.onnx")
    stage = StagePlan(model, model.output(), find_sites(model).sites).stages[0]
    monkeypatch.setattr(stage_runs, "WORTH_KEEPING", 1e9)
    few = stages_of(model)
    for site in find_sites(model).sites:
        entry(model, site, few)
    assert few.kept_bytes == 0
    assert stage.macs == macs(with_outputs(model, stage.tensors).ir.graph)
