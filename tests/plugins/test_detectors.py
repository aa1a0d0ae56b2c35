"""Heads of detectors of many kinds: what is read and what is kept, against numbers by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

from frivkit.plugin import ModelOutput, TensorSpec
from frivkit.tasks.task import JoinedTensor
from frivkit_tasks.boxes import MORE, present
from frivkit_tasks.detect import DETECT, FoundBoxes
from frivkit_tasks.parts import mask_overlaps
from tests.plugins.test_tasks import far_apart, opened

FLOAT, WHOLE = np.dtype(np.float32), np.dtype(np.int64)
GENERATOR = np.random.default_rng(4)


def kinds(arrays: dict[str, np.ndarray], **more: Any) -> list[ModelOutput]:
    """Return what is known of outputs before a run."""
    return [
        ModelOutput(name, (None, *array.shape[1:]), np.dtype(array.dtype), **more)
        for name, array in arrays.items()
    ]


def fitted(arrays: dict[str, np.ndarray], **more: Any) -> FoundBoxes:
    """Return a comparer that has seen outputs."""
    comparer = opened("detect", *kinds(arrays, **more))
    assert isinstance(comparer, FoundBoxes)
    return comparer.fitted([list(arrays.values())])


def rows_of(boxes: np.ndarray, n: int) -> np.ndarray:
    """Return the boxes of one example."""
    return boxes[n][present(boxes)[n]]


def middles(corners: np.ndarray) -> np.ndarray:
    """Return middles and sizes of corners."""
    size = corners[..., 2:] - corners[..., :2]
    return np.concatenate([corners[..., :2] + size / 2, size], axis=-1)


class TestTransformers:
    """Boxes and logits of the same places, as in DETR."""

    boxes = middles(far_apart()[0] / 100).astype(np.float32)
    logits = (3 * GENERATOR.normal(size=(5, 8, 4))).astype(np.float32)

    @pytest.mark.parametrize("nothing", [0, -1])
    def test_class_of_no_object_is_no_class(self, nothing: int):
        logits = self.logits.copy()
        logits[:, :5, nothing] += 20  # most places hold nothing
        comparer = fitted({"boxes": self.boxes, "logits": logits})
        found = comparer.read([self.boxes, logits])
        shares = softmax(logits, axis=2)
        shares = shares[..., 1:] if nothing == 0 else shares[..., :-1]
        assert present(found).sum() > 5
        for n in range(5):
            order = [k for k in np.argsort(-shares[n].max(axis=1)) if shares[n, k].max() >= 0.25]
            wanted = np.stack([shares[n].max(axis=1), shares[n].argmax(axis=1)], axis=1)[order]
            assert np.allclose(rows_of(found, n)[:, 4:], wanted, atol=1e-6)
            assert np.allclose(middles(rows_of(found, n)[:, :4]), self.boxes[n, order], atol=1e-5)

    def test_logits_that_are_mostly_negative_are_those_of_each_class(self):
        logits = self.logits - 4
        found = fitted({"boxes": self.boxes, "logits": logits}).read([self.boxes, logits])
        counted = expit(logits).max(axis=2) >= 0.25
        assert np.array_equal(present(found).sum(axis=1), counted.sum(axis=1))

    def test_boxes_relative_to_anchors_are_compared_place_by_place(self):
        moved = GENERATOR.normal(size=(5, 8, 4)).astype(np.float32)  # sizes of both signs
        comparer = fitted({"boxes": moved, "logits": self.logits})
        one = comparer.read([moved, self.logits])
        assert (comparer.agreement(one, one) == 1).all()
        backwards = comparer.read([moved[:, ::-1], self.logits[:, ::-1]])
        assert comparer.agreement(one, backwards).max() < 0.5

    def test_dead_heads_are_told(self):
        comparer = fitted({"boxes": self.boxes, "logits": self.logits})
        one = comparer.read([self.boxes, self.logits])
        for dead in ([self.boxes * 0, self.logits], [self.boxes, self.logits * 0 + [0, 0, 0, 9]]):
            assert comparer.agreement(one, comparer.read(dead)).max() < 0.2


def disk(x: float, y: float, radius: float, size: int = 40) -> np.ndarray:
    """Return a map of a disk: above 0 inside."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    return radius**2 - (columns - x) ** 2 - (rows - y) ** 2


