"""The moments of a calibration in the cache, so that the same model and data need no second pass.

Numbers are stored in the types that they have, so that a plan from stored moments is that from
fresh ones, bit by bit.
"""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Cache, Entry, Key
from frivkit.compression.linear_consumers import ConsumerInput
from frivkit.compression.packed_moments import PackedMoments
from frivkit.compression.patch_moments import PatchMoments, UnitSpread, accumulate_patch_moments
from frivkit.data import Dataset
from frivkit.errors import CacheError
from frivkit.graph.model import Model
from frivkit.runtime.execution import Execution

MOST_BYTES = 512 << 20
"""Size above which moments are not stored: reading them would save less than it takes on disk."""


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationMoments:
    """What a pass over the calibration examples gives.

    Attributes:
        patch_moments: The moments of the inputs of consumers.
        spreads: Where the units of further tensors lie, by the tensor's name.
        reused: Whether they came out of the cache.
    """

    patch_moments: Mapping[ConsumerInput, PatchMoments]
    spreads: Mapping[str, UnitSpread]
    reused: bool = False


def calibration_moments(
    cache: Cache,
    model: Model,
    sources: Sequence[ConsumerInput],
    data: Dataset,
    execution: Execution,
    *,
    tensor_axes: Mapping[str, int],
) -> CalibrationMoments:
    """Return the moments of a calibration, from the cache if it has them.

    Args:
        cache: The cache; moments that fit neither it nor ``MOST_BYTES`` are not stored.
        model: The model.
        sources: The inputs of consumers.
        data: The examples.
        execution: How to run the model.
        tensor_axes: The axis of the units of further tensors, by their names.

    Raises:
        ModelError: activations are not finite.
    """
    key = calibration_key(model, sources, data, execution, tensor_axes=tensor_axes)
    with cache.building(key) as entry:
        if entry is not None:
            with entry, contextlib.suppress(CacheError):
                return _read(entry, sources, list(tensor_axes))
        moments, spreads = accumulate_patch_moments(
            model, sources, data, execution, tensor_axes=tensor_axes
        )
        found = CalibrationMoments(moments, spreads)
        arrays = _arrays(found, sources)
        if sum(array.nbytes for array in arrays.values()) <= min(MOST_BYTES, cache.limit):
            with cache.build(key) as writer:
                for name, array in arrays.items():
                    writer.put(name, array)
    return found


def calibration_key(
    model: Model,
    sources: Sequence[ConsumerInput],
    data: Dataset,
    execution: Execution,
    *,
    tensor_axes: Mapping[str, int],
) -> Key:
    """Return the key of the moments of a calibration: all that their bits depend on.

    Memory counts, since it decides how many examples a batch has and which inputs have the moments
    of whole patches.  What is read depends on the output whose labels are compared.
    """
    read = [*(source.name for source in sources), *map(repr, tensor_axes.items())]
    extra = {
        "runtime": execution.placement.fingerprint,
        "threads": str(execution.threads),
        "memory": str(execution.memory),
        "seed": str(execution.seed),
        "inputs": repr([(each.name, each.dtype, each.shape) for each in model.inputs]),
        "batch": str(model.batch),
        "spreads": "by unit",  # entries of earlier versions have sums over units
        "read": hashlib.sha256("\n".join(read).encode()).hexdigest(),
    }
    return Key(model.identity, data.digest, "", "", "calibration", extra)


def _arrays(found: CalibrationMoments, sources: Sequence[ConsumerInput]) -> dict[str, NDArray[Any]]:
    """Return the arrays of an entry by their names, in which sources and tensors are numbered."""
    arrays: dict[str, NDArray[Any]] = {}
    for i, source in enumerate(sources):
        moments = found.patch_moments[source]
        arrays[f"{i} per channel"] = np.array(moments.per_channel)
        for j, part in enumerate(moments.parts):
            arrays[f"{i} {j} count"] = np.array(part.count)
            arrays[f"{i} {j} shift"] = part.shift
            arrays[f"{i} {j} total"] = part.total
            arrays[f"{i} {j} packed"] = part.packed
    for i, spread in enumerate(found.spreads.values()):
        arrays[f"spread {i} mean"] = spread.mean
        arrays[f"spread {i} variances"] = spread.variances
    return arrays


def _read(
    entry: Entry, sources: Sequence[ConsumerInput], tensors: Sequence[str]
) -> CalibrationMoments:
    """Return the moments of an entry.

    Raises:
        CacheError: the entry is damaged; it is removed.
    """
    arrays = {name: entry.read(name) for name in entry.names}
    moments = {}
    for i, source in enumerate(sources):
        parts = tuple(
            PackedMoments(
                int(arrays[f"{i} {j} count"]),
                arrays[f"{i} {j} shift"],
                arrays[f"{i} {j} total"],
                arrays[f"{i} {j} packed"],
            )
            for j in range(2)
            if f"{i} {j} count" in arrays
        )
        moments[source] = PatchMoments(parts, bool(arrays[f"{i} per channel"]))
    spreads = {
        name: UnitSpread(arrays[f"spread {i} mean"], arrays[f"spread {i} variances"])
        for i, name in enumerate(tensors)
    }
    return CalibrationMoments(moments, spreads, reused=True)
