"""Laws that every plugin of a kind keeps, whoever wrote it: for its author's own tests.

A law is checked against a target, registered or not, by running it on small networks as ``frivkit
analyze`` would::

    import pytest
    from frivkit.testing.laws import METRIC_LAWS
    from my_plugin.metric import METRIC

    @pytest.mark.parametrize("law", METRIC_LAWS, ids=lambda law: law.name)
    def test_my_metric_keeps_the_laws(law, tmp_path):
        law.check(METRIC, tmp_path)

Bases, rankings and refits of ``frivkit compress`` have laws of their own, of which a check takes
what is to be checked by its kind: ``law.check(tmp_path, ranking=my_ranking)``.

Nothing here needs pytest or the network.
"""

from frivkit.testing.laws.case import LawError
from frivkit.testing.laws.compressor import (
    COMPRESSION_LAWS,
    FOLDING_LAWS,
    RANKING_LAWS,
    CompressionLaw,
)
from frivkit.testing.laws.metric import METRIC_LAWS, REDUNDANCY_LAWS, MetricLaw

__all__ = [
    "COMPRESSION_LAWS",
    "FOLDING_LAWS",
    "METRIC_LAWS",
    "RANKING_LAWS",
    "REDUNDANCY_LAWS",
    "CompressionLaw",
    "LawError",
    "MetricLaw",
]
