"""What each task compares, against references that are written otherwise."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from sklearn.metrics import jaccard_score, precision_score, r2_score, recall_score
from sklearn.neighbors import NearestNeighbors

from frivkit.errors import ModelError
from frivkit.hooks.registry import installed
from frivkit.plugin import Comparer, LabelOptions, ModelOutput
from frivkit_tasks.boxes import ABSENT, MOST, best, overlaps, partners, present, without_overlaps

TASKS = ("classify", "multilabel", "regress", "segment", "heatmap", "detect", "embed", "generate")
FLOAT = np.dtype(np.float32)


def opened(task: str, *outputs: ModelOutput, **options: Any) -> Comparer:
    """Return the comparer of a task for outputs."""
    return installed().load("tasks", task).comparer(outputs, LabelOptions(**options))


def output(*shape: int | None, name: str = "y", operator: str = "Gemm") -> ModelOutput:
    """Return an output of a shape without its batch."""
    return ModelOutput(name, (None, *shape), FLOAT, operator)


def drawn(*shape: int, seed: int = 0, moved: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of a network, and of one that differs."""
    generator = np.random.default_rng(seed)
    was = generator.normal(size=shape).astype(np.float32)
    return was, (was + moved * generator.normal(size=shape)).astype(np.float32)


def figures(comparer: Comparer, was: np.ndarray, now: np.ndarray) -> dict[str, float | None]:
    """Return the figures of outputs that are added in two parts."""
    found = comparer.figures()
    for part in (slice(4), slice(4, None)):
        found.add([was[part]], [now[part]])
    return dict(found.result())


def test_labels_are_given_above_the_threshold():
    was, now = drawn(40, 6)
    logits = opened("multilabel", output(6))
    one, two = was > 0, now > 0
    assert np.array_equal(
        logits.agreement(logits.read([was]), logits.read([now])), (one == two).mean(axis=1)
    )
    assert figures(logits, was, now) == pytest.approx(
        {
            "precision": precision_score(one, two, average="micro"),
            "recall": recall_score(one, two, average="micro"),
            "exact_matches": (one == two).all(axis=1).mean(),
        }
    )
    shares = opened("multilabel", output(6, operator="Sigmoid"))
    assert np.array_equal(shares.read([1 / (1 + np.exp(-was.astype(float)))]) == 1, one)


def test_entries_are_the_same_within_a_share_of_their_spread():
    was, now = drawn(30, 2, 3, moved=0.15)
    was[:, 1, 2] = now[:, 1, 2] = 4.0  # it never changes
    comparer = opened("regress", output(2, 3), tolerance=0.2).fitted([[was[:11]], [was[11:]]])
    found = comparer.agreement(comparer.read([was]), comparer.read([now]))
    spread = was.astype(float).std(axis=0)
    for row in range(30):
        kept = [
            abs(float(now[row, i, j]) - float(was[row, i, j])) <= 0.2 * spread[i, j]
            for i in range(2)
            for j in range(3)
        ]
        assert found[row] == pytest.approx(sum(kept) / 6)
    flat = was.reshape(30, -1), now.reshape(30, -1)
    shown = figures(comparer, was, now)
    assert shown["r2"] == pytest.approx(r2_score(*flat, multioutput="variance_weighted"), abs=1e-6)
    expected = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    assert shown["relative_error"] == pytest.approx(expected, rel=1e-5)


def test_pixels_keep_their_labels():
    was, now = drawn(9, 4, 5, 6)
    comparer = opened("segment", output(4, 5, 6))
    one, two = was.argmax(axis=1), now.argmax(axis=1)
    found = comparer.agreement(comparer.read([was]), comparer.read([now]))
    assert np.array_equal(found, (one == two).mean(axis=(1, 2)))
    expected = jaccard_score(one.ravel(), two.ravel(), average="macro")
    assert figures(comparer, was, now)["mean_iou"] == pytest.approx(expected)


def test_class_that_only_one_network_gives_lowers_the_mean_iou():
    was, now = np.zeros((5, 3, 1, 4), np.float32), np.zeros((5, 3, 1, 4), np.float32)
    was[:, 0], now[:, 0] = 1, 1
    now[0, 2, 0, 0] = 2
    comparer = opened("segment", output(3, 1, 4))
    assert figures(comparer, was, now)["mean_iou"] == pytest.approx((19 / 20 + 0) / 2)