class TestMasks:
    """Masks are sums of maps; each pixel of them is four of the picture."""

    maps = np.stack([disk(10, 10, 6), disk(12, 11, 6), disk(28, 25, 8), disk(28, 25, 5)])

    def outputs(self, first: list[float], second: list[float]) -> list[np.ndarray]:
        head = np.zeros((1, 10, 30), np.float32)
        head[0, :4, 0], head[0, :4, 1] = (44, 42, 60, 60), (112, 100, 72, 72)
        head[0, 4, 0], head[0, 5, 1] = 0.9, 0.8
        head[0, 6:, 0], head[0, 6:, 1] = first, second
        return [head, self.maps[np.newaxis].astype(np.float32)]

    def test_overlaps_are_those_of_pixels(self):
        was, now = (
            self.outputs([1, 0, 0, 0], [0, 0, 1, 0]),
            self.outputs([0, 1, 0, 0], [0, 0, 0, 1]),
        )
        comparer = fitted(dict(zip(("output0", "output1"), was, strict=True)))
        one, two = comparer.read(was)[0, :2], comparer.read(now)[0, :2]
        exact = []
        for a, b, box in ((0, 1, (3, 3, 18, 18)), (2, 3, (19, 16, 37, 34))):
            inside = np.zeros((40, 40), bool)
            inside[box[1] : box[3], box[0] : box[2]] = True
            first, second = (inside & (self.maps[i] > 0) for i in (a, b))
            exact.append((first & second).sum() / (first | second).sum())
        assert mask_overlaps(one, two) == pytest.approx(exact, abs=0.03)
        assert mask_overlaps(one, one).tolist() == [1, 1]
        figures = comparer.figures()
        figures.add(was, now)
        found = dict(figures.result())
        assert found["mean_mask_iou"] == pytest.approx(np.mean(exact), abs=0.03)
        assert found["recall"] == 0.5  # of the disks within each other less than half is shared
        assert comparer.agreement(comparer.read(was), comparer.read(now)).tolist() == [0.5]

    def test_dead_maps_are_told(self):
        was = self.outputs([1, 0, 0, 0], [0, 0, 1, 0])
        comparer = fitted(dict(zip(("output0", "output1"), was, strict=True)))
        dead = comparer.read([was[0], was[1] * 0])
        assert comparer.agreement(comparer.read(was), dead).tolist() == [0]


class TestKeyPoints:
    def outputs(self) -> np.ndarray:
        """Return a head of one class and four key points; pixels tell the classes' columns."""
        corners, scores = far_apart(k=20, classes=1)
        points = corners[..., :2].repeat(4, axis=1).reshape(5, 20, 4, 2)
        points += np.array([3.0, 4.0])
        seen = np.full((5, 20, 4, 1), 0.9)
        seen[..., 3, :] = 0.1
        more = np.concatenate([points, seen], axis=3).reshape(5, 20, 12)
        whole = np.concatenate([middles(corners), np.maximum(scores, 0.3), more], axis=2)
        return whole.swapaxes(1, 2).astype(np.float32)

    def test_points_that_move_are_not_kept(self):
        was = self.outputs()
        comparer = fitted({"output0": was})
        assert comparer.head.parts is not None
        now = was.copy()
        now[1, 5] += 50  # the first of three that are seen
        now[2, 14] += 50  # the one that is not
        agreement = comparer.agreement(comparer.read([was]), comparer.read([now]))
        assert agreement == pytest.approx([1, 2 / 3, 1, 1, 1])
        figures = comparer.figures()
        figures.add([was], [now])
        side = (was[1, 2:4]).max(axis=0)
        wanted = (50 / side / 3).sum() / 100
        assert figures.result()["mean_key_point_distance"] == pytest.approx(wanted, rel=1e-4)

    def test_classes_are_not_read_from_coordinates(self):
        comparer = fitted({"output0": self.outputs()})
        boxes = comparer.read([self.outputs()])
        assert (boxes[present(boxes)][:, 5] == 0).all()
        assert present(boxes).all(axis=1).sum() == 0
        assert present(boxes).sum() == 100

    def test_one_more_number_is_compared_by_its_spread(self):
        was = self.outputs()[:, :6].copy()
        was[:, 5] = GENERATOR.normal(size=(5, 20))  # an angle
        now = was.copy()
        now[:, 5] *= -1
        comparer = fitted({"output0": was})
        close = np.abs(2 * was[:, 5]) <= 0.1 * was[:, 5].std()
        agreement = comparer.agreement(comparer.read([was]), comparer.read([now]))
        assert agreement == pytest.approx(close.mean(axis=1))


