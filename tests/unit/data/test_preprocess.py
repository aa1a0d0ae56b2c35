"""Resizing, cropping, scaling and moving channels, against torch and plain formulas."""

import numpy as np
import pytest
import torch

from frivkit.data.preprocess import prepare, resize_axis
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError, UsageError


def preprocess(options: str, x) -> np.ndarray:
    preparation = prepare(DataSpec.parse(f"held?{options}"), "x", x.shape[1:], x.dtype.name)
    batch = preparation(x)
    assert batch.shape[1:] == preparation.shape
    assert batch.dtype == preparation.dtype
    return batch


def test_scale_mean_and_std_follow_the_formula():
    x = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
    got = preprocess("scale=1/255&mean=0.1,0.2,0.3&std=0.5,0.6,0.7", x)
    shape = (3, 1, 1)
    mean, std = (np.reshape(v, shape) for v in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (x / 255 - mean) / std, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (5, 7), (5, 8, 8), (5, 2, 3, 4, 5)])
def test_one_number_scales_examples_of_any_shape(shape):
    x = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(preprocess("scale=-2&mean=1&std=4", x), (x * -2 - 1) / 4, rtol=1e-5)


def test_numbers_a_channel_follow_the_stored_channel_axis():
    last = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)
    first = np.moveaxis(last, -1, 1)
    options = "mean=1,2,3&std=4,5,6"
    np.testing.assert_array_equal(
        np.moveaxis(preprocess(options, last), -1, 1), preprocess(options, first)
    )
    flat = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(preprocess("mean=1,2,3", flat), flat - [1, 2, 3])


def test_large_integers_are_scaled_in_double_precision():
    x = np.array([[2**31 - 1, 2**31 - 3]], np.int64)
    assert preprocess(f"mean={2**31 - 2}", x).tolist() == [[1, -1]]


@pytest.mark.parametrize("size", [(8, 8), (5, 11), (1, 1), (16, 3), (7, 9), (32, 32)])
def test_resize_agrees_with_torch(size):
    x = np.random.default_rng(1).normal(size=(2, 3, 7, 9)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x), size=size, mode="bilinear", align_corners=False, antialias=False
    )
    got = preprocess(f"size={size[0]}x{size[1]}", x)
    np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=2e-6)
    got = preprocess(f"size={size[0]}x{size[1]}", np.moveaxis(x, 1, -1))
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), wanted.numpy(), rtol=0, atol=2e-6)


def test_one_size_is_height_and_width_also_without_channels():
    x = np.random.default_rng(1).integers(0, 256, (2, 6, 8), dtype=np.uint8)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x[:, None].astype(np.float32)), size=(4, 4), mode="bilinear"
    )
    np.testing.assert_allclose(preprocess("size=4", x), wanted[:, 0].numpy(), atol=1e-4)


def test_resize_to_the_same_size_changes_nothing():
    x = np.random.default_rng(1).normal(size=(2, 7)).astype(np.float32)
    np.testing.assert_array_equal(resize_axis(x, 1, 7), x)


def test_crop_takes_the_middle_after_resizing():
    x = np.arange(2 * 7 * 6).reshape(2, 1, 7, 6)
    np.testing.assert_array_equal(preprocess("crop=4x2", x), x[:, :, 1:5, 2:4])
    np.testing.assert_array_equal(preprocess("size=7x6&crop=3", x), x[:, :, 2:5, 1:4])
    np.testing.assert_array_equal(preprocess("crop=7x6", x), x)


def test_layout_moves_channels_and_adds_a_missing_axis():
    last = np.arange(2 * 5 * 4 * 3).reshape(2, 5, 4, 3)
    np.testing.assert_array_equal(preprocess("layout=nchw", last), np.moveaxis(last, -1, 1))
    np.testing.assert_array_equal(preprocess("layout=nhwc", last), last)
    first = np.moveaxis(last, -1, 1)
    np.testing.assert_array_equal(preprocess("layout=nhwc", first), last)
    grey = last[..., 0]
    np.testing.assert_array_equal(preprocess("layout=nchw", grey), grey[:, None])
    np.testing.assert_array_equal(preprocess("layout=nhwc", grey), grey[..., None])


def test_three_axes_are_channels_first_unless_only_the_last_looks_like_colours():
    for shape, moved in [((3, 8, 3), (8, 3, 3)), ((16, 8, 8), (8, 8, 16)), ((1, 9, 9), (9, 9, 1))]:
        assert preprocess("layout=nhwc", np.zeros((1, *shape))).shape[1:] == moved
    assert preprocess("layout=nchw", np.zeros((1, 8, 9, 4))).shape[1:] == (4, 8, 9)


