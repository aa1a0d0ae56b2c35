"""Errors count where they are read: behind the norm of a stream of which few units are large."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from frivkit.compression.plan import Plan, apply_plan
from frivkit.compression.ranking import rank_units
from frivkit_compressors.rankings import backward
from frivkit_compressors.refits import RIDGE
from tests.nets import exported, opened
from tests.planning import calibrated
from tests.surgery import run
from tests.zoo.transformers import WrittenLayerNorm, WrittenRMSNorm

READS, WIDE, INNER, LARGE = 8, 12, 24, 2
NORMS = {
    "one node": nn.LayerNorm,
    "pieces": WrittenLayerNorm,
    "pieces, no mean": WrittenRMSNorm,
}


class Block(nn.Module):
    """A dense part that is added to a stream, of which one unit is large, in front of a norm."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__()
        self.stem, self.up, self.down = (
            nn.Linear(READS, WIDE), nn.Linear(WIDE, INNER), nn.Linear(INNER, WIDE)
        )  # fmt: skip
        self.norm, self.head = norm(WIDE), nn.Linear(WIDE, 3)
        large = torch.where(torch.arange(WIDE) == LARGE, 6.0, 1.0)
        self.register_buffer("large", large, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) * self.large
        return self.head(self.norm(x + self.down(torch.relu(self.up(torch.tanh(x))))))


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_predicted_is_lost_behind_the_norm(norm, tmp_path):
    x = np.random.default_rng(0).normal(size=(400, 5, READS)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x[:300])
    model = opened(exported(Block(NORMS[norm]), (5, READS)), tmp_path / "net.onnx")
    calibration = calibrated(model, f"npz:{tmp_path / 'x.npz'}")
    reader = next(
        c for c in calibration.linear_consumers if c.consumer.node.endswith("down/MatMul")
    )
    stream, normed = (
        tensor(model.ir, name, x[:300]).reshape(-1, WIDE).var(axis=0)
        for name in (reader.error_tensor, reader.norm)
    )
    wanted = np.sqrt(normed / stream / normed.sum())
    np.testing.assert_allclose(reader.error_scale, wanted, rtol=1e-4)
    groups = calibration.pruning_graph.groups
    ranking = next(
        r for r in rank_units(calibration, backward) if set(r.order) & set(reader.group_ids)
    )
    stays = np.ones(groups.count, np.bool_)
    stays[ranking.order[: INNER // 3]] = False
    plan = RIDGE.refitted(calibration, Plan(groups.flags(stays), 0.0))
    before, after = (
        tensor(graph, reader.norm, x[300:]) for graph in (model.ir, apply_plan(calibration, plan))
    )
    measured = np.square(after - before).sum() / np.square(before - before.mean(axis=(0, 1))).sum()
    assert ranking.errors[INNER // 3 - 1] == pytest.approx(measured, rel=0.3)


def tensor(graph, name, x) -> np.ndarray:
    copy = graph.clone()
    value = next(v for node in copy.graph for v in node.outputs if v.name == name)
    copy.graph.outputs.append(value)
    return run(copy, {"x": x})[-1].astype(np.float64)
