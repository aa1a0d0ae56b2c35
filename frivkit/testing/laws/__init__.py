"""Laws that every metric, basis, ranking and refit keeps, for the tests of its author.

A law is checked by running a target, registered or not, on small networks as ``frivkit analyze``
would::

    import pytest
    from frivkit.testing.laws import METRIC_LAWS
    from my_plugin.metric import METRIC

    @pytest.mark.parametrize("law", METRIC_LAWS, ids=lambda law: law.name)
    def test_my_metric_keeps_the_laws(law, tmp_path):
        law.check(METRIC, tmp_path)

Bases, rankings and refits of ``frivkit compress`` have laws of their own, whose checks take the
target by its kind: ``law.check(tmp_path, ranking=my_ranking)``.  For the targets of other hooks see
:mod:`frivkit.testing.conformance`.

Nothing here needs pytest or the network.
"""

from frivkit.testing.laws.compressor import (
    COMPRESSION_LAWS,
    FOLDING_LAWS,
    RANKING_LAWS,
    CompressionLaw,
)
from frivkit.testing.laws.metric import METRIC_LAWS, REDUNDANCY_LAWS, MetricLaw
from frivkit.testing.laws.metric_case import LawError

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
