"""The metric keeps the laws of metrics, and gives the value that it should."""

from types import SimpleNamespace

import numpy as np
import pytest
from frivkit.testing.laws import METRIC_LAWS

from frivkit_mine.metric import METRIC, Options


@pytest.mark.parametrize("law", METRIC_LAWS, ids=lambda law: law.name)
def test_metric_keeps_the_laws(law, tmp_path):
    law.check(METRIC, tmp_path)


def test_metric_gives_the_share_of_one_class():
    study = SimpleNamespace(examples=4, labels=lambda: np.array([[2], [1], [2], [0]]))
    (found,) = METRIC.measure(study, Options(label=2))
    assert (found.metric, found.value, found.examples) == ("its-name", 0.5, 4)