def expected_boxes(scales: list[np.ndarray], n: int) -> list[list[float]]:
    """Return corners in cells of the finest grid, score and class, cell by cell."""
    found = []
    for array in scales:
        cell = scales[0].shape[2] / array.shape[2]
        for y, x in np.ndindex(array.shape[2:]):
            numbers = array[n, :, y, x].astype(float)
            sides = [softmax(numbers[16 * i : 16 * i + 16]) @ np.arange(16) for i in range(4)]
            label = int(numbers[64:].argmax())
            left, up, right, down = sides
            corners = [x + 0.5 - left, y + 0.5 - up, x + 0.5 + right, y + 0.5 + down]
            score = float(expit(numbers[64 + label]))
            if score >= 0.25:
                found.append([*(cell * corner for corner in corners), score, label])
    return sorted(found, key=lambda row: -row[4])


@pytest.mark.parametrize("paired", [False, True])
def test_distributions_of_sides_become_boxes(paired: bool):
    """As YOLOv8 gives them without its decoder: joined with the classes, or beside them."""
    scales = [(GENERATOR.normal(size=(2, 69, s, s)) * 2).astype(np.float32) for s in (8, 4, 2)]
    for each in scales:  # no two boxes of a class overlap much, so that all stay
        each[:, 64:] -= 4
        each[:, :64] += np.tile(np.exp(-np.arange(16)), 4)[:, np.newaxis, np.newaxis] * 8
    if paired:
        parts = [part for each in scales for part in (each[:, :64], each[:, 64:])]
        outputs = kinds({f"o{i}": part for i, part in enumerate(parts)})
    else:
        parts = scales
        joined = [
            [JoinedTensor("Conv", (None, count, *each.shape[2:])) for count in (64, 5)]
            for each in scales
        ]
        outputs = [
            replace(output, operator="Concat", parts=tuple(two))
            for output, two in zip(
                kinds({f"p{i}": each for i, each in enumerate(scales)}), joined, strict=True
            )
        ]
    claim = max(
        DETECT.claims(outputs, [TensorSpec("x", "float32", (3, 64, 64))]),
        key=lambda each: (each.evidence, len(each.outputs)),
    )
    assert (claim.outputs, claim.guess) == (tuple(each.name for each in outputs), paired)
    comparer = opened("detect", *outputs)
    assert isinstance(comparer, FoundBoxes)
    found = comparer.fitted([parts]).read(parts)
    for n in range(2):
        wanted = np.array(expected_boxes(scales, n))
        kept = rows_of(found, n)
        assert 3 < len(kept) <= len(wanted)
        for row in kept:  # suppression is looked at elsewhere
            assert np.abs(wanted - row).max(axis=1).min() < 1e-4
        assert np.allclose(kept[0], wanted[0], atol=1e-4)


