"""The ranking keeps the laws of compression and of rankings."""

import pytest
from frivkit.testing.laws import COMPRESSION_LAWS, RANKING_LAWS

from frivkit_mine.ranking import apoz


@pytest.mark.parametrize("law", [*COMPRESSION_LAWS, *RANKING_LAWS], ids=lambda law: law.name)
def test_ranking_keeps_the_laws(law, tmp_path):
    law.check(tmp_path, ranking=apoz)
