"""Subsets: every member of a dataset, for a selection of its examples."""

import hashlib
import pickle

import numpy as np
import pytest

from frivkit.data import Dataset, TensorSpec, open_data
from frivkit.data.subset import Subset, held_out, split
from frivkit.errors import DataError

SIZE = 23
X = np.random.default_rng(1).integers(0, 256, (SIZE, 3, 4, 4), dtype=np.uint8)
CHOSEN = np.array([0, 1, 5, 6, 7, 22])


@pytest.fixture
def data(tmp_path):
    np.savez(tmp_path / "d.npz", x=X, y=np.arange(SIZE))
    return open_data(f"npz:{tmp_path / 'd.npz'}?crop=2", None)


@pytest.fixture
def part(data):
    return Subset(data, CHOSEN, "some")


def test_every_public_member_of_a_dataset_is_a_subsets_own(data, part):
    """None may fall back on state that only the constructor of Dataset makes."""
    public = {name for name in (*vars(Dataset), *vars(data)) if not name.startswith("_")}
    own = {*vars(Subset), *vars(part)}
    assert public - own == {"batches"}  # which uses others of these only
    whole = Subset(data, np.arange(SIZE), "all")
    assert whole.digest != data.digest
    assert (whole.spec, whole.examples, whole.inputs) == (data.spec, SIZE, data.inputs)
    assert (whole.has_labels, whole.images, whole.warnings) == (True, True, data.warnings)


def test_it_reads_the_examples_of_its_indices(data, part):
    wanted = data.read(0, SIZE)
    for start, stop in ((0, 6), (1, 4), (5, 6), (3, 3)):
        batch = part.read(start, stop)
        rows = CHOSEN[start:stop]
        np.testing.assert_array_equal(batch.inputs["x"], wanted.inputs["x"][rows])
        assert (batch.labels.tolist(), batch.first) == (rows.tolist(), start)
    joined = [batch.inputs["x"] for batch in part.batches(4)]
    assert [len(each) for each in joined] == [4, 2]
    np.testing.assert_array_equal(np.concatenate(joined), wanted.inputs["x"][CHOSEN])


def test_stored_examples_can_be_preprocessed_and_augmented(data, part):
    stored = part.read_raw(1, 6)
    np.testing.assert_array_equal(stored["x"], X[CHOSEN[1:]])
    plain = part.preprocess(stored, first=1)
    np.testing.assert_array_equal(plain.inputs["x"], part.read(1, 6).inputs["x"])
    corner = part.preprocess(stored, lambda batch, _layout, size: batch[..., : size[0], : size[1]])
    np.testing.assert_array_equal(corner.inputs["x"], X[CHOSEN[1:], :, :2, :2])
    assert plain.labels.tolist() == CHOSEN[1:].tolist()


@pytest.mark.parametrize("read", ["read", "read_raw"])
@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 7)])
def test_reads_outside_are_errors_of_the_caller(part, read, start, stop):
    with pytest.raises(ValueError, match="of 6"):
        getattr(part, read)(start, stop)
    with pytest.raises(ValueError, match="of 6"):
        part.read_raw(2, 2)


@pytest.mark.parametrize("indices", [[], [3, 2], [1, 1], [-1, 2], [0, SIZE]])
def test_indices_that_are_no_selection_are_refused(data, indices):
    with pytest.raises(ValueError, match="indices of a subset"):
        Subset(data, np.array(indices, np.int64), "none")


def test_the_spec_opens_the_data_and_the_description_says_which_examples(data, part):
    again = open_data(part.spec, None)
    assert again.digest == data.digest
    assert part.description == f"{data.spec} (some)"
    nested = Subset(part, np.array([1, 3]), "two")
    assert (nested.spec, nested.description) == (data.spec, f"{data.spec} (some) (two)")
    assert nested.read(0, 2).labels.tolist() == [1, 6]


def test_the_digest_is_that_of_data_and_indices(data, part):
    expected = hashlib.sha256(data.digest.encode() + CHOSEN.tobytes()).hexdigest()
    assert part.digest == expected
    copy = pickle.loads(pickle.dumps(part))  # noqa: S301  # made here
    assert (copy.digest, copy.read(2, 4).labels.tolist()) == (expected, [5, 6])


def test_it_is_adapted_to_other_inputs(part):
    flat = part.adapted_to([TensorSpec("in", "float64", (12,))])
    np.testing.assert_array_equal(
        flat.read(0, 6).inputs["in"], X[CHOSEN, :, 1:3, 1:3].reshape(6, 12)
    )
    assert flat.description == part.description
    with pytest.raises(DataError, match=r"\(3, 2, 2\)"):
        part.adapted_to([TensorSpec("in", "float32", (5,))])


def test_messages_name_the_example_of_the_dataset(tmp_path):
    x = np.zeros((9, 2))
    x[7] = np.nan
    np.save(tmp_path / "x.npy", x)
    part = Subset(open_data(f"npy:{tmp_path / 'x.npy'}", None), np.array([0, 7]), "two")
    with pytest.raises(DataError, match="example 7"):
        part.read(0, 2)


def test_a_split_holds_out_one_in_four(data):
    calibration, verification = split(data)
    held = verification.read(0, verification.examples).labels
    assert [int(index) // 4 for index in held] == sorted({*range(SIZE // 4), *(held // 4)})
    others = calibration.read(0, calibration.examples).labels
    assert sorted([*held, *others]) == list(range(SIZE))
    assert verification.description == f"{data.spec} (one in 4)"
    assert calibration.description == f"{data.spec} (all but one in 4)"
    assert len({int(index) % 4 for index in np.flatnonzero(held_out(400))}) == 4


def test_a_number_that_no_input_takes_is_named_by_its_index_in_the_data(tmp_path):
    x = np.ones((SIZE, 3), np.float32)
    x[7] = np.inf
    np.savez(tmp_path / "d.npz", x=x)
    part = Subset(open_data(f"npz:{tmp_path / 'd.npz'}", None), CHOSEN, "some")
    with pytest.raises(DataError, match="example 7 holds inf"):
        part.read(1, 6)
    for wrong in ([3, 2], [1, 1], [-1, 2], [0, 6]):
        with pytest.raises(ValueError, match=r"of (6|23)"):
            part.read_chosen(np.array(wrong))
