"""The trainer keeps the rules of trainers; it keeps the initial weights, so it trains nothing."""

from frivkit.testing.conformance import check_trainer
from torch import nn

from frivkit_mine.trainer import NONE


def test_trainer_conforms():
    check_trainer(NONE, trains=False)


def test_trainer_keeps_the_initial_weights():
    network = nn.Linear(2, 2)
    before = network.weight.clone()
    assert NONE.fit(network, None, None, 0, NONE.options(), None).epochs == 0
    assert (network.weight == before).all()
