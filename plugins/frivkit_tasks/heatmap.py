"""Heat maps of key points: the place of the largest entry of each channel.

Source: B. Xiao, H. Wu, Y. Wei, Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018,
section 2: a joint is at the largest entry of its heat map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.plugin import Claim, Comparer, Evidence, LabelOptions, ModelOutput, Task, TensorSpec
from frivkit.runtime.labels import UNDEFINED
from frivkit.tasks.classify import SameLabels, single

NAMES = ("heatmap", "heatmaps", "heat", "hm", "keypoint", "keypoints", "joint", "joints", "pose",
         "kpts", "kpt")  # fmt: skip
"""Words in the names of outputs that hold heat maps."""
JOINTS = (17, 68, 133)
"""Numbers of key points of the common sets: COCO's body, 300-W's face, COCO-WholeBody."""


def channels_first(outputs: NDArray[Any], axis: int, name: str) -> NDArray[Any]:
    """Return heat maps with their channels on axis 1.

    Args:
        outputs: Shape (n, ...), at least three axes.
        axis: The axis of the channels, counted with the batch.
        name: The name of the output, for messages.

    Raises:
        ModelError: there is no place to look for a peak, or no such axis.
    """
    if outputs.ndim < 3 or not (1 <= axis < outputs.ndim or -outputs.ndim < axis <= -1):
        raise ModelError(
            f"output {name!r} has shape {('n', *outputs.shape[1:])}, which is no set of heat maps "
            f"with channels along axis {axis}; give another --task or --label-axis"
        )
    return np.moveaxis(outputs, axis, 1)


def peaks(maps: NDArray[Any]) -> NDArray[np.int32]:
    """Return the place of the largest entry of each channel, the first of several.

    Args:
        maps: Shape (n, channels, ...).

    Returns:
        The number of the place, shape (n, channels); ``UNDEFINED`` where a channel holds NaN.

    Example:
        >>> peaks(np.array([[[[0.0, 1.0], [3.0, 2.0]]]])).tolist()
        [[2]]
    """
    rows = maps.reshape(*maps.shape[:2], -1)
    found: NDArray[np.int32] = np.where(
        np.isnan(rows).any(axis=2), UNDEFINED, rows.argmax(axis=2)
    ).astype(np.int32)
    return found


class Distances:
    """How far peaks move, in entries of the heat map.

    Args:
        axis: The axis of the channels.
        name: The name of the output.
    """

    def __init__(self, axis: int, name: str) -> None:
        self._axis, self._name = axis, name
        self._total, self._largest, self._count = 0.0, 0.0, 0

    def add(self, original: Sequence[NDArray[Any]], other: Sequence[NDArray[Any]]) -> None:
        """Add the outputs of both networks for the same examples."""
        one, two = (channels_first(each[0], self._axis, self._name) for each in (original, other))
        first, second = peaks(one), peaks(two)
        known = (first != UNDEFINED) & (second != UNDEFINED)
        if not known.any():
            return
        sizes = one.shape[2:]
        places = [np.stack(np.unravel_index(each[known], sizes)) for each in (first, second)]
        distance = np.sqrt(((places[0] - places[1]).astype(np.float64) ** 2).sum(axis=0))
        self._total += float(distance.sum())
        self._largest = max(self._largest, float(distance.max()))
        self._count += distance.size

    def result(self) -> Mapping[str, float | None]:
        """Return the mean and the largest distance of peaks."""
        if not self._count:
            return {"mean_distance": None, "largest_distance": None}
        return {
            "mean_distance": self._total / self._count,
            "largest_distance": self._largest,
        }


@dataclass(frozen=True, slots=True)
class Peaks(SameLabels):
    """Reads the place of the largest entry of each channel.

    Attributes:
        axis: The axis of the channels, counted with the batch.
        name: The name of the output.
    """

    axis: int = 1
    name: str = ""

    def read(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.int32]:
        """Return places, shape (n, channels)."""
        return peaks(channels_first(outputs[0], self.axis, self.name))

    def figures(self) -> Distances:
        """Return distances of peaks."""
        return Distances(self.axis, self.name)


def _claims(outputs: Sequence[ModelOutput], inputs: Sequence[TensorSpec]) -> list[Claim]:
    claims = []
    for output in outputs:
        shape = output.shape
        if not output.is_float or (shape is not None and len(shape) < 3):
            continue
        words = output.name.lower().replace("/", "_").replace(".", "_").split("_")
        places = shape is None or None in shape[2:] or prod(size or 1 for size in shape[2:]) > 8
        if (
            any(word in NAMES for word in words)
            and shape is not None
            and len(shape) == 4
            and places
        ):
            claims.append(single(output, Evidence.NAME, "of its name"))
        elif (
            shape is not None
            and len(shape) == 4
            and shape[1] in JOINTS
            and output.softmax_axis is None
            and places
        ):
            reason = f"it has {shape[1]} channels, as sets of key points have"
            claims.append(single(output, Evidence.NAME, reason))
        else:
            claims.append(single(output, Evidence.NONE, "it has places"))
    return claims


def _comparer(outputs: Sequence[ModelOutput], options: LabelOptions) -> Comparer:
    return Peaks(axis=1 if options.axis is None else options.axis, name=outputs[0].name)


HEATMAP = Task("peaks of heat maps", _claims, _comparer)
"""The place of the largest entry of each channel."""
