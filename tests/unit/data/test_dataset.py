"""Fitting, labels, batches and opening, on arrays in memory."""

import math
import pickle
import sys
import types
from importlib.metadata import EntryPoint
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frivkit.data import Batch, Dataset, DataSpec, TensorSpec, input_columns, open_data
from frivkit.data.adapt import EXAMPLE_BYTES, adapted
from frivkit.errors import DataError, PluginError, UsageError
from frivkit.hooks.registry import Registry
from frivkit.hooks.specs import GROUP, Offer, hookimpl


class MemorySource:
    """Arrays in memory that note which rows are read."""

    def __init__(self, **arrays):
        self.arrays = arrays
        self.examples = min(map(len, arrays.values()))
        self.columns = {
            name: TensorSpec(name, array.dtype.name, array.shape[1:])
            for name, array in arrays.items()
        }
        self.digest = "0" * 64
        self.reads = []

    def read(self, start, stop):
        self.reads.append((start, stop))
        return {name: array[start:stop] for name, array in self.arrays.items()}


def dataset(options: str, inputs=None, **arrays) -> Dataset:
    return Dataset(DataSpec.parse(f"held?{options}"), MemorySource(**arrays), inputs)


def preprocess(options: str, x) -> np.ndarray:
    data = dataset(options, x=x)
    return data.read(0, data.examples).inputs["x"]


def wants(*shape, dtype="float32", name="input"):
    return [TensorSpec(name, dtype, shape)]


# --- fitting ---


@pytest.mark.parametrize(
    ("stored", "wanted", "fitted"),
    [
        ((3, 8, 8), (3, 8, 8), (3, 8, 8)),
        ((3, 8, 8), (3, None, None), (3, 8, 8)),
        ((8, 8), (1, 8, 8), (1, 8, 8)),
        ((8, 8), (8, 8, 1), (8, 8, 1)),
        ((8, 8), (None, None, None), (1, 8, 8)),
        ((1, 8, 8), (8, 8), (8, 8)),
        ((8, 8, 1), (8, None), (8, 8)),
        ((3, 8, 8), (192,), (192,)),
        ((192,), (3, 8, 8), (3, 8, 8)),
        ((), (1,), (1,)),
        ((1,), (), ()),
        ((3, 8, 8), (8, 8, 3), None),
        ((3, 8, 8), (3, 32, 32), None),
        ((3, 8, 8), (None,), None),
        ((192,), (3, None, 8), None),
        ((4, 16), (8, 8), None),
        ((8, 8), (3, 8, 8), None),
        ((3, 8, 8), (8, 8), None),
    ],
)
def test_only_harmless_changes_of_shape_are_made(stored, wanted, fitted):
    assert adapted(stored, wanted) == fitted
    x = np.arange(2 * math.prod(stored), dtype=np.float32).reshape(2, *stored)
    if fitted is None:
        with pytest.raises(DataError) as caught:
            dataset("", wants(*wanted), x=x)
        assert str(stored) in str(caught.value)
        assert str(wanted).replace("None", "any") in str(caught.value)
    else:
        data = dataset("", wants(*wanted), x=x)
        assert data.inputs == (TensorSpec("input", "float32", fitted),)
        np.testing.assert_array_equal(data.read(0, 2).inputs["input"], x.reshape(2, *fitted))


@pytest.mark.parametrize(
    ("stored", "wanted", "advised"),
    [
        ((8, 6, 3), (3, 8, 6), "layout=nchw"),
        ((3, 8, 6), (8, 6, 3), "layout=nhwc"),
        ((3, 8, 6), (3, 32, 24), "size=32x24"),
        ((8, 6, 3), (None, 24, 3), "size=8x24"),
    ],
)
def test_advice_of_a_shape_error_makes_the_data_fit(stored, wanted, advised):
    x = np.zeros((2, *stored))
    with pytest.raises(DataError, match=f"{advised} would fit"):
        dataset("", wants(*wanted), x=x)
    assert dataset(advised, wants(*wanted), x=x).examples == 2


