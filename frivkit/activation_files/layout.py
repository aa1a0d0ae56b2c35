"""The layout of an activation file: every array with its shape and meaning, and the key."""

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
"""About the bytes that HDF5's own tables take for one array."""
DRAWING_BYTES = 160
"""Most bytes that numpy needs for each row that it draws without replacement (20 in a pool)."""
_SPATIAL_AXES = {1: ("position",), 2: ("height", "width"), 3: ("depth", "height", "width")}


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """One array of the file.

    Attributes:
        name: Its path in the file.
        shape: Its whole shape, the first axis over examples or sampled rows.
        dtype: Its number type.
        labels: The name of each axis.
        scales: Paths of the index arrays along the first axis.
        attrs: Its HDF5 attributes.
        values: Its values, if they are known before the model runs, else None.
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
        """Its bytes on the disk, incomplete chunks counted as whole ones."""
        axes = zip(self.shape, self.chunk, strict=True)
        return prod(ceil(size / c) * c for size, c in axes) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The rows of one layer that were drawn.

    Attributes:
        rows: Their numbers among all rows, example by example, ascending.
        rows_per_example: The number of rows of one example.
    """

    rows: NDArray[np.int64]
    rows_per_example: int

    def from_examples(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of drawn rows that come from examples ``first`` to ``last`` - 1."""
        each = self.rows_per_example
        start, stop = np.searchsorted(self.rows, [first * each, last * each])
        return int(start), int(stop)


@dataclass(frozen=True, eq=False)
class FileLayout:
    """The content of the file.

    Attributes:
        key: Everything that the file depends on, by name; the same key gives the same arrays.
        about: Further attributes of the root.
        arrays: The arrays.
        samples: The rows drawn from each layer, by its tensor's name; empty if all are written.
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
        """About the bytes of the file, uncompressed."""
        return sum(array.bytes + TABLE_BYTES for array in self.arrays)


def layer_path(site: Site) -> str:
    """Return the path of a layer's activations in the file."""
    return f"layers/{stored_name(site.layer)}"


def key_of(
    study: Study, output: str, device: Device, rows: int | None, compress: str | None
) -> dict[str, str | int | None]:
    """Return everything that the file depends on, by the names that messages use."""
    layers = json.dumps([[site.layer, site.name] for site in study.sites])
    return {
        "model": study.model.identity,
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


def file_layout(
    study: Study,
    key: Mapping[str, str | int | None],
    first: Mapping[str, NDArray[Any]],
    positions: int,
    memory: int,
) -> FileLayout:
    """Return the layout of the file.

    Args:
        study: The model, the layers and the data.
        key: See :func:`key_of`.
        first: The tensors of one example by name, for their number types and shapes.
        positions: The number of labels of one example.
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
    axis: tuple[str, ...] = ("example",)
    classes = ("example", "class", *_spatial_axes(output.ndim - 2))[: output.ndim]
    arrays = [
        StoredArray("example", (n,), number, axis, values=np.arange(n)),
        StoredArray("outputs", (n, *output.shape[1:]), output.dtype, classes, axis),
        StoredArray("labels", (n, positions), np.dtype(np.int32), ("example", "position"), axis),
    ]
    if study.data.has_labels:
        arrays.append(StoredArray("y", (n,), number, axis, axis))
    samples: dict[str, Sample] = {}
    for site in study.sites:
        if rows is None:
            arrays.append(_all_rows(site, n, first[site.name].dtype))
        else:
            sample = _draw(study, site, int(rows), study.units("map"))
            samples[site.name] = sample
            arrays += _sampled_rows(site, sample, study.units("map"), first[site.name].dtype)
    about: dict[str, str | int] = {
        "model": study.model.sha256,
        # A path that is no UTF-8 cannot be an attribute.
        "data": study.data.description.encode(errors="backslashreplace").decode(),
        "data-sha256": study.data.digest,
        "output": str(key["output"]),
        "examples": n,
        "seed": study.seed,
        "selector": str(key["units"] or ""),
    }
    return FileLayout(key, about, tuple(arrays), samples, n)


def _all_rows(site: Site, n: int, dtype: np.dtype[Any]) -> StoredArray:
    spatial = _spatial_axes(len(site.spatial))
    labels = ("example", *spatial[: site.axis - 1], "unit", *spatial[site.axis - 1 :])
    return StoredArray(
        layer_path(site),
        (n, *site.shape),
        dtype,
        labels,
        ("example",),
        _attributes(site, site.axis),
    )


def _sampled_rows(
    site: Site, sample: Sample, selector: UnitSelector, dtype: np.dtype[Any]
) -> list[StoredArray]:
    folder, number = f"rows/{stored_name(site.layer)}", np.dtype(np.int64)
    drawn, each = len(sample.rows), sample.rows_per_example
    indices = {"example": sample.rows // each, "place": sample.rows % each}
    scales = tuple(f"{folder}/{name}" for name in indices)
    shape = (drawn, selector.count(site))
    return [
        *(
            StoredArray(f"{folder}/{name}", (drawn,), number, ("row",), values=values)
            for name, values in indices.items()
        ),
        StoredArray(layer_path(site), shape, dtype, ("row", "unit"), scales, _attributes(site, 1)),
    ]


def _attributes(site: Site, axis: int) -> dict[str, str | int]:
    return {"layer": site.layer, "tensor": site.name, "op": site.op, "unit_axis": axis}


def _draw(study: Study, site: Site, rows: int, selector: UnitSelector) -> Sample:
    """Draw rows of a layer without replacement, independently of the other selected layers."""
    each = len(selector.rows(site, np.zeros((1, *site.shape), np.float32)))
    total = study.examples * each
    number = [other.name for other in study.site_map.sites].index(site.name)
    generator = np.random.default_rng([study.seed, number])
    drawn = generator.choice(total, min(rows, total), replace=False, shuffle=False)
    return Sample(np.sort(drawn).astype(np.int64), each)


def _spatial_axes(axes: int) -> Sequence[str]:
    return _SPATIAL_AXES.get(axes) or [f"place{i}" for i in range(axes)]
