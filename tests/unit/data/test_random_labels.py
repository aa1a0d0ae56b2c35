"""Random labels: the key ``labels=random`` of every source."""

import numpy as np
import pytest
from scipy import stats

from frivkit.data import Dataset, DataSpec, open_data
from frivkit.errors import DataError, UsageError
from frivkit.experiments.train import divided
from frivkit_datasets.gaussian import GaussianSource

RANDOM = "labels=random"


def labels(spec: str):
    data = open_data(spec, None)
    return data.read(0, data.examples).labels


def test_labels_are_uniform_and_have_nothing_to_do_with_the_true_ones():
    drawn = np.concatenate(
        [labels(f"digits?split=train&{RANDOM}&labels_seed={seed}") for seed in range(10)]
    )
    true = np.tile(labels("digits?split=train"), 10)
    assert stats.chisquare(np.bincount(drawn, minlength=10)).pvalue > 1e-3
    table = np.zeros((10, 10))
    np.add.at(table, (drawn, true), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_examples_stay_as_they_are():
    random, true = (open_data(f"digits?split=train{more}", None) for more in (f"&{RANDOM}", ""))
    assert random.digest != true.digest
    assert random.read(7, 99).inputs["x"].tobytes() == true.read(7, 99).inputs["x"].tobytes()


def test_labels_depend_on_seed_split_and_index_only():
    base = f"teacher?split=train&{RANDOM}"
    whole = labels(f"{base}&n=9000")
    np.testing.assert_array_equal(labels(f"{base}&n=50"), whole[:50])
    data = open_data(f"{base}&n=9000", None)
    for start, stop in ((4095, 4097), (8191, 9000), (0, 1)):
        np.testing.assert_array_equal(data.read(start, stop).labels, whole[start:stop])
    assert set(whole) == {0, 1}
    others = [labels(f"{base}&labels_seed=1&n=9000"), labels(base.replace("train", "validation"))]
    for other in others:
        assert 0.4 < (other == whole[: len(other)]).mean() < 0.6


@pytest.mark.parametrize("spec", ["digits", "digits?split=test", "teacher?split=test"])
def test_test_labels_are_never_replaced(spec):
    mark = "&" if "?" in spec else "?"
    with pytest.raises(UsageError, match=r"split=train or split=validation"):
        labels(f"{spec}{mark}{RANDOM}")


def test_training_on_random_labels_is_tested_on_true_ones():
    train, test = divided(f"digits?{RANDOM}&labels_seed=4&scale=1/16")
    assert train.spec == f"digits?{RANDOM}&labels_seed=4&scale=1/16&split=train"
    assert test.spec == "digits?scale=1/16&split=test"
    assert (test.read(0, 597).labels == labels("digits?split=test")).all()


def test_wrong_requests_are_refused():
    with pytest.raises(UsageError, match="labels=shuffled is not one of true, random"):
        labels("digits?split=train&labels=shuffled")
    with pytest.raises(UsageError, match="labels_seed=-1"):
        labels(f"digits?split=train&{RANDOM}&labels_seed=-1")
    with pytest.raises(UsageError, match="labels_seed requires labels=random"):
        labels("digits?split=train&labels_seed=1")
    assert len(labels("digits?split=train&labels=true")) == 1200


def test_data_without_labels_have_none_to_replace():
    spec = DataSpec.parse(f"gaussian?{RANDOM}&split=train")
    with pytest.raises(DataError, match="no labels to replace"):
        Dataset(spec, GaussianSource({"x": (3,)}, 0, 5))