@pytest.mark.parametrize("axis", [1, 3])
def test_bgr_reverses_channels_after_the_arithmetic(axis):
    x = np.random.default_rng(2).normal(size=(2, 3, 5, 5)).astype(np.float32)
    stored = np.moveaxis(x, 1, axis)
    got = np.moveaxis(preprocess("channels=bgr&mean=1,2,3", stored), axis, 1)
    wanted = (x - np.float32([1, 2, 3]).reshape(3, 1, 1))[:, ::-1]
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(preprocess("channels=rgb", stored), stored)


@pytest.mark.parametrize("shape", [(5, 7), (5, 2, 3, 4, 5), (5,)])
@pytest.mark.parametrize("option", ["size=4", "crop=2", "layout=nchw", "channels=rgb"])
def test_image_keys_are_refused_for_what_is_no_image(option, shape):
    with pytest.raises(DataError, match=f"{option} wants images"):
        preprocess(option, np.zeros(shape))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ("mean=1,2", (3, 8, 8)),
        ("std=1,2,3", (8, 8)),
        ("std=1,2,3", (2, 3, 8, 8)),
        ("channels=bgr", (1, 8, 8)),
        ("channels=bgr", (8, 8)),
        ("crop=9", (1, 8, 8)),
        ("size=4&crop=5", (1, 8, 8)),
    ],
)
def test_keys_that_do_not_suit_the_shape_are_refused(options, shape):
    with pytest.raises(DataError, match="wants"):
        preprocess(options, np.zeros((2, *shape)))


@pytest.mark.parametrize(
    "option",
    [
        *("scale=x", "scale=", "scale=1/0", "scale=nan", "scale=1e999", "scale=0", "scale=1,2"),
        *("mean=1,,2", "std=0", "std=1,-1", "size=4x", "size=0x4", "size=1x2x3", "crop=-1"),
        *("crop=1.5", "layout=chw", "channels=grey"),
    ],
)
def test_malformed_values_are_usage_errors(option):
    with pytest.raises(UsageError) as caught:
        preprocess(option, np.zeros((2, 3, 8, 8)))
    assert option.partition("=")[0] in str(caught.value)


# --- by image, and after it ---


@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 6), (5, 6, 3)])
def test_each_image_is_standardised_by_itself(shape):
    x = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    x[2] = 7  # without contrast
    got = preprocess("standardise=image", x)
    for image, wanted in zip(got, x.astype(float), strict=True):
        spread = max(wanted.std(), 1 / np.sqrt(wanted.size))
        np.testing.assert_allclose(image, (wanted - wanted.mean()) / spread, rtol=1e-5, atol=1e-6)
    assert got.dtype == np.float32
    assert not got[2].any()


def test_a_weak_image_is_not_blown_up():
    x = np.zeros((1, 4, 4))
    x[0, 0, 0] = 1e-3
    np.testing.assert_allclose(preprocess("standardise=image", x), (x - x.mean()) * 4, atol=1e-9)


def test_the_paper_s_alexnet_input_is_cropped_standardised_and_enlarged():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    got = preprocess("resize=32&crop=28&standardise=image", x)
    middle = x[:, :, 2:30, 2:30].astype(np.float64)
    middle -= middle.mean(axis=(1, 2, 3), keepdims=True)
    middle /= np.sqrt((middle**2).mean(axis=(1, 2, 3), keepdims=True))
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(middle), size=(32, 32), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(got, wanted.numpy(), atol=1e-5)


def test_the_paper_s_imagenet_input_has_its_means_subtracted():
    x = np.random.default_rng(0).integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    got = preprocess("mean=123.68,116.78,103.94&layout=nchw", x)
    wanted = np.moveaxis(x - np.array([123.68, 116.78, 103.94]), -1, 1)
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_augmented_images_are_not_cropped_and_then_preprocessed_as_usual():
    seen = []

    def shifted(batch, layout, size):
        seen.append((batch.shape, layout, size))
        return batch[:, :, :3, :2]

    x = np.random.default_rng(0).normal(size=(4, 3, 9, 9))
    spec = DataSpec.parse("npz:x?size=6x5&crop=3x2&scale=2&layout=nhwc")
    preparation = prepare(spec, "x", (3, 9, 9), "float64")
    plain = prepare(DataSpec.parse("npz:x?size=6x5"), "x", (3, 9, 9), "float64")
    got = preparation(x, shifted)
    assert seen == [((4, 3, 6, 5), "chw", (3, 2))]
    np.testing.assert_array_equal(got, np.moveaxis(plain(x)[:, :, :3, :2], 1, -1) * 2)
    np.testing.assert_array_equal(preparation(x), np.moveaxis(plain(x)[:, :, 1:4, 1:3], 1, -1) * 2)


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ("standardise=channel", UsageError, "one of image"),
        ("standardise=image", DataError, "wants images"),
        ("resize=3", DataError, "wants images"),
        ("resize=0", UsageError, "sizes such as"),
    ],
)
def test_wrong_ways_of_standardising_and_enlarging_are_refused(options, error, complaint):
    with pytest.raises(error, match=complaint):
        preprocess(options, np.zeros((2, 7)))
