"""``frivkit.frontier``: what it takes, and a result that says what the document says."""

import numpy as np
import pytest

import frivkit
from frivkit.errors import UsageError
from tests.program import write_mlp
from tests.unit.compression.test_frontier import FakeStopwatch

SHARES = [0.8, 0.5]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    x = np.random.default_rng(2).normal(size=(200, 8)).astype(np.float32)
    return write_mlp(folder / "net.onnx", 24), x


@pytest.fixture(scope="module")
def result(given, tmp_path_factory):
    model, x = given
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frivkit.compression.frontier.Stopwatch", FakeStopwatch)
        return frivkit.frontier(
            model,
            folder / "thin-{budget}.onnx",
            data=x,
            macs=SHARES,
            agreement=0.7,
            time_batches=[1, 4],
            cache=folder / "cache",
        )


def test_files_and_shares_are_those_of_the_plans(result):
    assert result.shares == SHARES
    assert {share: path.name for share, path in result.paths.items()} == {
        0.8: "thin-0.8.onnx",
        0.5: "thin-0.5.onnx",
    }
    for path in result.paths.values():
        assert frivkit.load(path).path == path
    assert {choice["agreement"] for choice in result.document["choices"]} == {0.7}


def test_smallest_is_what_the_document_names(result):
    for choice in result.document["choices"]:
        found = result.smallest(
            choice["agreement"], choice["cost"], batch=choice["batch"], surely=choice["surely"]
        )
        assert found == choice["plan"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.9, "bytes"), {}), "cost is 'bytes'; give 'latency' or 'macs'"),
        (((1.5,), {}), "agreement is 1.5"),
        (((0.9,), {"batch": 3}), "batch 3 was not timed; there are: 1, 4"),
    ],
)
def test_questions_without_an_answer_are_refused(result, arguments, message):
    positional, named = arguments
    with pytest.raises(UsageError, match=message):
        result.smallest(*positional, **named)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output": "thin.onnx"}, "output is thin.onnx; give a name such as"),
        ({"macs": [0.5, 2]}, "macs is 2"),
        ({"macs": []}, "macs is empty"),
        ({"agreement": 0}, "agreement is 0"),
        ({"time_batches": [0]}, "time_batches is 0"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(given, arguments, message):
    model, x = given
    with pytest.raises(UsageError, match=message):
        frivkit.frontier(model, data=x, **arguments)


def test_table_drawing_and_text_show_the_plans(result):
    table = result.to_pandas()
    plans = result.document["plans"]
    assert list(table.share) == SHARES
    assert list(table["latency 4"]) == [plan["latency"]["4"]["ratio"][1] for plan in plans]
    assert list(table.low) == [plan["agreement"]["interval"][0] for plan in plans]
    axes = result.plot("macs")
    drawn = axes.get_lines()[0]
    assert list(drawn.get_xdata()) == [plan["left"]["macs"] for plan in plans]
    least = 0.5 / result.document["held_out"]["examples"]
    expected = [max(1 - plan["agreement"]["labels"], least) for plan in plans]
    assert list(drawn.get_ydata()) == pytest.approx(expected)
    assert axes.yaxis_inverted()
    assert result.plot(batch=4, ax=axes) is axes
    with pytest.raises(UsageError, match="not measured at batch 3"):
        result.plot(batch=3)
    assert repr(result).startswith("<frivkit frontier>\n  net.onnx: 2 plans\n")
    assert "take, where labels agree" in str(result)
    assert result._repr_html_().count("<table") == 2
