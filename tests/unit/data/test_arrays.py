"""Arrays, tensors, and torch's datasets and loaders as data."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from frivkit.data import Dataset, TensorSpec, open_data
from frivkit.data.arrays import ArraySource, as_dataset
from frivkit.errors import DataError, UsageError

SIZE = 11
X = np.random.default_rng(2).normal(size=(SIZE, 2, 3)).astype(np.float32)
Y = np.arange(SIZE) % 4
A = np.arange(SIZE * 5).reshape(SIZE, 5)
ONE = [TensorSpec("in", "float32", (2, 3))]
TWO = [TensorSpec("a", "int64", (5,)), TensorSpec("b", "float32", (2, 3))]


class Examples(TorchDataset):
    """Map-style, with labels that are Python numbers."""

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        assert 0 <= index < SIZE
        return torch.from_numpy(X[index]), int(Y[index])


class Stream(IterableDataset):
    """Of unknown length, and iterated once only."""

    def __init__(self, end=SIZE):
        self.end, self.given = end, 0

    def __iter__(self):
        assert not self.given
        while self.given < self.end:
            index = self.given % SIZE
            self.given += 1
            yield X[index], np.int64(Y[index])


class Named(Examples):
    def __getitem__(self, index):
        return {"a": A[index], "b": X[index], "y": Y[index]}


def values(data: Dataset, name: str = "in") -> np.ndarray:
    return np.concatenate([batch.inputs[name] for batch in data.batches(4)])


def labels(data: Dataset) -> list[int] | None:
    read = data.read(0, data.examples).labels
    return None if read is None else read.tolist()


def refused(data, inputs=ONE, error=DataError, **options) -> str:
    with pytest.raises(error) as caught:
        as_dataset(data, inputs, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FORMS = {
    "array": (lambda: X, False),
    "tensor": (lambda: torch.from_numpy(X).requires_grad_(), False),
    "float64": (lambda: X.astype(np.float64), False),
    "non-contiguous": (lambda: np.asfortranarray(X), False),
    "tuple": (lambda: (X, Y), True),
    "list of tensors": (lambda: [torch.from_numpy(X), torch.from_numpy(Y)], True),
    "x": (lambda: {"x": X, "y": Y}, True),
    "name": (lambda: {"in": X, "y": torch.from_numpy(Y)}, True),
    "inputs and labels": (lambda: ({"in": X}, Y), True),
    "tensor dataset": (lambda: TensorDataset(torch.from_numpy(X)), False),
    "map-style": (Examples, True),
    "iterable": (Stream, True),
    "loader": (lambda: DataLoader(Examples(), batch_size=3), True),
    "loader of a stream": (lambda: DataLoader(Stream(), batch_size=4), True),
    "loader without batches": (lambda: DataLoader(Examples(), batch_size=None), True),
}


@pytest.mark.parametrize(("make", "labelled"), FORMS.values(), ids=FORMS)
def test_every_form_has_the_same_examples(make, labelled):
    data = as_dataset(make(), ONE)
    assert data.inputs == tuple(ONE)
    np.testing.assert_array_equal(values(data), X)
    assert labels(data) == (Y.tolist() if labelled else None)
    assert data.warnings == ()
    assert (data.spec, data.description) == ("arrays", "arrays")
    few = as_dataset(make(), ONE, examples=7)
    np.testing.assert_array_equal(values(few), X[:7])


@pytest.mark.parametrize(
    "make",
    [
        lambda: (A, X, Y),
        lambda: ([A, X], Y),
        lambda: {"b": X, "a": A, "y": Y},
        lambda: DataLoader(TensorDataset(*map(torch.from_numpy, (A, X, Y))), batch_size=5),
        lambda: DataLoader(Named(), batch_size=4),
        Named,
    ],
)
def test_several_inputs_come_in_order_or_by_name(make):
    data = as_dataset(make(), TWO)
    np.testing.assert_array_equal(values(data, "a"), A)
    np.testing.assert_array_equal(values(data, "b"), X)
    assert labels(data) == Y.tolist()
    assert as_dataset((A, X), TWO).has_labels is False


def test_specs_paths_and_datasets_are_taken_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=X, y=Y)
    opened = open_data("npz:d.npz", None)
    for given in ("npz:d.npz", "d.npz", Path("d.npz"), opened):
        data = as_dataset(given, ONE)
        assert (data.spec, labels(data)) == ("npz:d.npz", Y.tolist())
        np.testing.assert_array_equal(values(data), X)
        assert as_dataset(given, ONE, examples=3).examples == 3
    assert as_dataset(opened, None) is opened
    assert as_dataset(opened, ONE).digest == open_data("npz:d.npz", ONE).digest


def test_a_dataset_knows_no_limit_but_the_smaller_one():
    assert as_dataset((X, Y), ONE, examples=99).examples == SIZE
    assert as_dataset((X, Y), ONE, examples=2).description == "arrays (the first 2)"
    assert "0 examples" in refused(X, error=UsageError, examples=0)


def test_the_digest_follows_the_content_whatever_its_form():
    digests = {as_dataset(make(), ONE).digest for make, labelled in FORMS.values() if labelled}
    assert len(digests) == 1
    changed = X.copy()
    changed[-1, -1, -1] += 1
    others = [(X, Y[::-1]), (changed, Y), (X[:-1], Y[:-1]), X, (X.astype(np.float64), Y)]
    digests |= {as_dataset(each, ONE).digest for each in others}
    assert len(digests) == 6
    assert as_dataset(X.reshape(SIZE, 6), None).digest != as_dataset(X, None).digest


def test_a_loader_is_iterated_once_and_not_beyond_the_examples_requested():
    endless = Stream(end=10**9)
    data = as_dataset(endless, ONE, examples=25)
    assert (data.examples, endless.given) == (25, 25)
    np.testing.assert_array_equal(values(data), np.concatenate([X, X, X])[:25])


def test_too_many_examples_of_a_loader_are_refused_before_memory_runs_out(monkeypatch):
    monkeypatch.setattr("frivkit.data.arrays.IN_MEMORY", 10_000)
    endless = Stream(end=10**9)
    assert "give examples=N" in refused(endless)
    assert endless.given < 500


def test_batches_that_reuse_their_memory_are_copied():
    buffer = torch.empty(2, 3)

    class Reusing(Examples):
        def __getitem__(self, index):
            return buffer.copy_(torch.from_numpy(X[index]))

    np.testing.assert_array_equal(values(as_dataset(Reusing(), ONE)), X)


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (torch.rand(SIZE), "float32 of shape (4,)"),
        (torch.eye(SIZE).long(), "int64 of shape (4, 11)"),
    ],
)
def test_targets_that_are_no_classes_are_left_out_of_a_loader(targets, told):
    loader = DataLoader(TensorDataset(torch.from_numpy(X), targets), batch_size=4)
    data = as_dataset(loader, ONE)
    (warning,) = data.warnings
    assert told in warning
    assert labels(data) is None
    np.testing.assert_array_equal(values(data), X)
    assert "'y' must be one integer class label" in refused((X, targets))


def test_text_beside_the_examples_is_left_out():
    class Captioned(Examples):
        def __getitem__(self, index):
            return X[index], "a caption"

    data = as_dataset(Captioned(), ONE)
    assert (data.has_labels, len(data.warnings)) == (False, 1)


def test_bfloat16_becomes_float32():
    data = as_dataset(torch.from_numpy(X).bfloat16(), ONE)
    np.testing.assert_allclose(values(data), X, rtol=2**-8)


def test_images_of_bytes_are_pointed_out():
    (warning,) = as_dataset(np.zeros((2, 2, 3), np.uint8), ONE).warnings
    assert "divide them by 255" in warning
    assert not as_dataset(np.zeros((2, 6), np.uint8), None).warnings


def test_reads_leave_the_arrays_alone():
    x = X.copy()
    data = as_dataset(x, ONE)
    data.read(0, SIZE).inputs["in"][:] = 9
    np.testing.assert_array_equal(x, X)
    copy = pickle.loads(pickle.dumps(data))  # noqa: S301  # made here
    np.testing.assert_array_equal(values(copy), X)
    assert copy.digest == data.digest


def test_a_source_joins_the_parts_of_a_column():
    parts = [X[:1], X[1:4], X[4:4], X[4:]]
    source = ArraySource({"x": parts, "y": [Y]})
    for start in range(SIZE):
        for stop in range(start + 1, SIZE + 1):
            read = source.read(start, stop)
            np.testing.assert_array_equal(read["x"], X[start:stop])
            np.testing.assert_array_equal(read["y"], Y[start:stop])
        chosen = np.arange(start, SIZE, 2)
        np.testing.assert_array_equal(source.take(chosen)["x"], X[chosen])
    assert source.digest == ArraySource({"y": [Y], "x": [X]}).digest


@pytest.mark.parametrize(
    ("data", "inputs", "told"),
    [
        (list(X), ONE, "11 arrays for 1 input; give one array of all examples"),
        ((A,), TWO, "1 arrays for 2 inputs"),
        ((X, Y[:-1]), ONE, "11 in 'x', 10 in 'y'"),
        ({"x": X, "labels": Y}, ONE, "there are data for 'labels', but the inputs are in"),
        ({"x": X, "in": X}, ONE, "there are data for 'x' and 'in', but one input"),
        ({}, ONE, "the arrays differ"),
        ("none.npz", ONE, "there is no such file"),
        (3, ONE, "is a single number"),
        (object(), ONE, "'x' is a object"),
        (["a", "b"], ONE, "'x' is a str"),
        (np.array(["a"]), ONE, "array of <U1"),
        (X[:0], ONE, "has no examples"),
        (X[:, :1], ONE, "(1, 3), but the model's input 'in' takes (2, 3)"),
        (np.full((2, 2, 3), np.nan), ONE, "is not finite"),
        (TensorDataset(torch.zeros(0, 2, 3)), ONE, "have no examples"),
        ((A, X, Y), [TWO[0], TensorSpec("y", "float32", (2, 3))], "an input is named y"),
    ],
)
def test_other_data_are_refused(data, inputs, told):
    with pytest.raises(DataError) as caught:
        values(as_dataset(data, inputs))
    assert told in str(caught.value)


def test_examples_of_several_shapes_are_refused_by_number():
    class Ragged(Examples):
        def __getitem__(self, index):
            return X[index, : 1 + (index < 9)]

    message = refused(Ragged())
    assert "'x' of example 9 is float32 of shape (1, 3)" in message


def test_torch_is_not_imported_for_arrays():
    script = (
        "import sys, numpy as np\n"
        "from frivkit.data.arrays import as_dataset\n"
        "as_dataset((np.zeros((2, 3)), np.array([0, 1])), None).read(0, 2)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
