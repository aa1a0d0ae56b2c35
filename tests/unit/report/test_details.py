"""What each built-in metric says in its detail is what its types say, and so the schema."""

import copy
import json

import numpy as np
import pytest

from frivkit.measure.pipeline import Request, analyze
from frivkit.provenance import Clock
from frivkit.report.document import analysis_document
from tests.contract import SCHEMAS, complaints
from tests.nets import NETS

METRICS = (
    "redundancy", "predictability", "correlation", "similarity", "selectivity", "dead-units",
)  # fmt: skip
OPTIONAL = {"note", "values", "method", "constant_units", "fewer_rows_than_units", "layers"}
DEFINED = SCHEMAS["analysis"]["$defs"]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("details")
    (folder / "n.onnx").write_bytes(NETS["residual"]().SerializeToString())
    x = np.random.default_rng(0).normal(size=(40, 3, 4, 4)).astype(np.float32)
    np.savez(folder / "d.npz", x=x, y=np.arange(40) % 3)
    found = analyze(Request(folder / "n.onnx", data=f"npz:{folder / 'd.npz'}"), METRICS)
    return json.loads(json.dumps(analysis_document(found, Clock.start())))


def changed(document, metric, scope):
    """Return a copy of a document that holds one measurement of a metric, and that measurement."""
    found = copy.deepcopy(document)
    rows = [m for m in found["measurements"] if (m["metric"], m["scope"]) == (metric, scope)]
    found["measurements"] = rows[-1:]
    return found, rows[-1]


def test_document_of_all_metrics_is_what_the_schema_says(document):
    assert complaints(document) == []
    found = {(m["metric"], m["scope"]) for m in document["measurements"]}
    assert found == {(m, s) for m in METRICS for s in ("network", "layer")}


@pytest.mark.parametrize("scope", ["network", "layer"])
@pytest.mark.parametrize("metric", METRICS)
class TestSchema:
    def test_unknown_key_is_refused(self, document, metric, scope):
        found, measurement = changed(document, metric, scope)
        assert complaints(found) == []
        measurement["detail"]["surprise"] = 1
        assert complaints(found) != []

    def test_missing_key_is_refused(self, document, metric, scope):
        for key in set(changed(document, metric, scope)[1]["detail"]) - OPTIONAL:
            found, measurement = changed(document, metric, scope)
            del measurement["detail"][key]
            assert complaints(found) != [], key

    def test_wrong_type_is_refused_under_every_key(self, document, metric, scope):
        for key in changed(document, metric, scope)[1]["detail"]:
            found, measurement = changed(document, metric, scope)
            measurement["detail"][key] = {"no": "such thing"}
            assert complaints(found) != [], key

    def test_value_that_is_no_share_is_refused(self, document, metric, scope):
        for value in (-0.1, 1.1, "0.5"):
            found, measurement = changed(document, metric, scope)
            measurement["value"] = value
            assert complaints(found) != []


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "redundancy"])
class TestPerUnit:
    def test_columns_are_those_of_the_schema(self, document, metric):
        _, measurement = changed(document, metric, "layer")
        columns = measurement["detail"]["per_unit"]
        named = "".join(word.capitalize() for word in metric.split("-"))
        assert set(columns) == set(DEFINED[f"{named}Columns"]["required"])
        assert {len(column) for column in columns.values()} == {measurement["detail"]["units"]}

    def test_column_that_is_wrong_or_missing_or_unknown_is_refused(self, document, metric):
        for name in changed(document, metric, "layer")[1]["detail"]["per_unit"]:
            for wrong in ([], ["x"], [-2], 1, [[0.5]]):
                found, measurement = changed(document, metric, "layer")
                measurement["detail"]["per_unit"][name] = wrong
                signed = name in ("mean", "favourite") and wrong == [-2]
                assert bool(complaints(found)) != signed, (name, wrong)
            found, measurement = changed(document, metric, "layer")
            del measurement["detail"]["per_unit"][name]
            assert complaints(found) != []
        found, measurement = changed(document, metric, "layer")
        measurement["detail"]["per_unit"]["surprise"] = [1]
        assert complaints(found) != []


@pytest.mark.parametrize("wrong", [[1], {"value": 3}, {"value": [[1]]}, {"value": [{}]}])
def test_values_of_units_of_any_metric_are_columns(document, wrong):
    found, measurement = changed(document, "correlation", "layer")
    measurement["metric"] = "somebody-elses"
    assert complaints(found) == []
    measurement["detail"]["per_unit"] = wrong
    assert complaints(found) != []
