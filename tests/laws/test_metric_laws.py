"""Every metric that is installed keeps the laws."""

from dataclasses import fields
from pathlib import Path

import pytest

from frivkit.hooks.options import parse_options
from frivkit.hooks.registry import installed
from frivkit.measure.metric import Metric
from frivkit.testing.laws import METRIC_LAWS, REDUNDANCY_LAWS, MetricLaw

NAMES = list(installed().offers("metrics"))
REDUNDANCY_LIKE = ("redundancy", "predictability")
QUICK = {
    "steps": "4",
    "images": "2",
    "repeats": "2",
    "levels": "5",
    "refine": "1",
    "resamples": "20",
    "batch": "8",
}
"""Options that make a metric quicker, or let it use few examples, where it has them."""
OF_IMAGES = ("interpretability",)
"""Metrics that refuse networks whose inputs are no images."""


def metric_of(name: str) -> tuple[Metric, object]:
    """Return a metric and quick options for it."""
    metric = installed().load("metrics", name)
    known = {field.name for field in fields(metric.options)}
    given = {key: text for key, text in QUICK.items() if key in known}
    return metric, parse_options(metric.options, given)


@pytest.mark.parametrize("law", METRIC_LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("name", NAMES)
def test_metric_keeps_the_law(name: str, law: MetricLaw, tmp_path: Path) -> None:
    metric, options = metric_of(name)
    checked = law.check(metric, tmp_path, options)
    if name in OF_IMAGES:
        assert checked
        return
    assert {f"{make().name}, paper protocol" for make in law.networks} <= set(checked)


@pytest.mark.parametrize("law", REDUNDANCY_LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("name", REDUNDANCY_LIKE)
def test_redundancy_keeps_the_law(name: str, law: MetricLaw, tmp_path: Path) -> None:
    metric, options = metric_of(name)
    assert law.check(metric, tmp_path, options)
