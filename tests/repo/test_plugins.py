"""The built-in plugins keep what they promise."""

import pytest

from frivkit.hooks.registry import HOOKS, Registry, installed
from frivkit.hooks.specs import Offer

OURS = [plugin for plugin in installed().plugins if plugin.distribution == "frivkit"]
OFFERS = [
    pytest.param(hook, offer, id=f"{plugin.name}-{offer.name}")
    for plugin in OURS
    for hook, offers in plugin.offers.items()
    for offer in offers
]


def test_every_built_in_plugin_loads():
    assert OURS
    assert {plugin.name: plugin.error for plugin in OURS if plugin.error} == {}


def test_no_two_built_in_plugins_offer_one_name():
    for hook in HOOKS:
        names = [offer.name for plugin in OURS for offer in plugin.offers.get(hook, ())]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(("hook", "offer"), OFFERS)
def test_offered_target_can_be_imported(hook: str, offer: Offer):
    registry = object.__new__(Registry)
    registry.plugins = OURS
    assert registry.load(hook, offer.name) is not None


@pytest.mark.parametrize(("hook", "offer"), OFFERS)
def test_summary_fits_one_line_of_a_list(hook: str, offer: Offer):
    assert 0 < len(offer.summary) <= 72
    assert "\n" not in offer.summary
    assert not offer.summary.endswith(".")
