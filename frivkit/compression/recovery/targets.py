"""What the compressed network should compute: kept features and outputs of the original."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.plan import Plan, group_flags
from frivkit.compression.recovery.examples import Indices
from frivkit.data import Array
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.runtime.session import Feeds, Session

SQUASHING = ("LogSoftmax", "Sigmoid", "Softmax")
"""Operators at the end of a network whose input is the target in place of their output."""


@dataclass(frozen=True, slots=True, eq=False)
class RecoveryTarget:
    """A tensor that both networks compute.

    Attributes:
        name: Its name.
        axis: The axis of its units.
        kept: Indices of what is left of it, by axis.
        is_output: Whether it is an output, or what an output is computed from.
    """

    name: str
    axis: int
    kept: Mapping[int, NDArray[np.intp]] = field(default_factory=dict)
    is_output: bool = False

    def narrowed(self, array: Array) -> Array:
        """Return what is left of the tensor of the original."""
        for axis, indices in self.kept.items():
            array = np.take(array, indices, axis)
        return array


def find_targets(
    calibration: Calibration, plan: Plan, compressed: ir.Model
) -> tuple[RecoveryTarget, ...]:
    """Return the features and outputs that a compressed network should have as the original.

    The feature of a layer is its hook point.  The sum takes its place where it is added to a
    residual stream: the branch may make good for what the stream lost.  For an output of a Softmax,
    a LogSoftmax or a Sigmoid it is the input of these.
    """
    kept, ids = (
        group_flags(calibration, plan.keep),
        calibration.pruning_graph.assignment.group_ids,
    )
    computed = {value.name for node in compressed.graph for value in node.outputs}
    sums = {branch.output: branch.total for branch in calibration.branches}
    outputs = [output_target(value) for value in calibration.model.graph.outputs]
    names = dict.fromkeys(sums.get(site.name, site.name) for site in calibration.site_map.sites)
    features = [
        RecoveryTarget(name, next(iter(ids[name])), _left(ids[name], kept))
        for name in names
        if name in computed and name not in outputs and ids.get(name)
    ]
    ends = [
        RecoveryTarget(name, 1, is_output=True)
        for name in dict.fromkeys(outputs)
        if name in computed
    ]
    return (*features, *ends)


def output_target(value: ir.Value) -> str:
    """Return the name of the target for an output: what goes into its Softmax, or itself."""
    node = value.producer()
    if node is not None and node.op_type in SQUASHING and node.inputs[0] is not None:
        return node.inputs[0].name or ""
    return value.name or ""


def _left(
    ids: Mapping[int, NDArray[np.intp]], kept: NDArray[np.bool_]
) -> dict[int, NDArray[np.intp]]:
    flags = {axis: kept[groups] for axis, groups in ids.items()}
    return {axis: np.flatnonzero(each) for axis, each in flags.items() if not each.all()}


class Original:
    """The original network, which says what the targets are.

    Args:
        calibration: The network.
        targets: The tensors.

    Attributes:
        targets: The tensors that are of real numbers.
        variances: Their variances about the means of their units, each above 0, after
            :meth:`measure`.
    """

    def __init__(self, calibration: Calibration, targets: Sequence[RecoveryTarget]) -> None:
        part = with_outputs(calibration.model, [target.name for target in targets])
        self._session = Session(part.ir, calibration.run.execution.placement)
        self._inputs = part.inputs
        self.targets = tuple(targets)
        self.variances: tuple[float, ...] = ()
        self._stored: list[Array] | None = None
        self._place: dict[int, int] = {}

    def computed(self, inputs: Feeds) -> list[Array]:
        """Return the targets of some examples, without what has left."""
        names = [target.name for target in self.targets]
        arrays = self._session.run({name: inputs[name] for name in self._inputs}, names)
        return [target.narrowed(array) for target, array in zip(self.targets, arrays, strict=True)]

    def select(self, names: Collection[str]) -> None:
        """Compute no other targets than these from now on."""
        self.targets = tuple(target for target in self.targets if target.name in names)

    def measure(self, batches: Iterable[tuple[Indices, Feeds]], room: int) -> None:
        """Run over the examples for gradients: find variances, and store targets if there is room.

        Args:
            batches: The examples, with their indices.
            room: Bytes that targets may take; 0 to store none.

        Raises:
            ModelError: ONNX Runtime fails.
        """
        sums = [_Spread(target.axis) for target in self.targets]
        parts: list[list[Array]] = [[] for _ in self.targets]
        places: list[Indices] = []
        for indices, inputs in batches:
            arrays = self.computed(inputs)
            for spread, array in zip(sums, arrays, strict=True):
                spread.add(array)
            room -= sum(array.nbytes for array in arrays)
            if room < 0 or any(array.shape[:1] != (len(indices),) for array in arrays):
                room, parts = -1, [[] for _ in self.targets]
                continue
            places.append(indices)
            for part, array in zip(parts, arrays, strict=True):
                part.append(array)
        found = [spread.variance for spread in sums]
        good = [i for i, variance in enumerate(found) if np.isfinite(variance) and variance > 0]
        self.targets = tuple(self.targets[i] for i in good)
        self.variances = tuple(found[i] for i in good)
        if room >= 0 and good:
            self._stored = [np.concatenate(parts[i]) for i in good]
            self._place = {int(at): row for row, at in enumerate(np.concatenate(places))}

    def stored(self, indices: Indices) -> list[Array] | None:
        """Return the targets of examples for gradients, None if they are not stored."""
        if self._stored is None:
            return None
        rows = [self._place[int(at)] for at in indices]
        return [array[rows] for array in self._stored]


class _Spread:
    """The variance of a tensor about the means of its units, in one pass.

    Args:
        axis: The axis of units, if the tensor has it.
    """

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._count = 0
        self._sum: Array = np.zeros(())
        self._square = 0.0

    def add(self, array: Array) -> None:
        """Count a batch."""
        if array.dtype.kind != "f":
            self._square = np.nan
            return
        numbers = array.astype(np.float64)
        axes = tuple(axis for axis in range(array.ndim) if axis != self._axis)
        with np.errstate(all="ignore"):  # what is not finite is no target
            total = numbers.sum(axis=axes)
            if self._count and total.shape != self._sum.shape:
                self._square = np.nan
                return
            self._sum = self._sum + total
            self._square += float((numbers * numbers).sum())
        self._count += array.size

    @property
    def variance(self) -> float:
        """The mean squared distance of an entry from the mean of its unit."""
        if not self._count:
            return np.nan
        units = max(1, self._sum.size)
        with np.errstate(all="ignore"):
            within = float((self._sum * self._sum).sum()) * units / self._count
            variance = (self._square - within) / self._count
        return variance if variance > 1e-12 * self._square / self._count else 0.0