def test_flat_examples_in_another_shape_are_warned_of():
    assert dataset("", wants(1, 8, 8), x=np.zeros((2, 64))).warnings
    assert not dataset("", wants(1, 64), x=np.zeros((2, 64))).warnings
    assert not dataset("", wants(64), x=np.zeros((2, 1, 8, 8))).warnings


@pytest.mark.parametrize("stored", ["bool", "uint8", "int64", "float16", "float64", ">f4", ">i2"])
@pytest.mark.parametrize("wanted", ["float16", "float32", "float64"])
def test_numbers_of_any_type_go_to_a_float_input(stored, wanted):
    x = np.array([[0, 1], [1, 0]]).astype(stored)
    got = dataset("", wants(2, dtype=wanted), x=x).read(0, 2).inputs["input"]
    assert got.dtype == wanted
    assert got.tolist() == [[0, 1], [1, 0]]


def test_integers_go_to_any_integer_input_that_holds_them():
    x = np.array([[1], [2], [200], [-1]], np.int64)
    data = dataset("", wants(1, dtype="uint8"), x=x)
    assert data.read(0, 3).inputs["input"].tolist() == [[1], [2], [200]]
    with pytest.raises(DataError, match="'x' of example 3 holds -1, which does not fit uint8"):
        data.read(2, 4)
    with pytest.raises(DataError, match="example 2 holds 200, which does not fit int8"):
        dataset("", wants(1, dtype="int8"), x=x).read(0, 4)
    with pytest.raises(DataError, match="does not fit int64"):
        dataset("", wants(1, dtype="int64"), x=np.array([[2**63]], np.uint64)).read(0, 1)
    with pytest.raises(DataError, match="example 1 holds 2, which does not fit bool"):
        dataset("", wants(1, dtype="bool"), x=x).read(0, 2)


def test_fractions_reach_an_integer_input_only_through_dtype():
    x = np.array([[1.2, 2.7]])
    with pytest.raises(DataError, match=r"float64.*takes int64.*dtype=int64"):
        dataset("", wants(2, dtype="int64"), x=x)
    with pytest.raises(DataError, match="takes int64"):
        dataset("scale=2", wants(2, dtype="int64"), x=x.astype(int))
    data = dataset("dtype=int64", wants(2, dtype="int64"), x=x)
    assert data.read(0, 1).inputs["input"].tolist() == [[1, 3]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", ["", "scale=0.5&mean=1", "size=3x3"])
def test_what_is_not_finite_is_reported_by_example_and_column(bad, options):
    x = np.zeros((300, 1, 4, 4))
    x[170, 0, 3, 0] = x[250] = bad
    data = dataset(options, x=x)
    assert data.read(0, 170).inputs["x"].shape[0] == 170
    for start in (0, 100, 170):
        with pytest.raises(DataError, match=r"'x' of example 170 holds .*not finite"):
            data.read(start, 300)
    with pytest.raises(DataError, match=r"'x' of example 170 holds .*not finite"):
        dataset("dtype=int64", wants(1, 4, 4, dtype="int64"), x=x).read(0, 300)


def test_overflow_of_the_models_float_type_is_reported():
    with pytest.raises(DataError, match="example 1 holds inf"):
        dataset("", wants(1, dtype="float16"), x=np.array([[1.0], [1e6]])).read(0, 2)
    with pytest.raises(DataError, match="example 1 holds inf"):
        dataset("scale=1e300", wants(1), x=np.array([[0.0], [1e300]])).read(0, 2)


def test_several_inputs_are_fed_by_name():
    inputs = [TensorSpec("b", "float32", (3,)), TensorSpec("a", "int64", (None,))]
    a, b = np.arange(4).reshape(2, 2), np.ones((2, 3))
    data = dataset("", inputs, a=a, b=b, y=np.array([0, 1]))
    batch = data.read(0, 2)
    assert list(batch.inputs) == ["b", "a"]
    np.testing.assert_array_equal(batch.inputs["a"], a)
    assert batch.labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="'b', an input of the model; there are x"):
        dataset("", inputs, x=a)


