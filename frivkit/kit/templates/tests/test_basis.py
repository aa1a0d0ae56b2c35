"""The basis keeps the laws of compression: budgets are met, and full width changes nothing."""

import pytest
from frivkit.testing.laws import COMPRESSION_LAWS, RANKING_LAWS

from frivkit_mine.basis import last_units


@pytest.mark.parametrize("law", [*COMPRESSION_LAWS, *RANKING_LAWS], ids=lambda law: law.name)
def test_basis_keeps_the_laws(law, tmp_path):
    law.check(tmp_path, basis=last_units)
