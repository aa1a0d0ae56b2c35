import numpy as np
import pytest
import torch
from scipy.stats import truncnorm

from frivkit.errors import DataError, UsageError
from frivkit.experiments.train import scaled
from frivkit.hooks.options import NoOptions
from frivkit.hooks.registry import installed
from frivkit_papernets.cnn import cnn
from frivkit_papernets.initialization import truncated_normal_
from frivkit_papernets.mlp import MlpOptions, mlp


def parameters(network) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    ("width", "published"), [(0.25, 418), (0.5, 834), (1, 1666), (2, 3330), (4, 6658)]
)
def test_mlp_has_the_published_number_of_parameters(width, published):
    assert parameters(mlp((10,), 2, width, MlpOptions())) == published


@pytest.mark.parametrize(("width", "published"), [(0.25, 320_098), (0.5, 640_194)])
def test_mlp_on_ten_thousand_inputs_has_the_published_number_of_parameters(width, published):
    assert parameters(mlp((10_000,), 2, width, MlpOptions())) == published


def test_mlp_computes_relu_layers_of_the_flattened_input():
    network = mlp((2, 3), 4, 0.05, MlpOptions(depth=2)).double()
    with torch.no_grad():
        for bias in (network.fc1.bias, network.fc2.bias, network.output.bias):
            bias.normal_()
    x = np.random.default_rng(0).normal(size=(7, 2, 3))
    hidden = x.reshape(7, 6)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    for layer in ("fc1", "fc2"):
        hidden = np.maximum(hidden @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
    expected = hidden @ weights["output.weight"].T + weights["output.bias"]
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.from_numpy(x)).numpy(), expected, rtol=1e-12)
    assert hidden.shape == (7, 6)


def test_paper_s_weights_are_ten_times_smaller_in_the_hidden_layer():
    torch.manual_seed(0)
    network = mlp((1000,), 1000, 4, MlpOptions(init="normal", std=0.5))
    network.requires_grad_(requires_grad=False)
    for layer, scale in ((network.fc1, 0.05), (network.output, 0.5)):
        assert 1.99 * scale < float(layer.weight.abs().max()) <= 2 * scale
        spread = truncnorm(-2, 2, scale=scale).std()
        assert float(layer.weight.std()) == pytest.approx(spread, rel=0.01)
        assert not layer.bias.any()


def test_gaussian_weights_have_one_scale_and_no_bounds():
    torch.manual_seed(0)
    network = mlp((1000,), 1000, 4, MlpOptions(init="gaussian", std=0.5))
    for layer in (network.fc1, network.output):
        assert float(layer.weight.detach().std()) == pytest.approx(0.5, rel=0.01)
        assert float(layer.weight.detach().abs().max()) > 1.5
        assert not layer.bias.any()


def test_he_is_he_normal():
    def draw(init):
        torch.manual_seed(3)
        return mlp((20,), 3, 1, MlpOptions(init=init)).fc1.weight

    assert torch.equal(draw("he"), draw("he-normal"))
    assert not torch.equal(draw("he"), draw("lecun-normal"))


def test_weights_of_scale_zero_are_zero():
    weight = torch.ones(3, 3)
    truncated_normal_(weight, 0)
    assert not weight.any()


def test_cnn_has_the_parameters_counted_by_hand():
    convolutions = (9 * 8 + 8) + 2 * 8 + (8 * 9 * 16 + 16) + 2 * 16
    dense = (2 * 3 * 16 * 32 + 32) + (32 * 10 + 10)
    assert parameters(cnn((1, 9, 13), 10, 0.5, NoOptions())) == convolutions + dense


def test_cnn_takes_the_smallest_images_it_allows():
    network = cnn((3, 4, 5), 2, 1, NoOptions())
    assert network(torch.zeros(2, 3, 4, 5)).shape == (2, 2)


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 3, 8), (1, 8, 3), (2, 1, 8, 8)])
def test_cnn_refuses_what_is_no_image(shape):
    with pytest.raises(DataError, match="use mlp"):
        cnn(shape, 2, 1, NoOptions())


@pytest.mark.parametrize(
    ("text", "complaint"), [({"depth": 0}, "at least 1"), ({"std": -1.0}, "negative")]
)
def test_mlp_refuses_options_out_of_range(text, complaint):
    with pytest.raises(UsageError, match=complaint):
        MlpOptions(**text)


@pytest.mark.parametrize(("width", "units"), [(0.25, 32), (0.1, 13), (0.5 / 128, 1), (4, 512)])
def test_width_is_rounded_half_up(width, units):
    assert scaled(128, width) == units


@pytest.mark.parametrize("width", [0.003, 1e9])
def test_width_that_leaves_no_unit_or_too_many_is_refused(width):
    with pytest.raises(UsageError, match="another width"):
        scaled(128, width)


@pytest.mark.parametrize("name", ["mlp", "cnn", "alexnet-cifar", "resnet56"])
def test_same_seed_draws_the_same_weights(name):
    architecture = installed().load("architectures", name)

    def draw(seed):
        torch.manual_seed(seed)
        return architecture.build((1, 8, 8), 10, 0.25, architecture.options()).state_dict()

    first, again, other = draw(1), draw(1), draw(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])
