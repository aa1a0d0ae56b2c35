"""Plans as JSON: they come back as they were, and those that do not fit are refused in a line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Factorization, Plan
from frivkit.compression.plan_file import plan_document, read_plan, write_plan
from frivkit.errors import UsageError
from frivkit_compressors.bases import auto, select
from tests.contract import complaints
from tests.planning import allocator
from tests.unit.compression.test_allocation import blocks, calibrate_net
from tests.unit.latency.builder import Builder


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    build = Builder()
    return calibrate_net(build, blocks(build), tmp_path_factory.mktemp("blocks"), examples=40)


@pytest.fixture(scope="module")
def plan(calibration: Calibration) -> Plan:
    """Return a plan with moves of every kind."""
    made = allocator(calibration, auto)
    narrowed = allocator(calibration, select).for_budget("units", 0.7)
    branch = made.moves.branches[1]
    ranks = {
        each.linear_consumer.consumer.node: Factorization(each.kind, 2)
        for each in made.moves.ranks
        if each.linear_consumer.consumer.node not in branch.branch.nodes
    }
    return replace(narrowed, factorized=ranks, dropped=(branch,))


@pytest.fixture
def document(calibration: Calibration, plan: Plan) -> dict[str, Any]:
    return plan_document(calibration, plan)


def read(document: object, calibration: Calibration, folder: Path) -> Plan:
    path = folder / "plan.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_plan(path, calibration, allocator(calibration, auto).moves)


def test_plans_come_back_as_they_were(
    calibration: Calibration, plan: Plan, document: dict[str, Any], tmp_path: Path
) -> None:
    assert complaints(document) == []
    write_plan(document, tmp_path / "plan.json")
    moves = allocator(calibration, auto).moves
    back = read_plan(tmp_path / "plan.json", calibration, moves)
    assert all(np.array_equal(back.keep[name], plan.keep[name]) for name in plan.keep)
    assert [(n, h.kind, h.rank) for n, h in back.factorized.items()] == [
        (n, h.kind, h.rank) for n, h in plan.factorized.items()
    ]
    assert [move.branch for move in back.dropped] == [move.branch for move in plan.dropped]
    assert back.error == plan.error
    assert plan_document(calibration, back) == document


def test_an_edited_plan_is_applied_as_it_was_edited(
    calibration: Calibration, document: dict[str, Any], tmp_path: Path
) -> None:
    inner = next(layer for layer in document["layers"] if layer["units"] == 16)
    for layer in document["layers"]:
        layer["removed"] = [0, 5] if layer is inner else []
    document["factorized"], document["dropped_branches"] = [], []
    back = read(document, calibration, tmp_path)
    (site,) = (s for s in calibration.site_map.sites if s.layer == inner["layer"])
    assert np.flatnonzero(~back.keep[site.name]).tolist() == [0, 5]
    assert sum(int((~flags).sum()) for flags in back.keep.values()) == 2
    assert not back.factorized
    assert not back.dropped


def test_units_that_can_only_be_removed_together_are(
    calibration: Calibration, document: dict[str, Any], tmp_path: Path
) -> None:
    """One layer of a residual stream is edited; the others lose the same unit."""
    stream = [layer["layer"] for layer in document["layers"] if layer["units"] == 12]
    for layer in document["layers"]:
        layer["removed"] = [3] if layer["layer"] == stream[0] else []
    document["factorized"], document["dropped_branches"] = [], []
    back = read(document, calibration, tmp_path)
    names = {site.layer: site.name for site in calibration.site_map.sites}
    assert len(stream) > 1
    assert all(np.flatnonzero(~back.keep[names[n]]).tolist() == [3] for n in stream)


def edited(*path: object, to: object) -> Callable[[dict[str, Any]], object]:
    """Return a change of one value of a document, ``...`` for what is removed."""

    def edit(document: dict[str, Any]) -> object:
        part: Any = document
        for key in path[:-1]:
            part = part[key]
        if to is ...:
            del part[path[-1]]
        else:
            part[path[-1]] = to
        return document

    return edit


WHOLE_LAYER = list(range(16))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "{", "cannot be read"),
        (lambda _: "\x00", "cannot be read"),
        (lambda _: "[]", "is no plan"),
        (lambda _: "[" * 100_000, "cannot be read"),
        (lambda _: "NaN", "is no plan"),
        (edited("schema", to="frivkit.plan/2"), "its schema is not frivkit.plan/1"),
        (edited("schema", to=...), "its schema is not frivkit.plan/1"),
        (edited("model", to=...), "fits this model: KeyError 'model'"),
        (edited("model", "sha256", to="0" * 64), "made for another model"),
        (edited("model", "sha256", to=7), "plan"),
        (edited("layers", to=None), "plan"),
        (edited("layers", 0, to="conv0"), "plan"),
        (edited("layers", 0, "layer", to="nobody"), "names a layer 'nobody'"),
        (edited("layers", 0, "layer", to=["a"]), "plan"),
        (edited("layers", 0, "removed", to=[99]), "removes unit 99 of"),
        (edited("layers", 0, "removed", to=[-1]), "removes unit -1 of"),
        (edited("layers", 0, "removed", to=[2**70]), "plan"),
        (edited("layers", 0, "removed", to=[0.5]), "plan"),
        (edited("layers", 0, "removed", to=["0"]), "plan"),
        (edited("layers", 0, "removed", to=[True]), "plan"),
        (edited("layers", 0, "removed", to=[[0, 1]]), "plan"),
        (edited("layers", 1, "removed", to=WHOLE_LAYER), "removes all units of"),
        (edited("factorized", to=[{"node": "x", "kind": "pca", "rank": 1}]), "factorizes 'x'"),
        (edited("factorized", 0, "kind", to="svd"), "(svd, rank 2)"),
        (edited("factorized", 0, "rank", to=0), "rank 0"),
        (edited("factorized", 0, "rank", to=2.5), "plan"),
        (edited("factorized", 0, "rank", to=1e300), "plan"),
        (edited("factorized", 0, "rank", to=True), "plan"),
        (edited("factorized", 0, "node", to={}), "plan"),
        (edited("dropped_branches", to=["conv0"]), "drops a branch at 'conv0'"),
        (edited("dropped_branches", to=[[]]), "plan"),
        (edited("predicted_error", to="much"), "plan"),
        (edited("predicted_error", to=float("nan")), "plan"),
    ],
)
def test_plans_that_do_not_fit_are_refused_in_a_line(
    change: Callable[[Any], object],
    words: str,
    calibration: Calibration,
    document: dict[str, Any],
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="plan") as raised:
        read(change(document), calibration, tmp_path)
    assert words in str(raised.value)
    assert "plan.json is no plan" in str(raised.value) or words != "plan"
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_separable_factors_of_what_is_no_convolution_are_refused(
    calibration: Calibration, document: dict[str, Any], tmp_path: Path
) -> None:
    dense = next(
        each.consumer.node for each in calibration.linear_consumers if each.source.geometry is None
    )
    document["factorized"] = [{"node": dense, "kind": "separable", "rank": 1}]
    with pytest.raises(UsageError, match="separable"):
        read(document, calibration, tmp_path)


def test_branches_are_known_to_every_basis(
    calibration: Calibration, plan: Plan, document: dict[str, Any], tmp_path: Path
) -> None:
    write_plan(document, tmp_path / "plan.json")
    back = read_plan(tmp_path / "plan.json", calibration, allocator(calibration, select).moves)
    assert [move.branch for move in back.dropped] == [move.branch for move in plan.dropped]


def test_a_missing_file_is_refused(calibration: Calibration, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path / "no.json", calibration, allocator(calibration, auto).moves)