@pytest.mark.parametrize("rank", [4, 5])
def test_maps_are_compared_cell_by_cell(rank: int):
    """A cell says the same if its class does, and if its box is about the same."""
    scales = [(GENERATOR.normal(size=(3, 3, 9, s, s)) * 2).astype(np.float32) for s in (4, 2)]
    now = [each.copy() for each in scales]
    now[0][:, :, 5:] = np.roll(now[0][:, :, 5:], 1, axis=2)  # other classes at the large scale

    def given(maps: list[np.ndarray]) -> list[np.ndarray]:
        if rank == 4:
            return [each.reshape(3, 27, *each.shape[3:]) for each in maps]
        return [np.moveaxis(each, 2, -1) for each in maps]

    comparer = fitted(dict(zip(("p3", "p4"), given(scales), strict=True)))
    score = [
        expit(each[:, :, 4:5]) * expit(each[:, :, 5:]).max(2, keepdims=True) for each in scales
    ]
    large, small = ((each >= 0.25).sum(axis=(1, 2, 3, 4)) for each in score)
    one, two = comparer.read(given(scales)), comparer.read(given(now))
    assert np.array_equal(present(one).sum(axis=1), large + small)
    assert comparer.agreement(one, two) == pytest.approx(small / (large + small))
    dead = comparer.read(given([each * 0 for each in scales]))
    assert comparer.agreement(one, dead).max() < 0.6


@pytest.mark.parametrize(
    "columns",
    [
        ("box", "score", "class"),
        ("box", "class", "score"),
        ("class", "score", "box"),
        ("number", "box", "class", "score"),
        ("number", "box", "score", "class"),
        ("number", "class", "score", "box"),
        ("box", "half", "half", "class"),
    ],
)
def test_columns_behind_a_suppression_are_found(columns: tuple[str, ...]):
    corners, scores = far_apart(k=8)
    parts = {
        "box": corners + 7,
        "score": scores.max(axis=2, keepdims=True),
        "half": np.sqrt(scores.max(axis=2, keepdims=True)),
        "class": scores.argmax(axis=2)[..., None] + 2.0,
        "number": np.zeros((5, 8, 1)),
    }
    rows = np.zeros((5, 12, sum(parts[name].shape[2] for name in columns)), np.float32)
    rows[:, :8] = np.concatenate([parts[name] for name in columns], axis=2)
    found = fitted({"rows": rows}, varying=True).read([rows])
    for n in range(5):
        sure = scores[n].max(axis=1) >= 0.25
        order = np.argsort(-scores[n].max(axis=1)[sure], kind="stable")
        wanted = np.concatenate([parts[k][n] for k in ("box", "score", "class")], axis=1)
        assert np.allclose(rows_of(found, n)[:, :MORE], wanted[sure][order], atol=1e-5)


def test_selected_numbers_are_the_same_or_not():
    was = np.full((2, 6, 3), -1, np.int64)
    was[0, :4] = [[0, 1, 7], [0, 1, 9], [0, 0, 3], [0, 0, 0]]
    now = was.copy()
    now[0, 0, 1], now[0, 1, 2] = 0, 8  # another class, another box
    comparer = fitted({"sel": was}, varying=True)
    one, two = comparer.read([was]), comparer.read([now])
    assert comparer.agreement(one, two).tolist() == [0.5, 1]


def test_classes_beside_corners_with_a_score_are_read():
    corners, scores = far_apart(k=8)
    top, labels = scores.max(axis=2, keepdims=True), scores.argmax(axis=2)
    dets = np.concatenate([corners, top], axis=2).astype(np.float32)
    outputs = kinds({"dets": dets, "labels": labels})
    (claim, *_) = DETECT.claims(outputs, [])
    assert claim.outputs == ("dets", "labels")
    comparer = fitted({"dets": dets, "labels": labels})
    one, two = comparer.read([dets, labels]), comparer.read([dets, (labels + 1) % 3])
    assert comparer.agreement(one, two).tolist() == [1, 0, 0, 0, 0]
