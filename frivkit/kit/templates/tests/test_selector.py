"""The unit selector keeps the rules of unit selectors, and takes the units that it should."""

from types import SimpleNamespace

import numpy as np
from frivkit.testing.conformance import check_unit_selector

from frivkit_mine.selector import PAIRS


def test_selector_conforms():
    check_unit_selector(PAIRS)


def test_selector_takes_channels_in_pairs():
    site = SimpleNamespace(width=3, axis=1, shape=(3, 2, 2))
    assert PAIRS.count(site) == 2
    keep = PAIRS.mask(site, np.array([False, True]))
    assert keep.tolist() == [[[False]], [[False]], [[True]]]
    activations = np.arange(12.0).reshape(1, 3, 2, 2)
    assert PAIRS.rows(site, activations)[0].tolist() == [0 + 4, 8]
