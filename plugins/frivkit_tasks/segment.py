"""A class for each pixel: the share of pixels that keep theirs, and the mean IoU.

Source of the mean IoU: M. Everingham et al., The PASCAL Visual Object Classes Challenge: A
Retrospective, IJCV 111(1), 2015, section 3.4: intersection over union by class, over all pixels of
the set, and the mean over the classes.  The original's own labels are the truth here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.plugin import Claim, Comparer, Evidence, LabelOptions, ModelOutput, Task, TensorSpec
from frivkit.runtime.labels import UNDEFINED, LabelReader
from frivkit.tasks.classify import SIGMOIDS, SameLabels, class_axis, single, threshold

NAMES = ("seg", "segmentation", "semantic", "mask", "masks")
"""Words in the names of outputs that hold classes of pixels."""
SMALL = 1 << 15
"""Classes up to which labels are kept in 16 bits."""


class Overlaps:
    """The mean IoU of the labels of two networks.

    Args:
        reader: Reads labels.
    """

    def __init__(self, reader: LabelReader) -> None:
        self._reader = reader
        self._both: Counter[int] = Counter()
        self._original: Counter[int] = Counter()
        self._other: Counter[int] = Counter()

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        one, two = (self._reader.labels(each[0]) for each in (original, other))
        pairs = ((one, self._original), (two, self._other), (one[one == two], self._both))
        for labels, counts in pairs:
            found, sizes = np.unique(labels, return_counts=True)
            counts.update(dict(zip(found.tolist(), sizes.tolist(), strict=True)))

    def result(self) -> Mapping[str, float | None]:
        """Return the mean IoU over the classes that either network gives."""
        classes = (self._original.keys() | self._other.keys()) - {UNDEFINED}
        shares = [
            self._both[label] / (self._original[label] + self._other[label] - self._both[label])
            for label in classes
        ]
        return {"mean_iou": float(np.mean(shares)) if shares else None}


@dataclass(frozen=True, slots=True)
class PixelLabels(SameLabels):
    """Reads the index of the largest score at each pixel.

    Attributes:
        reader: Reads labels from the output.
    """

    reader: LabelReader = field(default_factory=lambda: LabelReader(""))

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return labels, shape (n, pixels), in 16 bits where they fit."""
        labels = self.reader.labels(outputs[0])
        small = labels.size == 0 or int(labels.max()) < SMALL
        return labels.astype(np.int16) if small else labels

    def figures(self) -> Overlaps:
        """Return the mean IoU."""
        return Overlaps(self.reader)


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    claims = []
    for output in outputs:
        shape = output.shape
        several = shape is not None and len(shape) >= 4 and output.is_float
        several = several and any(size != 1 for size in (shape or ())[2:])
        words = output.name.lower().replace("/", "_").replace(".", "_").split("_")
        if several and any(word in NAMES for word in words):
            claims.append(single(output, Evidence.GRAPH, "of its name and its shape"))
        elif several and shape is not None and shape[1] == 1 and output.operator in SIGMOIDS:
            reason = "it ends in a sigmoid of one entry at each pixel"
            claims.append(single(output, Evidence.SHAPE, reason))
        elif several and shape is not None and shape[1] != 1:
            claims.append(single(output, Evidence.SHAPE, "it has several entries at each pixel"))
        else:
            claims.append(single(output, Evidence.NONE, "it has places"))
    return claims


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    (output,) = outputs
    axis = class_axis(output, options)
    return PixelLabels(LabelReader(output.name, threshold(output), axis, output.rows))


SEGMENT = Task("labels of pixels", _claims, _comparer)
"""The index of the largest entry at each pixel."""
