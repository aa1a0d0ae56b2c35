"""Augmentation, image by image."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from frivkit.data import open_data
from frivkit.errors import DataError
from frivkit_trainers import loaders
from frivkit_trainers.augment import Augmenter
from frivkit_trainers.loaders import ShuffledLoader
from frivkit_trainers.random_resized_crop import rectangles
from frivkit_trainers.settings import LabOptions

IMAGES = np.random.default_rng(0).integers(1, 256, (200, 3, 6, 5), dtype=np.uint8)


def augmented(images=IMAGES, layout="chw", size=(6, 5), seed=0, **options):
    before = images.copy()
    made = Augmenter(LabOptions(**options), np.random.default_rng(seed))(images, layout, size)
    np.testing.assert_array_equal(images, before)
    return made


def test_crops_are_all_the_places_of_the_padded_image_about_equally_often():
    made = augmented(size=(6, 5), crop="yes", pad=1)
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (1, 1), (1, 1)))
    found = np.zeros((3, 3), int)
    for image, source in zip(made, padded, strict=True):
        places = [
            (top, left)
            for top in range(3)
            for left in range(3)
            if (source[:, top : top + 6, left : left + 5] == image).all()
        ]
        (place,) = places
        found[place] += 1
    assert found.min() > 8  # 200 / 9 is 22
    assert made.dtype == np.uint8


def test_without_crop_the_middle_is_cut_out():
    np.testing.assert_array_equal(augmented(size=(4, 2), flip=False), IMAGES[:, :, 1:5, 1:3])


def test_about_half_of_the_images_are_mirrored():
    made = augmented(flip=True)
    same = (made == IMAGES).all(axis=(1, 2, 3))
    mirrored = (made == IMAGES[..., ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_brightness_adds_one_number_to_an_image():
    change = augmented(brightness=63.0) - IMAGES.astype(float)
    assert np.ptp(change, axis=(1, 2, 3)).max() < 1e-4
    added = change.mean(axis=(1, 2, 3))
    assert -63 <= added.min() < -50
    assert 50 < added.max() <= 63


def test_contrast_stretches_each_channel_about_its_mean():
    made = augmented(contrast=0.8)
    centred = IMAGES - IMAGES.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(made.mean(axis=(2, 3)), IMAGES.mean(axis=(2, 3)), rtol=1e-4)
    factor = (made * centred).sum(axis=(1, 2, 3)) / (centred**2).sum(axis=(1, 2, 3))
    wanted = factor[:, None, None, None] * centred + IMAGES.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(made, wanted, atol=0.01)
    assert 0.2 <= factor.min() < 0.35
    assert 1.65 < factor.max() <= 1.8


@pytest.mark.parametrize(
    "options",
    [{"crop": "yes", "pad": 2}, {"crop": "proportions"}, {"flip": True}, {"contrast": 0.5}],
)
def test_every_layout_is_augmented_alike(options):
    size = (5, 4)
    first = augmented(size=size, **options)
    last = augmented(np.moveaxis(IMAGES, 1, -1), "hwc", size, **options)
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), first)
    grey = augmented(IMAGES[:, 0], "hw", size, **options)
    np.testing.assert_array_equal(grey, first[:, 0])


def test_images_too_small_to_cut_are_refused():
    with pytest.raises(DataError, match="too small"):
        augmented(size=(7, 5), crop="yes")


def cut_of(image):
    """Return top, left, height and width of the cut of an image of coordinates, enlarged since."""
    (top, left), (bottom, right) = image.min(axis=(1, 2)), image.max(axis=(1, 2))
    return np.array([top, left, bottom - top + 1, right - left + 1])


def coordinates(count, height, width):
    """Return images whose two channels say the row and the column of each place."""
    return np.repeat(np.indices((height, width), dtype=np.int16)[None], count, axis=0)


def drawn(count, height, width, random):
    """Return shares of the area, ratios and places of cuts that fit, drawn until they do."""
    found = []
    while len(found) < count:
        area, ratio = random.uniform(0.08, 1), (4 / 3) ** random.uniform(-1, 1)
        cut_height, cut_width = np.sqrt(area * height * width * np.array([1 / ratio, ratio]))
        if cut_height <= height and cut_width <= width:
            found.append((area, ratio, *random.uniform(0, 1, 2)))
    return np.array(found).T


def test_proportions_cut_areas_ratios_and_places_as_evenly_as_fits():
    height, width = 300, 400
    made = augmented(coordinates(800, height, width), size=(420, 420), crop="proportions")
    cuts = np.array([cut_of(image) for image in made])
    assert (cuts == np.rint(cuts)).all()
    top, left, tall, wide = cuts.T
    assert (cuts >= [0, 0, 1, 1]).all()
    assert (top + tall).max() <= height
    assert (left + wide).max() <= width
    rows, columns = ((at + 0.5) / (room + 1) for at, room in (
        (top, height - tall), (left, width - wide)
    ))  # fmt: skip
    areas, ratios = tall * wide / (height * width), wide / tall
    assert 0.079 < areas.min() < 0.1
    assert 0.9 < areas.max() <= 1
    assert 0.74 < ratios.min() < 0.77
    assert 1.3 < ratios.max() < 1.35
    wanted = drawn(4000, height, width, np.random.default_rng(1))
    for found, expected in zip((areas, ratios, rows, columns), wanted, strict=True):
        assert ks_2samp(found, expected).pvalue > 0.01


def test_proportions_resize_each_cut_linearly_and_take_nothing_from_outside_it():
    for image in augmented(coordinates(50, 30, 40), size=(41, 47), crop="proportions"):
        top, left, tall, wide = cut_of(image)
        rows = top + np.clip((np.arange(41) + 0.5) * tall / 41 - 0.5, 0, tall - 1)
        columns = left + np.clip((np.arange(47) + 0.5) * wide / 47 - 0.5, 0, wide - 1)
        np.testing.assert_allclose(image[0], np.repeat(rows[:, None], 47, axis=1), rtol=1e-5)
        np.testing.assert_allclose(image[1], np.repeat(columns[None], 41, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "sides"),
    [((6, 400), (6, 8)), ((400, 6), (8, 6)), ((1, 900), (1, 1)), ((2, 900), (2, 3))],
)
def test_images_too_thin_for_proportions_give_the_largest_cut(shape, sides):
    found = rectangles(50, shape, np.random.default_rng(0))
    assert {tuple(cut) for cut in found[:, 2:].tolist()} == {sides}
    corners = found[:, :2]
    assert (corners >= 0).all()
    assert (corners + sides <= shape).all()
    assert np.ptp(corners, axis=0).max() > 200


def test_proportions_give_images_of_any_size_in_the_number_type_they_need():
    for dtype, wanted in ((np.uint8, np.float32), (np.float64, np.float64)):
        made = augmented(IMAGES.astype(dtype), size=(2, 9), crop="proportions")
        assert (made.shape, made.dtype) == ((200, 3, 2, 9), wanted)
        assert IMAGES.min() <= made.min()
        assert made.max() <= IMAGES.max()


def test_proportions_follow_the_seed():
    first, again, other = (augmented(seed=seed, crop="proportions") for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).mean() > 0.9


@pytest.mark.parametrize("held", [2**30, 0])
def test_training_images_are_augmented_before_they_are_preprocessed(held, monkeypatch):
    monkeypatch.setattr(loaders, "IN_MEMORY", held)
    data = open_data("digits?split=train&n=50&crop=6&standardise=image&resize=8", None)
    stored = data.read_raw(0, 50)["x"][:, 0]
    options = LabOptions(crop="yes")
    source = ShuffledLoader(data, 50, 0, Augmenter(options, np.random.default_rng([0, 1])))
    ((inputs, labels),) = source.epoch()
    assert inputs.shape == (50, 1, 8, 8)
    names = data.read(0, 50).labels
    preparation = data._adapters["x"].preparation
    for image, label in zip(inputs.numpy(), labels.tolist(), strict=True):
        candidates = [
            preparation(
                stored[at][None, None], lambda b, _, __, t=t, f=f: b[..., t : t + 6, f : f + 6]
            )
            for at in np.flatnonzero(names == label)
            for t in range(3)
            for f in range(3)
        ]
        assert min(np.abs(each[0] - image).max() for each in candidates) < 1e-6