def test_peaks_are_places():
    was, now = drawn(8, 3, 4, 5)
    comparer = opened("heatmap", output(3, 4, 5))
    found = comparer.agreement(comparer.read([was]), comparer.read([now]))
    kept, distances = np.zeros((8, 3)), []
    for n in range(8):
        for k in range(3):
            one, two = (np.argwhere(x[n, k] == x[n, k].max())[0] for x in (was, now))
            kept[n, k] = (one == two).all()
            distances.append(np.hypot(*(one - two)))
    assert np.array_equal(found, kept.mean(axis=1))
    assert figures(comparer, was, now) == pytest.approx(
        {"mean_distance": np.mean(distances), "largest_distance": max(distances)}
    )
    last = opened("heatmap", output(4, 5, 3), axis=-1)
    assert np.array_equal(last.read([np.moveaxis(was, 1, -1)]), comparer.read([was]))


def test_neighbours_are_those_of_the_own_set():
    was, now = drawn(60, 8)
    comparer = opened("embed", output(8))
    nearest = [
        NearestNeighbors(n_neighbors=2, metric="cosine").fit(x).kneighbors(x)[1][:, 1]
        for x in (was.astype(float), now.astype(float))
    ]
    found = comparer.agreement(comparer.read([was]), comparer.read([now]))
    assert np.array_equal(found, nearest[0] == nearest[1])
    assert 0 < found.mean() < 1
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(was, now, strict=True)]
    assert figures(comparer, was, now) == pytest.approx(
        {"mean_cosine": np.mean(cosines), "least_cosine": min(cosines)}, rel=1e-5
    )


def test_next_tokens_and_their_divergence():
    was, now = drawn(6, 3, 70)
    expected = rel_entr(softmax(was, axis=-1), softmax(now, axis=-1)).sum(axis=-1).mean()
    comparer = opened("generate", output(3, 70))
    found = comparer.agreement(comparer.read([was]), comparer.read([now]))
    assert np.array_equal(found, (was.argmax(-1) == now.argmax(-1)).mean(axis=1))
    assert figures(comparer, was, now)["kl_divergence"] == pytest.approx(expected, rel=1e-5)
    given_ = opened("generate", output(3, 70, operator="Softmax"))
    shares = softmax(was, axis=-1), softmax(now, axis=-1)
    assert figures(given_, *shares)["kl_divergence"] == pytest.approx(expected, rel=1e-5)


BOX = st.tuples(*[st.integers(0, 12)] * 4, st.integers(1, 99), st.integers(0, 1)).map(
    lambda row: (row[0], row[1], row[0] + row[2] % 6 + 1, row[1] + row[3] % 6 + 1, *row[4:])
)
BOXES = st.lists(BOX, min_size=1, max_size=8)


def in_order(rows: list[tuple[int, ...]]) -> np.ndarray:
    """Return one example's boxes, scores as shares."""
    table = np.array(rows, float)
    return best(table[None, :, :4], table[None, :, 4] / 100, table[None, :, 5], 0.0)


def cells(box: np.ndarray) -> set[tuple[int, int]]:
    """Return the unit cells that a box covers."""
    x1, y1, x2, y2 = (int(edge) for edge in box[:4])
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def iou(one: np.ndarray, two: np.ndarray) -> float:
    """Return the overlap of two boxes, counted cell by cell."""
    a, b = cells(one), cells(two)
    return len(a & b) / len(a | b)


class TestBoxes:
    """Overlaps are counted in cells; suppression and matching are done one box at a time."""

    @given(BOXES, BOXES)
    @settings(max_examples=40, deadline=None)
    def test_overlap(self, first, second):
        one, two = in_order(first)[0, : len(first)], in_order(second)[0, : len(second)]
        expected = [[iou(a, b) for b in two] for a in one]
        assert np.allclose(overlaps(one[:, :4], two[:, :4]), expected)

    @given(BOXES)
    @settings(max_examples=60, deadline=None)
    def test_suppression(self, rows):
        boxes = in_order(rows)
        kept: list[np.ndarray] = []
        for box in boxes[0, : len(rows)]:
            if all(box[5] != other[5] or iou(box, other) <= 0.4 for other in kept):
                kept.append(box)
        found = without_overlaps(boxes, 0.4)[0]
        assert np.array_equal(found[: len(kept)], np.array(kept))
        assert (found[len(kept) :, 4] == ABSENT).all()

    @given(BOXES, BOXES)
    @settings(max_examples=60, deadline=None)
    def test_matching(self, first, second):
        truth, boxes = in_order(first), in_order(second)
        free = list(truth[0, : len(first)])
        count = 0
        for box in boxes[0, : len(second)]:
            shares = [iou(box, other) if box[5] == other[5] else 0.0 for other in free]
            if shares and max(shares) >= 0.5:
                free.pop(shares.index(max(shares)))
                count += 1
        assert (partners(truth, boxes, 0.5) >= 0).sum() == count

    @given(BOXES)
    @settings(max_examples=20, deadline=None)
    def test_every_box_matches_itself(self, rows):
        found = partners(in_order(rows), in_order(rows), 0.5)[0]
        assert sorted(found[: len(rows)]) == list(range(len(rows)))


