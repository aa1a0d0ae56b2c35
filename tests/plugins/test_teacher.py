"""The source ``teacher``: one random network labels what three splits are made of."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from frivkit.data import DataSpec, open_data
from frivkit.errors import DataError, UsageError
from frivkit_datasets import teacher as source
from frivkit_datasets.teacher import share, teacher


def read(options: str):
    data = open_data(f"teacher?{options}", None)
    return data.read(0, data.examples)


def records(options: str = ""):
    return teacher(DataSpec.parse(f"teacher?{options}" if options else "teacher"), ())


def test_labels_are_those_of_the_network_worked_out_by_hand():
    made = records("d=7&n=200&seed=5")
    rows = made.read(0, 200)
    for x, y in zip(rows["x"].astype(float), rows["y"], strict=True):
        hidden = [max(0.0, float(weights @ x)) for weights in made.first]
        outputs = [sum(w * h for w, h in zip(each, hidden, strict=True)) for each in made.second]
        assert y == int(outputs[1] > outputs[0])
    assert made.first.shape == (32, 7)
    assert made.second.shape == (2, 32)


def test_inputs_and_weights_are_normal():
    made = records("d=2000&n=100")
    assert stats.kstest(made.read(0, 100)["x"].ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(made.first.ravel() / 0.01, "norm").pvalue > 1e-3
    assert stats.kstest(made.second.ravel() / 0.01, "norm").pvalue > 1e-3


def test_reference_weights_are_truncated_at_two_scales():
    made = records("d=2000&protocol=reference")
    drawn = made.first.ravel() / 0.01
    assert abs(drawn).max() <= 2
    assert stats.kstest(drawn, stats.truncnorm(-2, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(12))
def test_each_label_is_given_to_40_to_60_percent_of_every_split(seed):
    shares = [
        read(f"split={split}&seed={seed}").labels.mean()
        for split in ("train", "validation", "test")
    ]
    assert 0.4 <= min(shares) <= max(shares) <= 0.6


@pytest.mark.parametrize("options", ["balanced=no", "protocol=reference"])
def test_the_first_teacher_is_taken_where_balance_is_not_asked_for(options):
    shares = [read(f"seed={seed}&{options}").labels.mean() for seed in range(12)]
    assert not all(0.4 <= each <= 0.6 for each in shares)


def test_reference_can_be_balanced():
    shares = [
        read(f"seed={seed}&protocol=reference&balanced=yes").labels.mean() for seed in range(12)
    ]
    assert all(0.4 <= each <= 0.6 for each in shares)


def test_share_is_what_counting_labels_gives():
    """The shortcut through the covariance of the weights, against labels of inputs."""
    for options in ("d=10&seed=1&balanced=no", "d=300&seed=2&balanced=no", "d=40&seed=4"):
        made = records(f"{options}&n=20000")
        counted = made.read(0, 20_000)["y"].mean()
        assert abs(share(made.first, made.second, 0) - counted) < 0.02


def test_splits_share_the_teacher_and_no_example():
    parts = {split: records(f"split={split}&n=500") for split in ("train", "validation", "test")}
    first, *others = parts.values()
    for other in others:
        assert (other.first == first.first).all()
        assert (other.second == first.second).all()
    rows = np.concatenate([part.read(0, 500)["x"] for part in parts.values()])
    assert len(np.unique(rows, axis=0)) == 1500
    assert len({part.digest for part in parts.values()}) == 3


def test_examples_depend_on_seed_split_and_index_only():
    few, many = (read(f"split=train&n={n}") for n in (70, 200))
    np.testing.assert_array_equal(few.inputs["x"], many.inputs["x"][:70])
    np.testing.assert_array_equal(few.labels, many.labels[:70])
    assert not np.isin(read("split=train&seed=1&n=70").inputs["x"], many.inputs["x"]).any()
    gaussian = open_data("gaussian?shape=10&n=200", None).read(0, 200).inputs["x"]
    assert not np.isin(gaussian, many.inputs["x"]).any()


def test_a_million_wide_examples_are_made_a_few_at_a_time():
    tracemalloc.start()
    data = open_data("teacher?d=10000&n=100000&split=train&balanced=no", None)
    batch = data.read(99_990, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch.inputs["x"].shape == (10, 10_000)
    assert peak < 40e6  # all would be 4 GB; a block is 2.6 MB, and twice that while it is labelled


def test_reference_tests_on_at_most_a_thousand():
    assert open_data("teacher?n=5000&protocol=reference", None).examples == 1000
    assert open_data("teacher?n=5000&protocol=reference&split=train", None).examples == 5000
    assert open_data("teacher?n=5000", None).examples == 5000


def test_an_unbalanced_search_ends_in_one_line(monkeypatch):
    monkeypatch.setattr(source, "BALANCED", (0.9, 0.91))
    monkeypatch.setattr(source, "TRIES", 3)
    with pytest.raises(DataError, match=r"none of 3 teachers is balanced.*balanced=no"):
        records()


@pytest.mark.parametrize("wrong", ["d=0", "d=9999999", "split=all", "balanced=maybe", "protocol=x"])
def test_wrong_values_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=wrong):
        records(wrong)
