"""The sources ``images`` and ``imagenet``: folders of image files."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from frivkit.data import open_data
from frivkit.data.preprocess import resize_axis
from frivkit.errors import DataError, UsageError
from tests.draws import generator

RANDOM = generator(0)


def save(path, height=6, width=5, **options):
    """Write a random image and give its pixels, channels first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return np.moveaxis(pixels, -1, 0)


def read(spec: str):
    data = open_data(spec, None)
    return data.read(0, data.examples)


def refused(spec: str, error=DataError) -> str:
    with pytest.raises(error) as caught:
        read(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_flat_folder_is_read_in_the_order_of_names_without_labels(tmp_path):
    wanted = {name: save(tmp_path / name) for name in ("b.png", "a.bmp", "c.PNG")}
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".a.png").write_text("no image either")
    batch = read(f"images:{tmp_path}")
    assert batch.labels is None
    np.testing.assert_array_equal(
        batch.inputs["x"], [wanted[n] for n in ("a.bmp", "b.png", "c.PNG")]
    )


def test_class_folders_are_numbered_by_name(tmp_path):
    wanted = [save(tmp_path / name) for name in ("cat/2.png", "cat/9.png", "dog/1.png")]
    save(tmp_path / "stray.png")
    batch = read(f"images:{tmp_path}")
    np.testing.assert_array_equal(batch.inputs["x"], wanted)
    assert batch.labels.tolist() == [0, 0, 1]


def test_images_are_prepared_like_all_others(tmp_path):
    pixels = save(tmp_path / "a.png")
    batch = read(f"images:{tmp_path}?crop=4&scale=1/255&mean=0.5&channels=bgr&layout=nhwc")
    wanted = np.moveaxis(pixels[::-1, 1:5, 0:4] / 255 - 0.5, 0, -1)
    np.testing.assert_allclose(batch.inputs["x"][0], wanted, atol=1e-6)


def test_images_of_several_sizes_need_a_key_that_makes_them_one(tmp_path):
    shapes = {"a.png": (6, 5), "b.png": (7, 12), "c.png": (20, 8)}
    pixels = [save(tmp_path / name, *shape) for name, shape in shapes.items()]
    assert "7 x 12 and 6 x 5; give size=HxW or short=N" in refused(f"images:{tmp_path}")
    sized = read(f"images:{tmp_path}?size=4x3").inputs["x"]
    wanted = [resize_axis(resize_axis(each, 1, 4), 2, 3) for each in pixels]
    np.testing.assert_array_equal(sized, wanted)
    short = read(f"images:{tmp_path}?short=4&crop=2").inputs["x"]
    assert short.shape == (3, 3, 2, 2)
    scaled = resize_axis(resize_axis(pixels[2], 1, 10), 2, 4)  # 20 x 8 becomes 10 x 4
    np.testing.assert_array_equal(short[2], scaled[:, 4:6, 1:3])


def test_grey_and_palette_images_become_what_is_asked_for(tmp_path):
    grey = RANDOM.integers(0, 256, (4, 4), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    coloured = read(f"images:{tmp_path}").inputs["x"][0]
    np.testing.assert_array_equal(coloured, np.repeat(grey[None], 3, axis=0))
    assert read(f"images:{tmp_path}?colours=grey").inputs["x"].shape == (1, 1, 4, 4)
    Image.fromarray(grey).convert("P").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(f"images:{tmp_path}").inputs["x"][0], coloured)
    Image.fromarray(np.zeros((4, 4, 4), np.uint8), "CMYK").save(tmp_path / "b.jpg")
    assert read(f"images:{tmp_path}").inputs["x"][1].min() > 250  # no ink is white


def test_digest_follows_content_and_classes(tmp_path):
    for place in ("one/a/x.png", "two/a/x.png", "two/b/y.png"):
        save(tmp_path / place)
    content = (tmp_path / "one/a/x.png").read_bytes()
    (tmp_path / "two/a/x.png").write_bytes(content)
    (tmp_path / "two/b/y.png").write_bytes(content)
    one = open_data(f"images:{tmp_path}/one", None).digest
    two = open_data(f"images:{tmp_path}/two?n=1", None).digest
    assert one != two
    (tmp_path / "two/b/y.png").unlink()
    assert open_data(f"images:{tmp_path}/two", None).digest == one
    save(tmp_path / "one/a/x.png")
    assert open_data(f"images:{tmp_path}/one", None).digest != one