def head(layout: str, corners: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Return boxes as a head of a layout gives them; scores have shape (n, k, classes)."""
    middle, size = (corners[..., :2] + corners[..., 2:]) / 2, corners[..., 2:] - corners[..., :2]
    if layout == "columns":
        return [np.concatenate([middle, size, scores], axis=2).swapaxes(1, 2)]
    if layout == "rows":
        sure = np.ones((*scores.shape[:2], 1))
        return [np.concatenate([middle, size, sure, scores], axis=2)]
    top, label = scores.max(axis=2), scores.argmax(axis=2)
    if layout == "final":
        return [np.concatenate([corners, top[..., None], label[..., None]], axis=2)]
    return [corners, top, label.astype(np.int64)]


def far_apart(n: int = 5, k: int = 8, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes that do not overlap, and their scores."""
    generator = np.random.default_rng(3)
    places = np.stack([10.0 * np.arange(k), 10.0 * np.arange(k)], axis=1)
    corners = np.concatenate([places, places + generator.integers(2, 9, (k, 2))], axis=1)
    scores = generator.random((n, k, classes))
    scores[0] = 0.1  # nothing is found
    return np.tile(corners, (n, 1, 1)), scores


NAMES = {"separate": ("boxes", "scores", "labels")}


@pytest.mark.parametrize("layout", ["columns", "rows", "final", "separate"])
def test_heads_give_the_same_boxes(layout):
    corners, scores = far_apart(k=14)
    arrays = head(layout, corners, scores)
    names = NAMES.get(layout, ("output0",))
    kinds = [
        ModelOutput(name, (None, *array.shape[1:]), array.dtype)
        for name, array in zip(names, arrays, strict=True)
    ]
    comparer = opened("detect", *kinds)
    found = comparer.read(arrays)
    for n in range(5):
        sure = scores[n].max(axis=1) >= 0.25
        order = np.argsort(-scores[n].max(axis=1)[sure], kind="stable")
        expected = np.concatenate(
            [
                corners[n][sure][order],
                scores[n].max(axis=1)[sure][order][:, None],
                scores[n].argmax(axis=1)[sure][order][:, None],
            ],
            axis=1,
        )
        assert np.allclose(found[n, : sure.sum()], expected, atol=1e-5)
        assert (found[n, sure.sum() :, 4] == ABSENT).all()
    assert found.shape == (5, MOST, 6)


def test_boxes_agree_by_their_f1():
    corners, scores = far_apart()
    scores[1:] = np.maximum(scores[1:], 0.3)
    was = head("columns", corners, scores)
    fewer = scores.copy()
    fewer[1, :3] = 0.0  # 3 of 8 are not found
    moved = corners.copy()
    moved[2, :2] += 500  # 2 of 8 are elsewhere
    now = head("columns", moved, fewer)
    comparer = opened("detect", output(7, 8, name="output0"))
    one, two = comparer.read(was), comparer.read(now)
    agreement = comparer.agreement(one, two)
    assert agreement == pytest.approx([1.0, 2 * 5 / 13, 2 * 6 / 16, 1.0, 1.0])
    assert figures(comparer, was[0], now[0]) == pytest.approx(
        {"precision": 27 / 29, "recall": 27 / 32, "boxes_of_the_original": 32, "boxes_found": 29}
    )
    dead = comparer.read([np.zeros_like(was[0])])
    assert not present(dead).any()
    assert comparer.agreement(one, dead).tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_output_without_boxes_is_refused():
    comparer = opened("detect", output(7, 8))
    with pytest.raises(ModelError, match="in which there are no boxes"):
        comparer.read([np.zeros((3, 4))])
