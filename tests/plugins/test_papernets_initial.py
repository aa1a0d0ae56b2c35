"""Initial weights against the variances of their formulas, and those of each network."""

from collections import defaultdict
from math import sqrt
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm
from torch import nn

from frivkit_papernets.alexnet import AlexNetOptions, alexnet
from frivkit_papernets.inception import InceptionOptions, inception
from frivkit_papernets.initialization import Init, initialise_
from frivkit_papernets.resnet import ResNetOptions, resnet18, resnet56

SHRUNK = float(truncnorm(-2, 2).std())
LIMIT = {"normal": 2 / SHRUNK, "uniform": sqrt(3)}  # largest draw, in standard deviations
KURTOSIS = {"normal": float(truncnorm(-2, 2).stats(moments="k")) + 3, "uniform": 9 / 5}


def by_hand(kind, inputs, outputs):
    return {"glorot": 2 / (inputs + outputs), "he": 2 / inputs, "lecun": 1 / inputs}[kind]


def assert_drawn(values, variance, shape):
    """Compare mean, variance and range; bounds are 5 standard errors wide.

    The variance of n draws with kurtosis k has a standard error of sqrt((k - 1) / n) of itself.
    """
    values = np.concatenate([each.detach().double().numpy().ravel() for each in values])
    scaled = values / sqrt(variance)
    assert abs(scaled.mean()) < 5 / sqrt(len(scaled))
    assert abs((scaled**2).mean() - 1) < 5 * sqrt((KURTOSIS[shape] - 1) / len(scaled))
    assert 0.97 * LIMIT[shape] < abs(scaled).max() < 1.0001 * LIMIT[shape]


@pytest.mark.parametrize("init", get_args(Init))
@pytest.mark.parametrize(
    ("shape", "inputs", "outputs"), [((60, 20), 20, 60), ((40, 8, 5, 3), 120, 600)]
)
def test_variance_over_seeds_is_that_of_the_formula(init, shape, inputs, outputs):
    draws = []
    for seed in range(8):
        torch.manual_seed(seed)
        draws.append(torch.empty(shape))
        initialise_(draws[-1], init)
    kind, _, form = init.partition("-")
    assert_drawn(draws, by_hand(kind, inputs, outputs), form)


def layers(net):
    return [
        (name, layer, *fans(layer))
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def fans(layer):
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    places = layer.kernel_size[0] * layer.kernel_size[1]
    return layer.in_channels * places, layer.out_channels * places


@pytest.mark.parametrize("init", ["glorot-normal", "he-uniform"])
def test_every_layer_of_alexnet_is_drawn_as_asked(init):
    torch.manual_seed(0)
    net = alexnet((3, 32, 32), 10, 0.25, AlexNetOptions(init=init))
    kind, _, form = init.partition("-")
    assert [name for name, *_ in layers(net)] == ["conv1", "conv2", "fc3", "fc4", "output"]
    for _, layer, inputs, outputs in layers(net):
        assert_drawn([layer.weight], by_hand(kind, inputs, outputs), form)
    biases = {name: layer.bias.unique().tolist() for name, layer, *_ in layers(net)}
    tenth = [float(torch.tensor(0.1))]
    assert biases == {"conv1": [0], "conv2": tenth, "fc3": tenth, "fc4": tenth, "output": [0]}


@pytest.mark.parametrize(
    ("options", "inner", "outer"),
    [
        (ResNetOptions(), "glorot-normal", "glorot-normal"),
        (ResNetOptions("reference"), "lecun-normal", "glorot-uniform"),
        (ResNetOptions("reference", "he-uniform"), "he-uniform", "he-uniform"),
    ],
)
@pytest.mark.parametrize("build", [resnet56, resnet18])
def test_resnets_draw_what_their_protocol_says(build, options, inner, outer):
    torch.manual_seed(0)
    net = build((3, 32, 32), 100, 0.125, options)
    found = defaultdict(list)
    for name, layer, inputs, outputs in layers(net):
        kind, _, form = (outer if name == "output" else inner).partition("-")
        weight = layer.weight.detach() / sqrt(by_hand(kind, inputs, outputs))
        found[(name == "output", form)].append(weight)
    assert len(found) == 2
    for (_, form), weights in found.items():
        assert_drawn(weights, 1, form)
    assert not net.output.bias.any()


@pytest.mark.parametrize(
    ("options", "smaller"),
    [
        (InceptionOptions(), {}),
        (InceptionOptions(std=0.3), {}),
        (
            InceptionOptions("reference"),
            {"output": 0.01, "auxiliary.dense": 0.01, "auxiliary.output": 0.001},
        ),
    ],
)
def test_inception_has_one_scale_but_for_the_outputs_of_the_reference(options, smaller):
    torch.manual_seed(0)
    net = inception((3, 107, 107), 300, 1 / 16, options)
    found = defaultdict(list)
    for name, layer, *_ in layers(net):
        found[smaller.get(name, options.std)].append(layer.weight)
    assert set(found) == {options.std, *smaller.values()}
    for scale, weights in found.items():
        assert_drawn(weights, (scale * SHRUNK) ** 2, "normal")


def test_inception_draws_in_other_ways_too():
    torch.manual_seed(0)
    net = inception((3, 75, 75), 10, 1 / 16, InceptionOptions(init="lecun-uniform"))
    assert_drawn(
        [layer.weight.detach() * sqrt(inputs) for _, layer, inputs, _ in layers(net)], 1, "uniform"
    )
