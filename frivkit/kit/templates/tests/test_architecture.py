"""The architecture keeps the rules of architectures, and has the layers that it should."""

import torch
from frivkit.testing.conformance import check_architecture

from frivkit_mine.architecture import SMALL


def test_architecture_conforms():
    check_architecture(SMALL)


def test_width_is_a_factor_on_the_hidden_layer():
    network = SMALL.build((1, 4, 4), 10, 0.5, SMALL.options())
    assert network(torch.zeros(2, 1, 4, 4)).shape == (2, 10)
    assert network[1].weight.shape == (32, 16)
