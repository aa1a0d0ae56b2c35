"""Which outputs hold detections, and how: from names, shapes and last operators."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from frivkit.plugin import Claim, Evidence, LabelOptions, ModelOutput, TensorSpec
from frivkit.tasks.classify import SIGMOIDS, single
from frivkit_tasks.heads import DenseHead, FinalHead, Head, layout_of
from frivkit_tasks.separate_heads import (
    IndicesHead,
    MapsHead,
    Role,
    SeparateHead,
    role_of,
    roles_of,
)
from frivkit_tasks.side_distributions import (
    DistributionHead,
    joined_scales,
    joins_sides_and_classes,
    paired_scales,
)

STRIDES = (4, 8, 16, 32, 64, 128)
"""Sizes of a cell of the grids on which heads predict, in pixels."""
ANCHORS = (1, 2, 3)
"""Boxes that are predicted in a cell."""
OF_MAPS = 3
"""Boxes that are predicted in a cell of maps that are no further axis."""
ENTRIES = (56, 57, 84, 85, 116, 117)
"""Entries of a box for COCO: its classes, or key points, or its classes with 32 weights of a mask,
with a score of being an object or without."""
WEIGHTS = (32, 64)
"""Usual numbers of the maps of which masks are sums."""
TWO_SCALES = 16
"""Pixels along a cell of the larger of two maps."""
FEWEST = 4
"""Maps of which masks are sums."""
NAMES = ("output0", "detections", "detection", "dets", "det")
"""Names that exporters give to the output of a detector."""


def claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    """Return which outputs hold detections, alone or together."""
    pictures = [each for each in inputs if len(each.shape) == 3 and each.dtype != "int64"]
    together = [make(outputs, pictures) for make in MAKES]
    return [*(claim for claim in together if claim is not None), *_alone(outputs, pictures)]


def head_of(outputs: Sequence[ModelOutput], options: LabelOptions) -> Head:
    """Return what reads the outputs of one claim.

    Args:
        outputs: The outputs, in the order of the claim.
        options: How the user wants them read.
    """
    first, *more = outputs
    if not more:
        if _are_indices(first):
            return IndicesHead(first.name)
        layout = layout_of(first, options.axis) or "columns"
        return FinalHead(first.name) if layout == "final" else DenseHead(first.name, layout)
    of_maps = _head_of_maps(outputs)
    if of_maps is not None:
        return of_maps
    if more[0].rank == 4:
        layout = layout_of(first, options.axis) or "columns"
        shape = more[0].shape or ()
        return DenseHead(first.name, layout, maps=shape[1] or 1)
    if (first.shape or ())[-1] == 5:
        return FinalHead(first.name)
    return SeparateHead(first.name, roles_of(outputs))


def _head_of_maps(outputs: Sequence[ModelOutput]) -> Head | None:
    """Return what reads maps of several scales, None if the outputs are none."""
    first, names = outputs[0], tuple(each.name for each in outputs)
    joined = joins_sides_and_classes(first)
    if joined or 2 * len(paired_scales(outputs)) == len(outputs):
        return DistributionHead(names, paired=not joined)
    if not _are_maps(first):
        return None
    return MapsHead(names, OF_MAPS if first.rank == 4 else (first.shape or ())[1] or 1)


def _alone(outputs: Sequence[ModelOutput], pictures: Sequence[TensorSpec]) -> Iterator[Claim]:
    for output in outputs:
        if _are_indices(output):
            yield single(output, Evidence.GRAPH, "it numbers the boxes that a suppression selects")
        elif output.is_float and layout_of(output) is not None:
            yield single(output, *_evidence(output, pictures))


def _evidence(output: ModelOutput, pictures: Sequence[TensorSpec]) -> tuple[Evidence, str]:
    shape = output.shape or ()
    layout = layout_of(output)
    boxes = shape[2] if layout == "columns" else shape[1]
    if output.varying:
        return Evidence.GRAPH, "it has as many rows as there are boxes"
    if boxes is not None and _on_grids(boxes, pictures):
        return Evidence.GRAPH, f"it has an entry for each of {boxes} cells of grids on the picture"
    if layout == "columns" and _joins_boxes_and_scores(output):
        return Evidence.GRAPH, "it joins four numbers and the sigmoids of others at each place"
    if pictures and output.name.lower() in NAMES and len(shape) == 3:
        return Evidence.NAME, "of its name and its shape"
    entries = shape[1] if layout == "columns" else shape[2]
    if pictures and entries in ENTRIES and output.softmax_axis is None:
        return Evidence.NAME, f"it has {entries} entries at each place, as detectors of COCO have"
    return Evidence.NONE, "it may hold boxes"


def _on_grids(boxes: int, pictures: Sequence[TensorSpec]) -> bool:
    """Whether there are as many boxes as cells of two or more grids, or some for each cell."""
    for each in pictures:
        for height, width in (each.shape[1:], each.shape[:2]):
            if not height or not width:
                continue
            cells = [
                (height // stride) * (width // stride)
                if not (height % stride or width % stride)
                else 0
                for stride in STRIDES
            ]
            for first in range(len(cells)):
                for last in range(first + 2, len(cells) + 1):
                    some = cells[first:last]
                    if all(some) and any(boxes == anchors * sum(some) for anchors in ANCHORS):
                        return True
    return False


def _joins_boxes_and_scores(output: ModelOutput) -> bool:
    """Whether the last Concat joins boxes (4 of them at each place) and what ends in a sigmoid."""
    sizes = [part.sizes for part in output.parts]
    four = any(each is not None and len(each) >= 2 and each[1] == 4 for each in sizes)
    scores = any(part.operator in SIGMOIDS for part in output.parts)
    return len(output.parts) >= 2 and four and scores


def _named(outputs: Sequence[ModelOutput], pictures: Sequence[TensorSpec]) -> Claim | None:
    """Return a claim to boxes and scores, and to their classes and number, by their names."""
    by_role: dict[Role, ModelOutput] = {}
    for output in outputs:
        role = role_of(output.name)
        if role is not None:
            by_role.setdefault(role, output)
    if "scores" not in by_role and "classes" in by_role and by_role["classes"].rank == 3:
        by_role["scores"] = by_role.pop("classes")  # a score of each class
    boxes, scores = by_role.get("boxes"), by_role.get("scores")
    if boxes is None or scores is None or not _go_together(boxes, scores):
        return None
    found = [boxes, scores]
    if scores.rank == 2:
        found += [by_role[role] for role in ("classes", "count") if role in by_role]
    names = tuple(each.name for each in found)
    return Claim(names, Evidence.GRAPH, f"outputs are named {', '.join(names)}")


def _go_together(boxes: ModelOutput, scores: ModelOutput) -> bool:
    """Whether outputs can hold boxes and their scores."""
    if boxes.shape is None or scores.shape is None or not (boxes.is_float and scores.is_float):
        return False
    if len(boxes.shape) != 3 or boxes.shape[2] not in (4, None) or len(scores.shape) not in (2, 3):
        return False
    places = boxes.shape[1]
    fits = None in scores.shape[1:] or places is None or places in scores.shape[1:]
    return fits and (len(scores.shape) == 3 or (scores.shape[1] or 2) >= 2)


def _labelled(outputs: Sequence[ModelOutput], pictures: Sequence[TensorSpec]) -> Claim | None:
    """Return a claim to corners with a score, and to the classes of the same boxes."""
    for boxes in outputs:
        if boxes.rank != 3 or (boxes.shape or ())[2] != 5 or not boxes.is_float:
            continue
        for labels in outputs:
            same = labels.rank == 2 and (labels.shape or ())[1] == (boxes.shape or ())[1]
            if same and (not labels.is_float or role_of(labels.name) == "classes"):
                reason = "it holds corners and scores beside classes"
                return Claim((boxes.name, labels.name), Evidence.GRAPH, reason)
    return None


def _masked(outputs: Sequence[ModelOutput], pictures: Sequence[TensorSpec]) -> Claim | None:
    """Return a claim to boxes with the weights of masks, and to the maps that these weigh."""
    for boxes in outputs:
        layout = layout_of(boxes)
        if not boxes.is_float or layout not in ("columns", "rows"):
            continue
        evidence, reason = _evidence(boxes, pictures)
        columns = (boxes.shape or ())[1 if layout == "columns" else 2] or 0
        for maps in outputs:
            if maps.rank != 4 or not maps.is_float:
                continue
            weights, height = (size or 0 for size in (maps.shape or ())[1:3])
            small = all(size is None or height < size for p in pictures for size in p.shape[1:2])
            known = evidence != Evidence.NONE or (pictures and weights in WEIGHTS)
            if known and small and FEWEST <= weights < columns - (4 if layout == "columns" else 5):
                return Claim((boxes.name, maps.name), Evidence.GRAPH,
                             f"{reason}, and masks are sums of {weights} maps")  # fmt: skip
    return None


def _distributions(outputs: Sequence[ModelOutput], pictures: Sequence[TensorSpec]) -> Claim | None:
    """Return a claim to maps of several scales that hold a distribution for each side of a box.

    Where the graph joins 64 channels with those of the classes, this is sure.  Two outputs a scale,
    one of them of 64 channels, may be something else.
    """
    found = joined_scales(outputs)
    guess = not found
    found = found or paired_scales(outputs)
    if not pictures or len(found) < (3 if guess else 2):
        return None
    names = tuple(each.name for scale in found for each in scale)
    reason = f"there are maps of {len(found)} scales on the picture with 16 numbers for each side"
    return Claim(names, Evidence.GRAPH, reason, guess=guess)


def _are_maps(output: ModelOutput) -> bool:
    shape = output.shape
    if shape is None or not output.is_float or joins_sides_and_classes(output):
        return False
    if len(shape) == 5:
        return shape[1] in ANCHORS and (shape[4] or 0) > 5
    channels = shape[1] if len(shape) == 4 else None
    return channels is not None and channels % OF_MAPS == 0 and channels // OF_MAPS > 5


def _maps(outputs: Sequence[ModelOutput], pictures: Sequence[TensorSpec]) -> Claim | None:
    """Return a claim to maps of several scales, each half as large as the one before.

    Networks that label pixels may give maps of two scales, too, so that of maps without an axis of
    anchors there must be three, or the larger one must have cells of 16 pixels or more.
    """
    by_cells: dict[tuple[int, ...], ModelOutput] = {}
    some = [each for each in outputs if _are_maps(each) and None not in (each.shape or ())[1:]]
    for each in some:
        shape, first = each.shape or (), some[0].shape or ()
        if len(shape) == len(first) and (shape[1], shape[4:]) == (first[1], first[4:]):
            by_cells.setdefault(tuple(size or 0 for size in shape[2:4]), each)
    found = sorted(by_cells.items(), reverse=True)
    halved = all(
        large == tuple(2 * size for size in small) for (large, _), (small, _) in pairwise(found)
    )
    if len(found) < 2 or not halved or not pictures:
        return None
    stride = _stride(found[0][0], pictures)
    is_open = all(None in each.shape[1:] for each in pictures)
    if stride is None and not (is_open and len(found) > 2):
        return None
    if len(found) == 2 and some[0].rank == 4 and (stride or 0) < TWO_SCALES:
        return None
    names = tuple(each.name for _, each in found)
    reason = f"there are maps of {len(names)} scales on the picture, whose anchors are not known"
    return Claim(names, Evidence.GRAPH, reason)


def _stride(cells: tuple[int, ...], pictures: Sequence[TensorSpec]) -> int | None:
    """Return the pixels along a cell of a grid on the picture, None if it is on none."""
    for stride in STRIDES[1:]:
        size = tuple(stride * count for count in cells)
        if any(size in (each.shape[1:], each.shape[:2]) for each in pictures):
            return stride
    return None


def _alike(outputs: Sequence[ModelOutput], pictures: Sequence[TensorSpec]) -> Claim | None:
    """Return a claim to four numbers and scores of the same places, whatever their names."""
    varying = any(output.varying for output in outputs)
    if not (pictures or varying):
        return None
    fours = [
        each for each in outputs if each.is_float and each.rank == 3 and (each.shape or ())[2] == 4
    ]
    fours.sort(key=lambda each: (role_of(each.name) != "boxes", each.operator not in SIGMOIDS))
    for boxes in fours:
        places = (boxes.shape or ())[1]
        beside = [
            each
            for each in outputs
            if each is not boxes and each.rank in (2, 3) and (each.shape or ())[1] == places
        ]
        scores = [each for each in beside if each.is_float]
        scores = [each for each in scores if each.rank == (2 if varying else 3)]
        if places is None or len(scores) != 1:
            continue
        classes = [each for each in beside if not each.is_float and each.rank == 2][:1]
        names = (boxes.name, scores[0].name, *(each.name for each in classes))
        reason = f"they have four numbers and scores of the same {places} places"
        if varying:
            reason = "they have four numbers, a score and a class for each box"
        return Claim(names, Evidence.GRAPH, reason)
    return None


def _are_indices(output: ModelOutput) -> bool:
    return output.varying and not output.is_float and output.rank == 3 and (
        (output.shape or ())[2] == 3
    )  # fmt: skip


MAKES = (_named, _labelled, _masked, _distributions, _maps, _alike)
"""What claims several outputs together."""
