"""Augmentation, image by image."""

import numpy as np
import pytest

from frivkit.data import open_data
from frivkit.errors import DataError
from frivkit_trainers import feed
from frivkit_trainers.distort import Distorter
from frivkit_trainers.feed import Feed
from frivkit_trainers.settings import LabOptions

IMAGES = np.random.default_rng(0).integers(1, 256, (200, 3, 6, 5), dtype=np.uint8)


def distorted(images=IMAGES, layout="chw", size=(6, 5), seed=0, **options):
    before = images.copy()
    made = Distorter(LabOptions(**options), np.random.default_rng(seed))(images, layout, size)
    np.testing.assert_array_equal(images, before)
    return made


def test_crops_are_all_the_places_of_the_padded_image_about_equally_often():
    made = distorted(size=(6, 5), crop=True, pad=1)
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
    np.testing.assert_array_equal(distorted(size=(4, 2), flip=False), IMAGES[:, :, 1:5, 1:3])


def test_about_half_of_the_images_are_mirrored():
    made = distorted(flip=True)
    same = (made == IMAGES).all(axis=(1, 2, 3))
    mirrored = (made == IMAGES[..., ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_brightness_adds_one_number_to_an_image():
    change = distorted(brightness=63.0) - IMAGES.astype(float)
    assert np.ptp(change, axis=(1, 2, 3)).max() < 1e-4
    added = change.mean(axis=(1, 2, 3))
    assert -63 <= added.min() < -50
    assert 50 < added.max() <= 63


def test_contrast_stretches_each_channel_about_its_mean():
    made = distorted(contrast=0.8)
    centred = IMAGES - IMAGES.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(made.mean(axis=(2, 3)), IMAGES.mean(axis=(2, 3)), rtol=1e-4)
    factor = (made * centred).sum(axis=(1, 2, 3)) / (centred**2).sum(axis=(1, 2, 3))
    wanted = factor[:, None, None, None] * centred + IMAGES.mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(made, wanted, atol=0.01)
    assert 0.2 <= factor.min() < 0.35
    assert 1.65 < factor.max() <= 1.8


@pytest.mark.parametrize("options", [{"crop": True, "pad": 2}, {"flip": True}, {"contrast": 0.5}])
def test_every_layout_is_distorted_alike(options):
    size = (5, 4)
    first = distorted(size=size, **options)
    last = distorted(np.moveaxis(IMAGES, 1, -1), "hwc", size, **options)
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), first)
    grey = distorted(IMAGES[:, 0], "hw", size, **options)
    np.testing.assert_array_equal(grey, first[:, 0])


def test_images_too_small_to_cut_are_refused():
    with pytest.raises(DataError, match="too small"):
        distorted(size=(7, 5), crop=True)


@pytest.mark.parametrize("held", [2**30, 0])
def test_training_images_are_distorted_before_they_are_prepared(held, monkeypatch):
    monkeypatch.setattr(feed, "HELD", held)
    data = open_data("digits?split=train&n=50&crop=6&standardise=image&resize=8", None)
    stored = data.stored(0, 50)["x"][:, 0]
    options = LabOptions(crop=True)
    source = Feed(data, 50, 0, Distorter(options, np.random.default_rng([0, 1])))
    ((inputs, labels),) = source.epoch()
    assert inputs.shape == (50, 1, 8, 8)
    names = data.read(0, 50).labels
    preparation = data._feeds["x"].preparation
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
