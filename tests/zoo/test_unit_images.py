"""The page on images of units: it is made of what is stored, and that holds together."""

import json

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

import frivkit
from frivkit_featurevis.figures import FIGURE_5, FIGURE_E13, TABLE_2
from tests.zoo import unit_images
from tests.zoo.unit_images import NETWORKS, PACKAGES, PAIRS, images, page, read, slug

ROOT = unit_images.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)


def test_page_is_made_of_the_stored_results():
    stored, pairs, paper = read()
    assert (unit_images.FOLDER / "README.md").read_text(encoding="utf-8") == page(
        stored, pairs, paper
    )
    shown = {f"{name}-{n}" for name in PAIRS for n in range(1, 5)}
    shown |= {f"{slug(n)}-{i}" for n, c in PACKAGES.items() for i in range(1, len(c.layers) + 1)}
    assert {path.stem for path in (unit_images.FOLDER / "pictures").iterdir()} == shown


def test_page_is_small():
    files = [path for path in unit_images.FOLDER.rglob("*") if path.is_file()]
    networks = sum(path.stat().st_size for path in NETWORKS.iterdir())
    assert networks < 5 << 20
    assert sum(path.stat().st_size for path in files) - networks < 3 << 20
    assert unit_images.README_PICTURE[2].stat().st_size < 100_000


@pytest.mark.parametrize("name", PAIRS)
def test_stored_images_have_the_stored_values(name):
    folder = unit_images.FOLDER / "data" / name
    found = json.loads((folder / "results.json").read_bytes())
    for model in found["models"]:
        assert frivkit.load(model["path"]).sha256 == model["sha256"]
    values = {}
    for layer in found["layers"]:
        pixels = images(folder, layer).astype(np.float64)
        down, right = np.diff(pixels, axis=2), np.diff(pixels, axis=3)
        expected = [np.abs(d).sum() + np.abs(r).sum() for d, r in zip(down, right, strict=True)]
        np.testing.assert_allclose(layer["total_variation"]["pixels"], expected, rtol=1e-5)
        values[layer["model"], layer["layer"]] = expected
    for row in found["comparisons"]:
        narrow, wide = values[0, row["layer"]], values[1, row["layer"]]
        exact = mannwhitneyu(narrow, wide, alternative="less", method="exact")  # the same ranks
        assert row["pixels"]["p"] == pytest.approx(exact.pvalue)
        assert row["pixels"]["effect"] == pytest.approx(np.mean(narrow) / np.mean(wide), rel=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_figures_are_drawn_from_what_is_stored(name):
    for figure in (FIGURE_5, FIGURE_E13, TABLE_2):
        assert b"<svg" in figure.draw(unit_images.FOLDER / "data" / name)("svg")


def test_every_unit_is_excited_more_or_named_as_perhaps_dead():
    stored, pairs, _ = read()
    layers = [(layer, found["warnings"]) for found in pairs.values() for layer in found["layers"]]
    layers += [(layer, []) for each in stored["packages"].values() for layer in each["layers"]]
    named = 0
    for layer, warnings in layers:
        before, after = (np.array(layer[f"activation_{when}"]) for when in ("before", "after"))
        for unit in np.array(layer["units"])[(after <= before) & ((after != 0) | (before != 0))]:
            named += 1
            start = f"{layer['layer']}: the images of units "
            (warning,) = [each for each in warnings if each.startswith(start)]
            assert str(unit) in warning.removeprefix(start).partition(" do not")[0].split(", ")
    assert named <= 2