def test_imagenet_numbers_classes_over_both_folders(tmp_path):
    train = [save(tmp_path / "train" / name) for name in ("n01/a.jpg", "n02/b.png", "n03/c.png")]
    val = [save(tmp_path / "val" / name) for name in ("n03/z.png", "n02/y.png")]
    batch = read(f"imagenet:{tmp_path}?split=train")
    assert sorted(batch.labels) == [0, 1, 2]
    for label, image in zip(batch.labels, batch.inputs["x"], strict=True):
        if label:  # the first image is a JPEG, which keeps no number as it was
            np.testing.assert_array_equal(image, train[label])
    batch = read(f"imagenet:{tmp_path}")
    assert sorted(batch.labels) == [1, 2]
    for label, image in zip(batch.labels, batch.inputs["x"], strict=True):
        np.testing.assert_array_equal(image, val[2 - label])
    assert sorted(read(f"imagenet:{tmp_path}?background=yes").labels) == [2, 3]


def test_imagenet_mixes_its_classes_once_and_for_all(tmp_path):
    """A batch of neighbours, or the first few images, must not be all of one class."""
    for number in range(40):
        save(tmp_path / f"train/n{number // 20}/{number:02}.png", 4, 4)
    first, again = (read(f"imagenet:{tmp_path}?split=train") for _ in range(2))
    assert sorted(first.labels) == [0] * 20 + [1] * 20
    assert first.labels.tolist() == again.labels.tolist()
    assert set(first.labels[:10]) == set(first.labels[30:]) == {0, 1}


def test_imagenet_says_what_is_missing(tmp_path):
    assert "has no folder val" in refused(f"imagenet:{tmp_path}")
    save(tmp_path / "val/a.png")
    assert "no class folders" in refused(f"imagenet:{tmp_path}")
    assert "one of train, test" in refused(f"imagenet:{tmp_path}?split=all", UsageError)


def test_damaged_images_are_named(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", 60, 50)
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[:300])
    assert "b.png' cannot be decoded" in refused(f"images:{tmp_path}?size=4")
    (tmp_path / "b.png").write_bytes(b"")
    assert "b.png' cannot be decoded" in refused(f"images:{tmp_path}")
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")  # Pillow would start a program
    assert "b.png' cannot be decoded" in refused(f"images:{tmp_path}")


def test_images_that_claim_a_huge_size_are_refused_before_they_are_decoded(tmp_path):
    save(tmp_path / "a.png")
    for side in (2**14, 2**16, 2**31 - 1):
        header = b"P6 %d %d 255\n" % (side, side)
        (tmp_path / "b.ppm").write_bytes(header + bytes(100))
        assert "b.ppm' cannot be decoded" in refused(f"images:{tmp_path}?size=4")


def test_images_of_more_than_a_byte_a_colour_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "a.png")
    assert "more than 8 bits" in refused(f"images:{tmp_path}")


def test_folders_without_images_and_loops_of_links_are_refused(tmp_path):
    assert "no images are there" in refused(f"images:{tmp_path}")
    (tmp_path / "a.png").symlink_to("a.png")
    assert "a.png' is no regular file" in refused(f"images:{tmp_path}")
    (tmp_path / "a.png").unlink()
    (tmp_path / "class").symlink_to(tmp_path)
    assert "no images are there" in refused(f"images:{tmp_path}")
    (tmp_path / "loop").symlink_to("loop")
    assert "does not exist" in refused(f"images:{tmp_path}/loop")
    assert "does not exist" in refused(f"images:{tmp_path}/none")


def test_a_file_is_one_image(tmp_path):
    pixels = save(tmp_path / "x.png")
    save(tmp_path / "y.png")
    batch = read(f"images:{tmp_path}/x.png")
    np.testing.assert_array_equal(batch.inputs["x"], pixels[np.newaxis])
    assert batch.labels is None
    shutil.copy(tmp_path / "x.png", tmp_path / "picture")  # the format is that of the content
    np.testing.assert_array_equal(read(f"images:{tmp_path}/picture").inputs["x"], [pixels])


@pytest.mark.parametrize("name", ["pipe.png", "device.png", "folder.png"])
def test_pipes_and_devices_are_refused_before_they_are_opened(name, tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for other in {"pipe.png", "device.png", "folder.png"} - {name}:
        (tmp_path / other).rename(tmp_path / f".{other}")
    if name == "folder.png":
        (tmp_path / "class").mkdir()
        for each in ("a.png", "folder.png"):
            (tmp_path / each).rename(tmp_path / "class" / each)
    else:
        assert "is no regular file" in refused(f"images:{tmp_path}/{name}")
    assert f"{name}' is no regular file" in refused(f"images:{tmp_path}")


@pytest.mark.parametrize(
    ("keys", "warned"),
    [
        *(("", 1), ("?short=4", 1), ("?size=4", 1), ("?scale=1/255", 0), ("?mean=1,2,3", 0)),
        *(("?standardise=image", 0), ("?short=4&std=9", 0)),
    ],
)
def test_values_of_0_to_255_in_a_float_input_are_pointed_out_once(keys, warned, tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    warnings = open_data(f"images:{tmp_path}{keys}", None).warnings
    assert len(warnings) == warned
    assert all("0 to 255" in line and "?scale=1/255" in line for line in warnings)
