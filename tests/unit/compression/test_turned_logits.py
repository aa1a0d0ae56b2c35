"""Queries and keys that are turned by their positions: pairs leave, and others make up for them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan
from frivkit.compression.turned_logits import CutLogits, TurnedLogits
from frivkit_compressors.refits import NONE, RIDGE
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

HEADS, DEEP = 2, 6
PAIRS = {"halves": [[0, 3], [1, 4], [2, 5]], "neighbours": [[0, 1], [2, 3], [4, 5]]}


class Turned(nn.Module):
    """Attention whose three pairs of dimensions turn alike, and whose last pair is like others.

    Args:
        pairs: Which dimensions are turned together.
        normed: Whether queries are normed in front of the rotation.
    """

    def __init__(self, pairs: str, *, normed: bool = False) -> None:
        super().__init__()
        self.pairs, self.normed = pairs, normed
        self.stem, self.o = nn.Linear(READS, WIDE), nn.Linear(HEADS * DEEP, WIDE)
        self.q, self.k, self.v = (nn.Linear(WIDE, HEADS * DEEP, bias=False) for _ in range(3))
        self.head = nn.Linear(WIDE, 3)

    def rotated(self, x: Tensor) -> Tensor:
        angles = 0.4 * torch.arange(TOKENS)[:, None] * torch.ones(DEEP // 2)
        cos, sin = angles.cos(), angles.sin()
        if self.pairs == "halves":
            one, other = x[..., : DEEP // 2], x[..., DEEP // 2 :]
            return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)
        one, other = x[..., ::2], x[..., 1::2]
        return torch.stack([one * cos - other * sin, one * sin + other * cos], -1).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        q, k, v = (
            layer(x).unflatten(2, (HEADS, DEEP)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        q = q / q.norm(dim=-1, keepdim=True) if self.normed else q
        made = (self.rotated(q) @ self.rotated(k).transpose(2, 3)).softmax(-1) @ v
        return self.head((x + self.o(made.transpose(1, 2).flatten(2))).mean(1))


def make_dependent(proto: onnx.ModelProto, pairs: str) -> None:
    """Make the last pair of each query and key a turned multiple of the first."""
    first, _, last = PAIRS[pairs]
    turn = np.array([[0.6, -1.1], [1.1, 0.6]])
    for weight in query_and_key_weights(proto):
        by_head = 3 * numpy_helper.to_array(weight).reshape(WIDE, HEADS, DEEP)
        by_head[:, :, last] = by_head[:, :, first] @ turn
        set_weight(weight, by_head)
        turn = -0.5 * turn.T @ turn.T


def opened_turned(folder: Path, pairs: str, *, normed: bool = False) -> Calibration:
    proto = exported(Turned(pairs, normed=normed), (TOKENS, READS))
    make_dependent(proto, pairs)
    return attended_calibration(proto, folder)


def without_pair(calibration: Calibration, pair: int) -> Plan:
    """Return the plan without one pair of the queries and keys of every head."""
    groups, (score,) = calibration.pruning_graph.groups, calibration.scores
    stays = np.ones(groups.count, np.bool_)
    stays[score.score.query.groups[:, score.heads[0].pairs[pair]]] = False
    return Plan(groups.flags(stays), 0.0)


@pytest.mark.parametrize("pairs", PAIRS)
def test_a_pair_that_another_one_explains_leaves_without_a_trace(pairs, tmp_path):
    calibration = opened_turned(tmp_path, pairs)
    (score,) = calibration.scores
    assert sorted(map(sorted, score.heads[0].pairs.tolist())) == PAIRS[pairs]
    before = outputs(calibration)
    for pair in (0, 2):
        plan = without_pair(calibration, pair)
        cut, refitted = (each.refitted(calibration, plan) for each in (NONE, RIDGE))
        lost = np.abs(outputs(calibration, cut) - before).max()
        left = np.abs(outputs(calibration, refitted) - before).max()
        assert left < 0.05 * lost


def test_what_does_not_commute_with_a_map_is_cut(tmp_path):
    """Queries that are normed head by head in front of the rotation."""
    calibration = opened_turned(tmp_path, "halves", normed=True)
    (score,) = calibration.scores
    assert score.projection is None
    assert isinstance(score.heads[0], CutLogits)
    groups = calibration.pruning_graph.groups
    stays = np.ones(groups.count, np.bool_)
    stays[score.score.query.groups[:, [0, 3]]] = False
    plan = Plan(groups.flags(stays), 0.0)
    assert not RIDGE.refitted(calibration, plan).maps


@pytest.mark.parametrize("seed", range(4))
def test_no_other_map_that_turns_pairs_has_less_error(seed):
    rng = np.random.default_rng(seed)
    pairs, dimensions = np.array([[0, 3], [2, 1]]), 5  # the last is not turned
    query, key = rng.normal(size=(2, 50, 5)) @ rng.normal(size=(2, 5, 5))
    rotated = TurnedLogits(query.T @ query / 50, key.T @ key / 50, pairs)
    logits, kept = query @ key.T, np.array([True, seed % 2 == 0, seed % 2 == 0, True, seed < 2])
    made = rotated.map(kept)[:-1]
    error = np.square(logits - query[:, kept] @ made @ key[:, kept].T).mean()
    products = []
    for first, second in pairs[kept[pairs[:, 0]]]:
        q1, q2, k1, k2 = query[:, first], query[:, second], key[:, first], key[:, second]
        products += [np.outer(q1, k1) + np.outer(q2, k2), np.outer(q1, k2) - np.outer(q2, k1)]
    products += [np.outer(query[:, 4], key[:, 4])] * int(kept[4])
    columns = np.stack([each.ravel() for each in products], axis=1)
    best = columns @ np.linalg.lstsq(columns, logits.ravel(), rcond=None)[0]
    least = np.square(logits.ravel() - best).mean()
    variance = np.square(logits).mean()
    assert rotated.error(kept) == pytest.approx(error, abs=1e-8 * variance)
    assert least - 1e-9 * variance <= error <= least + 1e-2 * variance
    # What a pair costs is what the error rises by, but for the ridge.
    costs, at = rotated.costs(kept), np.flatnonzero(kept)
    without = kept & ~np.isin(np.arange(dimensions), [0, 3])
    rise = rotated.error(without) - rotated.error(kept)
    assert costs[np.isin(at, [0, 3])].sum() == pytest.approx(rise, abs=1e-2 * variance)


def test_cut_logits_lose_what_is_cut():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 50, 4)) @ rng.normal(size=(2, 4, 4))
    cut = CutLogits(query.T @ query / 50, key.T @ key / 50)
    kept = np.array([True, False, True, True])
    lost = np.square(query[:, ~kept] @ key[:, ~kept].T).mean()
    assert cut.error(kept) == pytest.approx(lost)
    more = kept & (np.arange(4) != 2)
    rise = np.square(query[:, ~more] @ key[:, ~more].T).mean() - lost
    assert cut.costs(kept)[1] == pytest.approx(rise)
