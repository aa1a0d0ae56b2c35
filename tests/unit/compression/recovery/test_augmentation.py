"""Mirrored and shifted images, against pictures whose pixels say where they were."""

import numpy as np
import pytest

from frivkit.compression.recovery.augmentation import augmentation

SIDE, COUNT = 16, 40


def images(layout: str) -> np.ndarray:
    """Return images whose pixels are 100 * row + column, in two channels if there are any."""
    plain = 100.0 * np.arange(SIDE)[:, np.newaxis] + np.arange(SIDE)
    image = {"hw": plain, "chw": np.stack([plain, -plain]), "hwc": np.stack([plain, -plain], -1)}
    return np.repeat(image[layout][np.newaxis], COUNT, 0)


def first_channel(batch: np.ndarray, layout: str) -> np.ndarray:
    return {"hw": batch, "chw": batch[:, 0], "hwc": batch[..., 0]}[layout]


@pytest.mark.parametrize("layout", ["hw", "chw", "hwc"])
@pytest.mark.parametrize("kinds", [("flip",), ("crop",), ("flip", "crop")])
def test_images_are_mirrored_and_shifted_and_nothing_else(layout, kinds):
    given = images(layout)
    change = augmentation(kinds, (0, 1))
    made = change(given, layout, (SIDE, SIDE))
    assert made.shape == given.shape
    assert np.array_equal(given, images(layout))
    assert np.array_equal(made, change(given, layout, (SIDE, SIDE)))
    pixels = first_channel(made, layout)
    rows, columns = np.divmod(pixels[:, 8], 100)  # of one row in the middle
    mirrored = columns[:, 0] > columns[:, -1]
    assert (rows == rows[:, :1]).all()
    assert 0 < mirrored.sum() < COUNT if "flip" in kinds else not mirrored.any()
    centre = np.where(mirrored, SIDE - 1 - columns[:, 8], columns[:, 8])
    shifts = {
        (int(row) - 8, int(column) - 8) for row, column in zip(rows[:, 0], centre, strict=True)
    }
    if "crop" in kinds:
        assert len(shifts) > 5
        assert {abs(shift) for pair in shifts for shift in pair} == {0, 1, 2}
    else:
        assert shifts == {(0, 0)}


def test_larger_images_are_cropped_without_margins():
    made = augmentation(["crop"], (3,))(images("hw"), "hw", (12, 12))
    assert made.shape == (COUNT, 12, 12)
    assert np.array_equal(np.unique(np.diff(made, axis=2)), [1.0])  # no edge is repeated
    centred = augmentation(["flip"], (3,))(images("hw"), "hw", (12, 12))
    assert {int(row) for row in centred[:, 0, 0] // 100} == {2}
