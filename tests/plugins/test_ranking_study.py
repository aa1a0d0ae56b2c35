"""The study that a ranking gets reads labels as the user said, and so do rankings built on it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frivkit.compression.calibration import Calibration, Run, calibrate
from frivkit.data import open_data
from frivkit.graph.sites.site_map import find_sites
from frivkit.measure.pipeline import Request, load_model
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import LabelOptions
from frivkit_compressors.bases import select
from frivkit_compressors.rankings import prunable
from tests.unit.compression.test_compress import write_data, write_layers


@pytest.fixture
def calibration(tmp_path: Path) -> Calibration:
    generator = np.random.default_rng(3)
    layers = [generator.normal(size=size) for size in ((6, 12), (12, 1))]
    model = load_model(Request(write_layers(tmp_path / "m.onnx", *layers)))
    data = open_data(write_data(tmp_path / "x.npz", 6, 200), model.inputs)
    run = Run(data, model.output(None), Execution(threads=1, seed=4))
    return calibrate(model, find_sites(model), run)


def with_labels(calibration: Calibration, labels: LabelOptions) -> Calibration:
    execution = replace(calibration.run.execution, labels=labels)
    return replace(calibration, run=replace(calibration.run, execution=execution))


def test_rankings_study_the_calibration_examples_as_the_user_said(calibration):
    studies = []

    def ranker(layer_group, study):
        studies.append(study)
        return np.arange(len(layer_group.groups))

    select(with_labels(calibration, LabelOptions(tolerance=0.1)), ranker)
    (study,) = studies
    assert study.task.name == "regress"
    assert study.execution.labels == LabelOptions(tolerance=0.1)
    assert (study.seed, study.data.digest) == (4, calibration.run.data.digest)


def test_prunable_ranking_counts_changed_numbers_of_a_regression(calibration):
    """Of one output every number above 0 is one class, so few labels change; numbers all do."""
    (layer_group,) = calibration.layer_groups
    unchanged = {}
    for name, labels in (("classes", LabelOptions()), ("numbers", LabelOptions(tolerance=1e-6))):
        seen = []
        study = with_labels(calibration, labels).study
        measure = study.unchanged

        def noted(masks, selector, measure=measure, seen=seen):
            found = measure(masks, selector)
            seen.append(found.shares.mean())
            return found

        study.unchanged = noted
        assert sorted(prunable(layer_group, study)) == list(range(12))
        unchanged[name] = seen[0]
    assert unchanged["numbers"] < 0.1
    assert unchanged["classes"] > 0.4
