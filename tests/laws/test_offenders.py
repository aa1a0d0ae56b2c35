"""Each law fails on metrics and engines that break it, and says where."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from frivkit.errors import DataError
from frivkit.graph.instrument.perturb import insert_mask, perturbed_whole
from frivkit.hooks.options import NoOptions
from frivkit.measure.metric import Measurement, Metric
from frivkit.measure.study import Study
from frivkit.testing.laws import METRIC_LAWS, REDUNDANCY_LAWS, LawError
from frivkit_unit_selectors.selectors import MAP

LAWS = {law.name: law for law in (*METRIC_LAWS, *REDUNDANCY_LAWS)}
CALLS = count()


def of_the_network(value: Callable[[Study], float]) -> Metric[NoOptions]:
    """Return a metric of one number for the whole network."""

    def measure(study: Study, options: NoOptions) -> Iterator[Measurement]:
        del options
        yield Measurement("offender", "network", None, float(value(study)), study.examples)

    return Metric(measure)


def of_each_layer(
    value: Callable[[Study, np.ndarray], float | None],
    per_unit: Callable[[np.ndarray], list[float]] | None = None,
) -> Metric[NoOptions]:
    """Return a metric of one number a layer, of its activations, shape (rows, units)."""

    def measure(study: Study, options: NoOptions) -> Iterator[Measurement]:
        del options
        parts = [rows for _, rows in study.activations(MAP)]
        for site in study.sites:
            rows = np.concatenate([part[site.name] for part in parts])
            detail = {"per_unit": {"value": per_unit(rows)}} if per_unit else {}
            found = value(study, rows)
            yield Measurement(
                "offender", "layer", site.layer, found, study.examples, "map", detail=detail
            )

    return Metric(measure)


def mean_of_batch_means(study: Study) -> float:
    first = study.sites[0].name
    return np.mean([rows[first].mean() for _, rows in study.activations(MAP)])


def weighted_by_number(study: Study, rows: np.ndarray) -> float:
    del study
    return float((rows * np.arange(rows.shape[1])).mean())


def first_unit_and_chance(study: Study, rows: np.ndarray) -> float:
    return float(rows[:, 0].mean() + np.random.default_rng(study.seed).normal(0, 0.01))


def undefined_without_seed_zero(study: Study, rows: np.ndarray) -> float | None:
    first = rows[:, 0].mean() > rows.mean()
    return None if first else float(np.random.default_rng(study.seed).normal())


def correlation_of_first_two(study: Study, rows: np.ndarray) -> float:
    del study
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.corrcoef(rows.T)[0, 1])


def spread_by_mean(study: Study, rows: np.ndarray) -> float:
    del study
    return min(1 / total for total in rows.sum(axis=0).tolist())


def drawn_interval(study: Study, options: NoOptions) -> Iterator[Measurement]:
    del options
    high = np.random.default_rng().uniform()
    yield Measurement("offender", "network", None, 0.0, study.examples, interval=(0.0, high))


def write_over_the_model(study: Study) -> float:
    with study.model.path.open("ab") as file:
        file.write(b"\n")
    return 0.0


def leave_a_file(study: Study) -> float:
    study.model.path.with_suffix(".log").touch()
    return 0.0


def remove_the_data(study: Study) -> float:
    study.model.path.with_suffix(".npz").unlink()
    return 0.0


def edit_the_graph(study: Study) -> float:
    study.model.graph.doc_string = "measured"
    return 0.0


OFFENDERS = [
    (
        "example-order",
        "first example alone",
        of_the_network(lambda study: study.outputs()[0, 0]),
        "network mlp, paper protocol: network: expected value ",
    ),
    (
        "parts-make-the-whole",
        "mean of means of batches",
        of_the_network(mean_of_batch_means),
        r"network cnn, .*: expected value .* with memory for 7 of 50 examples",
    ),
    (
        "parts-make-the-whole",
        "number of batches",
        of_the_network(lambda study: len(list(study.activations(MAP)))),
        r"expected value 1\.0, found 8\.0 with",
    ),
    (
        "unit-order",
        "units weighted by their number",
        of_each_layer(weighted_by_number),
        "network cnn, paper protocol: layer first: expected value ",
    ),
    (
        "unit-order",
        "first unit and a drawn number",
        of_each_layer(first_unit_and_chance),
        "layer first: expected value .* on average over 6 seeds, found .* standard errors",
    ),
    (
        "unit-order",
        "undefined after the first unit",
        of_each_layer(undefined_without_seed_zero),
        "layer first: expected (a|no) value, found (a|no) value under each of 6 seeds",
    ),
    (
        "unit-order",
        "values of units sorted",
        of_each_layer(lambda *_: 0.0, lambda rows: sorted(rows.mean(axis=0).tolist())),
        r"layer first: expected detail\.per_unit\.value\[\d\] ",
    ),
    (
        "dead-units",
        "NaN",
        of_each_layer(correlation_of_first_two),
        "network cnn, .*: layer first of cnn-first-unit-dead: expected value .*, found nan",
    ),
    (
        "dead-units",
        "division by zero",
        of_each_layer(spread_by_mean),
        "expected measurements of cnn-first-unit-dead, found ZeroDivisionError: ",
    ),
    (
        "ones-mask",
        "nodes of the graph",
        of_the_network(lambda study: len(study.model.graph)),
        "expected value 10.0, found 13.0 under masks of ones, spread as a map",
    ),
    (
        "model-unchanged",
        "written over",
        of_the_network(write_over_the_model),
        "expected cnn.onnx as it was, found it changed",
    ),
    (
        "model-unchanged",
        "file beside it",
        of_the_network(leave_a_file),
        "expected cnn.log as it was, found it new",
    ),
    (
        "model-unchanged",
        "data removed",
        of_the_network(remove_the_data),
        "expected cnn.npz as it was, found it gone",
    ),
    (
        "model-unchanged",
        "graph edited",
        of_the_network(edit_the_graph),
        "expected the model in memory as it was, found it edited",
    ),
    (
        "seed",
        "seeded by the clock",
        of_the_network(lambda study: np.random.default_rng().normal()),
        "expected value .* in a second run",
    ),
    (
        "seed",
        "interval seeded by the clock",
        Metric(drawn_interval),
        r"network: expected interval\[1\] .* in a second run",
    ),
    (
        "seed",
        "number of measurements of a study",
        of_the_network(lambda study: study.warnings.append("measured") or len(study.warnings)),
        r"expected value 1\.0, found 2\.0 measured twice in one run",
    ),
    (
        "seed",
        "what a cache held",
        of_the_network(lambda study: study.outputs() is not None and len(study.reused)),
        r"expected value 0\.0, found 1\.0 out of the cache",
    ),
    (
        "seed",
        "number of threads",
        of_the_network(lambda study: study.execution.threads),
        r"expected value 1\.0, found 2\.0 with two threads",
    ),
    (
        "copied-units",
        "never anything redundant",
        of_each_layer(lambda *_: 0.0),
        r"layer first with all copied: expected a value of 0\.5 or more, found 0",
    ),
    (
        "copied-units",
        "one copy makes all needed",
        of_each_layer(lambda study, rows: rows.shape[1] ** -2.0),
        r"layer first with a copy: expected a value of 0\.0138889 or more, found 0\.0123457",
    ),
]


@pytest.mark.parametrize(
    ("law", "metric", "says"),
    [pytest.param(law, metric, says, id=f"{law}: {what}") for law, what, metric, says in OFFENDERS],
)
def test_law_fails_on_an_offender(law: str, metric: Metric, says: str, tmp_path: Path) -> None:
    with pytest.raises(LawError, match=says) as caught:
        LAWS[law].check(metric, tmp_path)
    assert str(caught.value).startswith(f"law {law} is broken: network ")
    assert "\n" not in str(caught.value)


def test_every_law_has_an_offender() -> None:
    assert {law for law, *_ in OFFENDERS} == set(LAWS)


class TestOnesMask:
    """The metric is right, and what puts masks into graphs or spreads them is not."""

    OUTPUTS = of_the_network(lambda study: study.outputs().mean())

    def test_fails_where_a_mask_does_more_than_multiply(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def doubled(build, value, site):
            product, added = insert_mask(build, value, site)
            return build.add("Add", product, product), added

        def whole(model, sites, output):
            return perturbed_whole(model, sites, output, doubled)

        monkeypatch.setattr("frivkit.testing.laws.metric_rules.perturbed_whole", whole)
        with pytest.raises(LawError, match=r"ones-mask is broken: .* under masks of ones"):
            LAWS["ones-mask"].check(self.OUTPUTS, tmp_path)

    def test_fails_where_a_selector_loses_a_unit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        right = type(MAP).mask

        def mask(selector, site, keep):
            return right(selector, site, keep & (np.arange(len(keep)) > 0))

        monkeypatch.setattr(type(MAP), "mask", mask)
        with pytest.raises(LawError, match=r"ones-mask is broken: .* spread as a map"):
            LAWS["ones-mask"].check(self.OUTPUTS, tmp_path)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
class TestEveryLaw:
    def test_fails_where_nothing_could_be_checked(self, law, tmp_path):
        def decline(study, options):
            raise DataError("no data will do")
            yield

        with pytest.raises(LawError, match=f"{law.name} could not be checked: .* no data will do"):
            law.check(Metric(decline), tmp_path)

    def test_fails_where_nothing_is_measured(self, law, tmp_path):
        with pytest.raises(LawError, match="expected measurements, found none"):
            law.check(Metric(lambda study, options: ()), tmp_path)

    def test_lets_errors_that_are_bugs_through(self, law, tmp_path):
        with pytest.raises(ZeroDivisionError):
            law.check(of_the_network(lambda study: 1 / 0), tmp_path)

    def test_skips_a_protocol_that_the_metric_declines(self, law, tmp_path):
        def measure(study, options):
            if study.protocol == "reference":
                raise DataError("the paper's protocol alone")
            yield Measurement("half", "network", None, 0.5, study.examples)

        checked = law.check(Metric(measure), tmp_path)
        assert checked == tuple(f"{make().name}, paper protocol" for make in law.networks)


@pytest.mark.parametrize("law", METRIC_LAWS, ids=lambda law: law.name)
def test_metric_that_stops_measuring_after_the_change_breaks_the_law(law, tmp_path):
    runs = count()

    def measure(study, options):
        if next(runs) % 2:
            raise DataError("tired")
        yield Measurement("half", "network", None, 0.5, study.examples)

    with pytest.raises(LawError, match=r"expected measurements.* found DataError: tired"):
        law.check(Metric(measure), tmp_path)


def test_options_are_the_defaults_unless_given(tmp_path):
    @dataclass(frozen=True)
    class Options:
        value: float = 0.5

    seen = set()

    def measure(study, options):
        seen.add(options.value)
        yield Measurement("given", "network", None, options.value, study.examples)

    law = LAWS["model-unchanged"]
    law.check(Metric(measure, Options), tmp_path)
    law.check(Metric(measure, Options), tmp_path, Options(0.25))
    assert seen == {0.5, 0.25}


def test_laws_read_as_a_list():
    names = [law.name for law in LAWS.values()]
    assert len(names) == len(set(names))
    assert all(law.statement.endswith(".") and "\n" not in law.statement for law in LAWS.values())


def test_units_that_name_units_are_followed(tmp_path):
    def strongest_other(rows):
        means = np.abs(np.corrcoef(rows.T) - 2 * np.eye(rows.shape[1]))
        np.fill_diagonal(means, -1)
        return means.argmax(axis=1).tolist()

    metric = of_each_layer(lambda *_: 0.0, strongest_other)
    assert LAWS["unit-order"].check(metric, tmp_path)


def test_graph_in_memory_is_not_shared_between_checks(tmp_path):
    with pytest.raises(LawError):
        LAWS["model-unchanged"].check(of_the_network(edit_the_graph), tmp_path)
    assert LAWS["model-unchanged"].check(of_the_network(lambda study: 0.0), tmp_path)
    assert isinstance(ir.load(tmp_path / "cnn/cnn.onnx"), ir.Model)