def test_a_single_input_takes_x_or_the_column_of_its_name():
    assert input_columns(wants(3), ["input", "x"]) == {"input": "x"}
    assert input_columns(wants(3), ["input", "y"]) == {"input": "input"}
    assert input_columns((), ["x", "z"]) == {"x": "x"}
    with pytest.raises(DataError, match="no array is named 'x'; there are z"):
        input_columns((), ["z"])


def test_inputs_of_types_without_numbers_are_refused():
    with pytest.raises(DataError, match="takes str"):
        dataset("", wants(3, dtype="str"), x=np.zeros((2, 3)))


def test_dtype_rounds_to_the_nearest_whole_number():
    got = preprocess("dtype=uint8&scale=1/2", np.array([[0, 1, 2, 3, 509, 510]]))
    assert got.dtype == np.uint8
    assert got.tolist() == [[0, 0, 1, 2, 254, 255]]
    with pytest.raises(DataError, match=r"'x' of example 1 holds 256.0, which does not fit uint8"):
        preprocess("dtype=uint8", np.array([[0.0], [256.4]]))


@pytest.mark.parametrize("name", ["complex64", "float8", "str", ""])
def test_dtype_names_a_type_of_numbers(name):
    with pytest.raises(UsageError, match=f"no dtype is named '{name}'"):
        dataset(f"dtype={name}", x=np.zeros((2, 2)))


# --- labels ---


def test_labels_come_as_int64():
    data = dataset("", x=np.zeros((3, 2)), y=np.array([2, 0, 1], np.uint8))
    labels = data.read(1, 3).labels
    assert (labels.dtype, labels.tolist(), data.has_labels) == (np.int64, [0, 1], True)
    assert dataset("", x=np.zeros((3, 2))).read(0, 3).labels is None


@pytest.mark.parametrize(
    ("y", "advised"),
    [
        (np.eye(3, dtype=int), "argmax"),
        (np.zeros((3, 1), int), "ravel"),
        (np.zeros(3), "astype"),
        (np.zeros((3, 2, 2), int), "astype"),
    ],
)
def test_labels_of_another_form_are_refused_with_advice(y, advised):
    with pytest.raises(DataError, match=advised):
        dataset("", x=np.zeros((3, 2)), y=y)


def test_negative_labels_are_reported_by_example():
    with pytest.raises(DataError, match="'y' of example 2 holds -1"):
        dataset("", x=np.zeros((3, 2)), y=np.array([0, 1, -1])).read(0, 3)


# --- batches ---


def test_preprocessing_leaves_the_stored_rows_alone():
    x = np.ones((3, 1, 4, 4), np.float32)
    data = dataset("scale=2&mean=1", x=x)
    data.read(0, 3).inputs["x"][:] = 9
    data.read(0, 3)
    assert (x == 1).all()


@given(st.sets(st.integers(1, 22)), st.sampled_from([1, 100, 2**25]))
def test_batching_does_not_change_what_is_read(cuts, at_a_time):
    x = np.random.default_rng(3).integers(0, 9, (23, 3, 4, 4))
    data = dataset("scale=1/9&size=5&channels=bgr", wants(None, 5, 5), x=x, y=np.arange(23))
    whole = data.read(0, 23)
    edges = [0, *sorted(cuts), 23]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frivkit.data.dataset.READ_BYTES", at_a_time)
        parts = [data.read(a, b) for a, b in pairwise(edges)]
    joined = np.concatenate([part.inputs["input"] for part in parts])
    assert joined.tobytes() == whole.inputs["input"].tobytes()
    assert np.concatenate([part.labels for part in parts]).tolist() == list(range(23))
    assert [part.first for part in parts] == edges[:-1]


def test_batches_cover_all_examples_in_order():
    data = dataset("n=10", x=np.arange(12).reshape(12, 1))
    batches = list(data.batches(4))
    assert [(batch.first, len(batch.inputs["x"])) for batch in batches] == [(0, 4), (4, 4), (8, 2)]
    assert np.concatenate([batch.inputs["x"] for batch in batches]).ravel().tolist() == [*range(10)]
    with pytest.raises(ValueError, match="batches of 0"):
        next(data.batches(0))


