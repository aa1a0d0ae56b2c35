"""The refit keeps the laws of compression."""

import pytest
from frivkit.testing.laws import COMPRESSION_LAWS

from frivkit_mine.refit import MEANS


@pytest.mark.parametrize("law", COMPRESSION_LAWS, ids=lambda law: law.name)
def test_refit_keeps_the_laws(law, tmp_path):
    law.check(tmp_path, refit=MEANS)
