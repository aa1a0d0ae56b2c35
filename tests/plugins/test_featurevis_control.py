"""The measure on untrained networks: where there is no structure, it finds none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from frivkit.measure.pipeline import Request, open_study
from frivkit.torch_io.export import exported
from frivkit_featurevis.measures import LayerMeasures, comparison_rows, layer_measures
from frivkit_featurevis.render import Settings, render

KERNEL = 5


def _network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, KERNEL, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 12, KERNEL, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12 * 64, 4),
    )


def _blurred(net: nn.Sequential) -> nn.Sequential:
    """Give every filter of the first layer one value for all positions of a channel."""
    with torch.no_grad():
        weight = net[0].weight
        weight.copy_(weight.mean(dim=(2, 3), keepdim=True).expand_as(weight) * KERNEL)
    return net


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, list[LayerMeasures]]:
    """The total variation of eight units of both convolutions, by network."""
    folder: Path = tmp_path_factory.mktemp("control")
    found = {}
    networks = {"one": _network(0), "another": _network(1), "blurred": _blurred(_network(2))}
    for name, net in networks.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(exported(net, np.zeros((2, 3, 16, 16), np.float32), {}))
        study, _ = open_study(Request(model=path, data="gaussian?n=64"))
        found[name] = [layer_measures(each) for each in render(study, Settings(steps=64))]
    return found


def test_untrained_networks_do_not_differ(measured) -> None:
    for row in comparison_rows(measured["one"], measured["another"], seed=0):
        for space in ("pixels", "frequencies"):
            assert row[space]["corrected"] > 0.05, row
            assert 0.8 < row[space]["effect"] < 1.25


def test_filters_without_detail_are_told_from_untrained_ones(measured) -> None:
    for row in comparison_rows(measured["blurred"], measured["one"], seed=0):
        assert row["pixels"]["corrected"] < 0.01, row
        assert row["pixels"]["effect"] < 0.8