def test_a_read_touches_only_its_rows_and_few_at_a_time(monkeypatch):
    monkeypatch.setattr("frivkit.data.dataset.READ_BYTES", 4000)
    source = MemorySource(x=np.zeros((1000, 10, 10), np.float32))
    Dataset(DataSpec("held"), source).read(300, 325)
    assert source.reads == [(300, 310), (310, 320), (320, 325)]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 11)])
def test_reads_outside_the_examples_are_errors_of_the_caller(start, stop):
    data = dataset("n=10", x=np.zeros((12, 2)))
    with pytest.raises(ValueError, match="of 10"):
        data.read(start, stop)


def test_an_empty_read_gives_an_empty_batch():
    batch = dataset("", x=np.zeros((3, 2)), y=np.arange(3)).read(2, 2)
    assert isinstance(batch, Batch)
    assert (batch.inputs["x"].shape, batch.labels.shape) == ((0, 2), (0,))


def test_without_inputs_columns_come_as_float32():
    assert preprocess("", np.array([[1, 2]], np.int64)).dtype == np.float32
    assert preprocess("dtype=int16", np.array([[1, 2]], np.int64)).dtype == np.int16


@pytest.mark.parametrize("n", ["0", "-1", "few"])
def test_n_is_a_positive_whole_number(n):
    with pytest.raises(UsageError, match=f"n={n} is not a whole number from 1"):
        dataset(f"n={n}", x=np.zeros((3, 2)))


def test_no_examples_are_an_error():
    with pytest.raises(DataError, match="has no examples"):
        dataset("", x=np.zeros((0, 2)))
    with pytest.raises(DataError, match="give examples of 1 to"):
        dataset("", x=np.zeros((2, 0)))


def test_absurdly_large_examples_are_refused_before_any_is_read():
    source = MemorySource(x=np.zeros((2, 2, 2)))
    source.columns = {"x": TensorSpec("x", "uint8", (EXAMPLE_BYTES + 1,))}
    with pytest.raises(DataError, match=f"{EXAMPLE_BYTES + 1} bytes each"):
        Dataset(DataSpec("held"), source)
    with pytest.raises(DataError, match="bytes each"):
        dataset("size=100000", x=np.zeros((2, 2, 2)))
    assert source.reads == []


def test_digest_follows_everything_that_changes_what_is_read():
    x = np.zeros((6, 1, 4, 4), np.uint8)
    inputs = wants(1, 4, 4)
    same = {dataset(o, inputs, x=x).digest for o in ("", "n=6", "n=600")}
    same.add(dataset("", wants(None, None, None, name="other"), x=x).digest)
    assert len(same) == 1
    options = ["n=5", "scale=2", "scale=3", "mean=1", "std=2", "split=train", "size=4", "crop=4"]
    others = {dataset(o, inputs, x=x).digest for o in [*options, "dtype=float64", "layout=nchw"]}
    others.add(dataset("", wants(16), x=x).digest)
    others.add(dataset("", wants(1, 4, 4, dtype="float64"), x=x).digest)
    others.add(dataset("note=%FF", inputs, x=x).digest)
    assert len(others - same) == len(options) + 5
    other = MemorySource(x=x)
    other.digest = "1" * 64
    assert Dataset(DataSpec("held"), other, inputs).digest not in same


def test_a_pickled_dataset_reads_the_same():
    data = dataset("size=5&mean=1&layout=nhwc", x=np.arange(32).reshape(2, 1, 4, 4))
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301  # made one line above
    np.testing.assert_array_equal(copy.read(0, 2).inputs["x"], data.read(0, 2).inputs["x"])
    assert (copy.digest, copy.spec) == (data.digest, data.spec)


# --- opening ---


