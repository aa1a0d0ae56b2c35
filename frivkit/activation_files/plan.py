"""What an activation file is to hold: every array with its shape and meaning, and the key."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

import frivkit
from frivkit.cache.entry import stored_name
from frivkit.cache.writer import chunk_shape
from frivkit.errors import ModelError
from frivkit.graph.sites.site_map import Site
from frivkit.measure.study import Study
from frivkit.runtime.session import Device
from frivkit.units.selector import UnitSelector

TYPE = "frivkit-activations"
VERSION = "1"
TABLE_BYTES = 4096
"""About what HDF5's own tables take for one array."""
DRAWING_BYTES = 160
"""Most bytes that numpy takes a row to draw without replacement (a pool of 20 rows for each)."""
_PLACES = {1: ("position",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """One array of the file.

    Attributes:
        name: Its path in the file.
        shape: Its whole shape, the first axis over examples or sampled rows.
        dtype: Its number type.
        labels: What each axis is.
        scales: Paths of the index arrays that go along the first axis.
        attrs: What else a reader may want to know.
        values: What is known before anything runs; None for what runs give.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    labels: tuple[str, ...]
    scales: tuple[str, ...] = ()
    attrs: Mapping[str, str | int] = field(default_factory=dict)
    values: NDArray[Any] | None = None

    @property
    def chunk(self) -> tuple[int, ...]:
        """The shape of a chunk, of at most 1 MiB."""
        return chunk_shape(self.shape, self.dtype.itemsize)

    @property
    def bytes(self) -> int:
        """What it takes on the disk, chunks that stick out at the end included."""
        pieces = zip(self.shape, self.chunk, strict=True)
        return prod(ceil(size / c) * c for size, c in pieces) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The rows of one layer that were drawn.

    Attributes:
        rows: Their numbers among all rows, example by example, ascending.
        each: How many rows one example has.
    """

    rows: NDArray[np.int64]
    each: int

    def within(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of drawn rows that come from examples ``first`` to ``last`` - 1."""
        start, stop = np.searchsorted(self.rows, [first * self.each, last * self.each])
        return int(start), int(stop)


@dataclass(frozen=True, eq=False)
class FileLayout:
    """All that the file will hold.

    Attributes:
        key: What the file depends on, by name; the same key gives the same arrays.
        about: Further attributes of the root.
        arrays: The arrays.
        samples: The rows drawn from each layer, by its tensor's name; empty when all are written.
        examples: The number of examples.
    """

    key: Mapping[str, str | int | None]
    about: Mapping[str, str | int]
    arrays: tuple[StoredArray, ...]
    samples: Mapping[str, Sample]
    examples: int

    @cached_property
    def key_text(self) -> str:
        """The key as canonical JSON."""
        return json.dumps(self.key, sort_keys=True, separators=(",", ":"))

    @property
    def bytes(self) -> int:
        """About what the file takes, uncompressed."""
        return sum(array.bytes + TABLE_BYTES for array in self.arrays)


def layer_path(site: Site) -> str:
    """Return the path of a layer's activations in the file."""
    return f"layers/{stored_name(site.layer)}"


def key_of(
    study: Study, output: str, device: Device, rows: int | None, compress: str | None
) -> dict[str, str | int | None]:
    """Return what the file depends on, by the names that messages use."""
    layers = json.dumps([[site.layer, site.name] for site in study.sites])
    return {
        "model": study.model.sha256,
        "data": study.data.digest,
        "output": output,
        "layers": hashlib.sha256(layers.encode()).hexdigest(),
        "rows": rows,
        "units": None if rows is None else study.units("map").name,
        "seed": None if rows is None else study.seed,
        "compression": compress,
        "runtime": device.fingerprint,
        "frivkit": frivkit.__version__,
    }


def plan_of(
    study: Study,
    key: Mapping[str, str | int | None],
    first: Mapping[str, NDArray[Any]],
    positions: int,
    memory: int,
) -> FileLayout:
    """Lay out the file.

    Args:
        study: The model, the layers and the data.
        key: See :func:`key_of`.
        first: The tensors of one example by name, for their number types and shapes.
        positions: How many labels the network gives an example.
        memory: Bytes that drawing rows may take.

    Raises:
        ModelError: a tensor is not made of numbers, or so many rows cannot be drawn in memory.
    """
    rows = key["rows"]
    if rows is not None and int(rows) * (DRAWING_BYTES + 8 * len(study.sites)) > memory:
        raise ModelError(
            f"drawing {rows} rows of {len(study.sites)} layers does not fit into --memory: "
            "give fewer --rows or --layer, or a larger --memory"
        )
    for name, array in first.items():
        if array.dtype.kind not in "biuf":
            raise ModelError(f"tensor {name!r} holds {array.dtype}, which HDF5 cannot store")
    n, number = study.examples, np.dtype(np.int64)
    output = first[str(key["output"])]
    along: tuple[str, ...] = ("example",)
    classes = ("example", "class", *_places(output.ndim - 2))[: output.ndim]
    arrays = [
        StoredArray("example", (n,), number, along, values=np.arange(n)),
        StoredArray("outputs", (n, *output.shape[1:]), output.dtype, classes, along),
        StoredArray("labels", (n, positions), np.dtype(np.int32), ("example", "position"), along),
    ]
    if study.data.has_labels:
        arrays.append(StoredArray("y", (n,), number, along, along))
    samples: dict[str, Sample] = {}
    for site in study.sites:
        if rows is None:
            arrays.append(_whole(site, n, first[site.name].dtype))
        else:
            sample = _draw(study, site, int(rows), study.units("map"))
            samples[site.name] = sample
            arrays += _sampled(site, sample, study.units("map"), first[site.name].dtype)
    about: dict[str, str | int] = {
        "model": study.model.sha256,
        "data": study.data.description,
        "data-sha256": study.data.digest,
        "output": str(key["output"]),
        "examples": n,
        "seed": study.seed,
        "selector": str(key["units"] or ""),
    }
    return FileLayout(key, about, tuple(arrays), samples, n)


def _whole(site: Site, n: int, dtype: np.dtype[Any]) -> StoredArray:
    places = _places(len(site.spatial))
    labels = ("example", *places[: site.axis - 1], "unit", *places[site.axis - 1 :])
    return StoredArray(
        layer_path(site), (n, *site.shape), dtype, labels, ("example",), _about(site, site.axis)
    )


def _sampled(
    site: Site, sample: Sample, selector: UnitSelector, dtype: np.dtype[Any]
) -> list[StoredArray]:
    folder, drawn, number = f"rows/{stored_name(site.layer)}", len(sample.rows), np.dtype(np.int64)
    indices = {"example": sample.rows // sample.each, "place": sample.rows % sample.each}
    scales = tuple(f"{folder}/{name}" for name in indices)
    shape = (drawn, selector.count(site))
    return [
        *(
            StoredArray(f"{folder}/{name}", (drawn,), number, ("row",), values=values)
            for name, values in indices.items()
        ),
        StoredArray(layer_path(site), shape, dtype, ("row", "unit"), scales, _about(site, 1)),
    ]


def _about(site: Site, axis: int) -> dict[str, str | int]:
    return {"layer": site.layer, "tensor": site.name, "op": site.op, "unit_axis": axis}


def _draw(study: Study, site: Site, rows: int, selector: UnitSelector) -> Sample:
    """Draw rows without replacement; which ones depends on no other layer that is chosen."""
    each = len(selector.rows(site, np.zeros((1, *site.shape), np.float32)))
    total = study.examples * each
    place = [known.name for known in study.site_map.sites].index(site.name)
    generator = np.random.default_rng([study.seed, place])
    drawn = generator.choice(total, min(rows, total), replace=False, shuffle=False)
    return Sample(np.sort(drawn).astype(np.int64), each)


def _places(axes: int) -> Sequence[str]:
    return _PLACES.get(axes) or [f"place{i}" for i in range(axes)]
