"""Total variation, spectra, and the permutation test of ranks, against plain references."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import rankdata

from frivkit_featurevis.measures import comparison_rows, layer_measures, table, table_cells
from frivkit_featurevis.permutation import Comparison, compare, corrected
from frivkit_featurevis.render import LayerImages
from frivkit_featurevis.total_variation import printed_total_variation, spectra, total_variation


def test_total_variation_is_that_of_loops() -> None:
    images = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    for image, found in zip(images, total_variation(images), strict=True):
        expected = 0.0
        for channel in image:
            for i in range(4):
                for j in range(5):
                    expected += abs(channel[i + 1, j] - channel[i, j]) if i < 3 else 0
                    expected += abs(channel[i, j + 1] - channel[i, j]) if j < 4 else 0
        assert found == pytest.approx(expected)


def test_printed_formula_sees_only_the_border() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(1, 1, 6, 7))
    other = image.copy()
    other[..., 1:-1, 1:-1] = rng.normal(size=(4, 5))
    assert printed_total_variation(other) == pytest.approx(printed_total_variation(image))
    assert total_variation(other) != pytest.approx(total_variation(image))
    border = image[0, 0]
    expected = abs((border[-1] - border[0]).sum()) + abs((border[:, -1] - border[:, 0]).sum())
    assert printed_total_variation(image)[0] == pytest.approx(expected)


def test_spectrum_of_a_wave_has_two_points() -> None:
    wave = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    magnitude = spectra(np.tile(wave, (16, 1))[np.newaxis, np.newaxis])[0, 0]
    assert sorted(zip(*np.nonzero(magnitude > 1e-6), strict=True)) == [(8, 5), (8, 11)]
    assert (magnitude**2).sum() == pytest.approx(16 * (wave**2).sum())  # orthonormal


def test_p_is_the_share_of_all_assignments() -> None:
    rng = np.random.default_rng(2)
    narrow, wide = rng.normal(size=5), rng.normal(0.5, size=6)
    ranks = rankdata(np.concatenate([narrow, wide]))
    sums = [ranks[list(chosen)].sum() for chosen in combinations(range(11), 5)]
    found = compare(narrow.tolist(), wide.tolist())
    assert found.exact
    assert found.p == pytest.approx(np.mean(np.array(sums) <= ranks[:5].sum()))
    assert found.upper == pytest.approx(np.mean(np.array(sums) >= ranks[:5].sum()))
    assert found.effect == pytest.approx(narrow.mean() / wide.mean())


def test_ties_share_ranks_and_equal_groups_are_undecided() -> None:
    same = compare([1.0] * 8, [1.0] * 8)
    assert (same.p, same.upper, same.effect) == (1.0, 1.0, 1.0)


def test_lower_values_of_the_thin_give_a_small_p() -> None:
    found = compare(range(8), range(8, 16))
    assert found.p == pytest.approx(1 / 12870)
    assert found.effect is not None
    assert found.effect < 1


def test_many_values_are_shuffled_and_repeat_with_the_seed() -> None:
    rng = np.random.default_rng(3)
    narrow, wide = rng.normal(size=20).tolist(), rng.normal(size=20).tolist()
    found = compare(narrow, wide, seed=5)
    assert not found.exact
    assert found == compare(narrow, wide, seed=5)


def test_an_effect_over_nothing_is_undefined() -> None:
    assert compare([1.0, 2.0], [0.0, 0.0]).effect is None


def test_correction_is_that_of_benjamini_and_hochberg() -> None:
    tests = [Comparison(p, 1 - p, 1.0, True) for p in (0.001, 0.01, 0.4)]
    expected = [min(1.0, 0.002 * 3 / 1), min(1.0, 0.02 * 3 / 2), 0.8]
    assert corrected(tests) == pytest.approx(expected)
    assert corrected([]) == []


def _layer(name: str, scale: float) -> LayerImages:
    rng = np.random.default_rng(len(name))
    images = (0.5 + scale * rng.normal(size=(8, 3, 8, 8))).astype(np.float32)
    return LayerImages(name, 8, tuple(range(8)), images, (0.0,) * 8, (1.0,) * 8)


def test_rows_are_of_shared_layers_in_the_layout_of_the_table() -> None:
    narrow = [layer_measures(_layer("a|b", 0.01)), layer_measures(_layer("only", 0.1))]
    wide = [layer_measures(_layer("a|b", 0.2))]
    rows = comparison_rows(narrow, wide, seed=0)
    assert [row["layer"] for row in rows] == ["a|b"]
    assert rows[0]["pixels"]["p"] < 0.025
    assert rows[0]["pixels"]["effect"] < 0.5
    lines = table(rows).splitlines()
    assert lines[0] == "| layer | p pixel | effect pixel | p frequency | effect frequency |"
    assert lines[2].startswith("| a\\|b | **0.000** | ")
    columns, cells = table_cells(rows)
    assert len(columns) == len(cells[0]) == 7