@pytest.fixture
def registry(monkeypatch):
    """Return a function that makes a registry of one plugin for each keyword, offering ``held``."""

    def make(**plugins):
        entries = []
        for name, source in plugins.items():
            module = types.ModuleType(name)
            module.source = source
            offers = [Offer("held", f"{name}:source", "held in memory")]
            module.data_sources = hookimpl(lambda offers=offers: offers, specname="data_sources")
            monkeypatch.setitem(sys.modules, name, module)
            entries.append(EntryPoint(name, name, GROUP))
        return Registry(entries)

    return make


def test_source_gets_the_spec_and_the_inputs(registry):
    seen = []

    def source(spec, inputs):
        seen.append((spec, inputs))
        return MemorySource(x=np.zeros((20, 4)))

    inputs = wants(2, 2)
    data = open_data("held:a:b?n=9", inputs, registry(one=source), examples=12)
    assert seen == [(DataSpec("held", "a:b", {"n": "9"}), tuple(inputs))]
    assert (data.examples, data.inputs[0].shape) == (9, (2, 2))
    assert open_data(DataSpec("held"), None, registry(one=source)).examples == 20
    assert seen[1][1] == ()


@pytest.mark.parametrize(
    ("spec", "examples", "read"),
    [
        ("held?n=5", 3, 3),
        ("held?n=3", 5, 3),
        ("held", 3, 3),
        ("held", 99, 20),
        ("held?n=99", 50, 20),
    ],
)
def test_the_smaller_number_of_examples_wins(registry, spec, examples, read):
    plugins = registry(one=lambda _spec, _inputs: MemorySource(x=np.zeros((20, 4))))
    assert open_data(spec, None, plugins, examples=examples).examples == read


def test_fewer_than_one_example_cannot_be_asked_for(registry):
    with pytest.raises(UsageError, match="0 examples"):
        open_data("held", None, registry(one=None), examples=0)


def test_a_source_that_two_plugins_offer_is_written_with_its_plugin(registry):
    plugins = registry(
        one=lambda spec, _inputs: MemorySource(x=np.full((1, 1), len(spec.path))),
        two=lambda _spec, _inputs: MemorySource(x=np.full((1, 1), -1)),
    )
    data = open_data("one:held:C:file?n=1", None, plugins)
    assert data.read(0, 1).inputs["x"].tolist() == [[len("C:file")]]
    assert data.spec == "one:held:C:file?n=1"
    assert open_data("two:held", None, plugins).read(0, 1).inputs["x"].tolist() == [[-1]]
    with pytest.raises(UsageError, match="held"):
        open_data("held", None, plugins)


def test_a_plugin_may_be_named_as_its_source(registry):
    plugins = registry(held=lambda spec, _inputs: MemorySource(x=np.full((1, 1), len(spec.path))))
    assert open_data("held:path", None, plugins).read(0, 1).inputs["x"].tolist() == [[4]]


def test_unknown_source_is_refused_with_the_nearest_ones(registry):
    with pytest.raises(UsageError, match="'hold'; did you mean held"):
        open_data("hold", None, registry(one=None))


def test_a_source_that_breaks_gives_one_line(registry):
    def source(_spec, _inputs):
        raise KeyError("first\nsecond")

    with pytest.raises(DataError) as caught:
        open_data("held", None, registry(one=source))
    assert "KeyError" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_source_that_cannot_be_loaded_is_a_plugin_error(registry):
    plugins = registry(one=None)
    del sys.modules["one"].source
    with pytest.raises(PluginError):
        open_data("held", None, plugins)


def test_a_source_that_gives_wrong_rows_is_caught():
    source = MemorySource(x=np.zeros((5, 3)))
    data = Dataset(DataSpec("held"), source)
    source.arrays = {"x": np.zeros((1, 3))}
    with pytest.raises(DataError, match=r"should come in shape \(5, 3\) but is \(1, 3\)"):
        data.read(0, 5)
    source.arrays = {}
    with pytest.raises(DataError, match="but is nothing"):
        data.read(0, 5)
    source.arrays = None
    with pytest.raises(DataError, match="AttributeError"):
        data.read(0, 5)
