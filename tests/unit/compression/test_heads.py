"""Attention in compress: steps that keep heads alike, logits that are refitted, budgets."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import Tensor, nn

from frivkit.compression.calibration import Calibration
from frivkit.compression.logits import HeadMoments, backward_order
from frivkit.compression.plan import Plan, keep_all
from frivkit.compression.ranking import rank_units
from frivkit.graph.sites.heads import why_unequal
from frivkit_compressors.bases import select
from frivkit_compressors.rankings import backward
from frivkit_compressors.refits import NONE, RIDGE, SEQUENTIAL
from tests.attended import (
    READS,
    TOKENS,
    WIDE,
    attended_calibration,
    outputs,
    query_and_key_weights,
    set_weight,
)
from tests.nets import exported
from tests.planning import allocator

HEADS = 4


class Attended(nn.Module):
    """Attention of four heads; queries and keys have three directions for four dimensions."""

    def __init__(self, *, shared: int = HEADS) -> None:
        super().__init__()
        self.shared = shared
        self.stem, self.norm = nn.Linear(READS, WIDE), nn.LayerNorm(WIDE)
        self.q, self.o = nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE)
        self.k, self.v = (nn.Linear(WIDE, shared * 4) for _ in range(2))
        self.head = nn.Linear(WIDE, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(x)
        q, k, v = (
            layer(y).unflatten(2, (-1, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        if 1 < self.shared < HEADS:  # a single head is broadcast
            k, v = (each.repeat_interleave(HEADS // self.shared, 1) for each in (k, v))
        made = (q @ k.transpose(2, 3) / 2).softmax(-1) @ v
        return self.head((x + self.o(made.transpose(1, 2).flatten(2))).mean(1))


def make_dependent(proto: onnx.ModelProto) -> None:
    """Make the last dimension of each query and key the sum of the others."""
    for weight in query_and_key_weights(proto):
        by_head = 2 * numpy_helper.to_array(weight).reshape(WIDE, -1, 4)
        by_head[:, :, 3] = by_head[:, :, :3].sum(axis=2)
        set_weight(weight, by_head)


@pytest.fixture(scope="module", params=[HEADS, 2, 1], ids=["apart", "shared", "single"])
def calibration(request: pytest.FixtureRequest, tmp_path_factory) -> Calibration:
    folder = tmp_path_factory.mktemp("attended")
    proto = exported(Attended(shared=request.param), (TOKENS, READS))
    make_dependent(proto)
    return attended_calibration(proto, folder)


def without_dimensions(calibration: Calibration, dimension: int) -> Plan:
    """Return the plan without one dimension of the queries and keys of every head."""
    groups = calibration.pruning_graph.groups
    stays = np.ones(groups.count, np.bool_)
    stays[groups.heads[0].blocks[0].groups[:, dimension]] = False
    return Plan(groups.flags(stays), 0.0)


def test_a_dimension_that_others_explain_leaves_without_a_trace(calibration):
    before = outputs(calibration)
    for dimension in (0, 3):
        plan = without_dimensions(calibration, dimension)
        cut, refitted = (each.refitted(calibration, plan) for each in (NONE, RIDGE))
        lost = np.abs(outputs(calibration, cut) - before).max()
        left = np.abs(outputs(calibration, refitted) - before).max()
        assert left < 0.05 * lost


def test_every_step_keeps_heads_alike(calibration):
    (ranking,) = [r for r in rank_units(calibration, backward) if r.counts is not None]
    groups = calibration.pruning_graph.groups
    heads = groups.heads[0]
    assert len(set(ranking.order.tolist())) == len(ranking.order)
    stays = np.ones(groups.count, np.bool_)
    for first, last in zip([0, *ranking.counts[:-1]], ranking.counts, strict=True):
        stays[ranking.order[first:last]] = False
        assert why_unequal(heads, stays) is None
    assert (np.diff(ranking.errors) >= 0).all()
    assert stays[heads.groups].sum() == len(heads.blocks)  # a dimension of queries, one of values
    explained = ranking.errors[ranking.counts[0] - 1]  # of queries and keys: nothing is lost
    assert explained < 1e-3 * ranking.errors[-1]
    assert set(ranking.order[: ranking.counts[0]]) <= set(heads.blocks[0].groups.ravel())


@pytest.mark.parametrize("resource", ["macs", "params", "units"])
def test_budgets_are_met_through_attention(calibration, resource):
    plans = allocator(calibration, select)
    before = outputs(calibration)
    errors = []
    for share in (0.9, 0.8, 0.7):
        plan = plans.for_budget(resource, share)
        assert plans.cost(plan, resource) <= share * plans.cost(
            Plan(keep_all(calibration), 0.0), resource
        )
        for refit in (RIDGE, SEQUENTIAL):
            made = outputs(calibration, refit.refitted(calibration, plan))
            errors.append(float(np.square(made - before).mean() / before.var()))
    assert max(errors[:2]) < 0.05


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_no_other_map_of_the_kept_dimensions_has_less_error(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 7))
    mixed = np.linalg.qr(rng.normal(size=(2, count, count)))[0]  # not so alike that a ridge acts
    mixed *= rng.uniform(0.5, 2, (2, 1, count))
    rows = rng.normal(size=(2, 50, count)) @ mixed
    rows += rng.normal(size=count)
    query, key = np.column_stack([rows[0], np.ones(50)]), rows[1] - rows[1].mean(axis=0)
    moments = HeadMoments(query.T @ query / 50, key.T @ key / 50)
    kept = rng.random(count) < 0.6
    kept[rng.integers(count)] = True
    logits = rows[0] @ key.T
    made = moments.map(kept)

    def error(matrix):
        return np.square(logits - query[:, [*kept, True]] @ matrix @ key[:, kept].T).mean()

    assert error(made) == pytest.approx(moments.error(kept), abs=1e-8 * moments.variance)
    # An independent solution: least squares on the products of single dimensions.
    products = np.einsum("qi,kj->qkij", query[:, [*kept, True]], key[:, kept]).reshape(2500, -1)
    best = np.linalg.lstsq(products, logits.ravel(), rcond=None)[0].reshape(made.shape)
    assert error(made) <= error(best) + 1e-3 * moments.variance


def test_dimensions_leave_in_the_order_of_what_logits_lose():
    scale = np.array([3.0, 0.1, 1.0])
    moments = HeadMoments(np.diag([*scale**2, 1.0]), np.eye(3))
    order = backward_order([moments], [np.array([i]) for i in range(3)])
    assert order.tolist() == [1, 2, 0]
