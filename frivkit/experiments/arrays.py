"""The arrays of a job, one HDF5 file each, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.digests import with_digest
from frivkit.files import replace_file

ENCODING = {"encoding-type": "frivkit-sweep-arrays", "encoding-version": "1.0.0"}


def write_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[np.generic]],
    *,
    settings: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write arrays to an HDF5 file, with the settings and the provenance of their job.

    Args:
        path: The file; its folder is made if it is not there.
        arrays: By name; ``a/b`` is dataset ``b`` of group ``a``.
        settings: Written as the attribute ``settings``, in JSON.
        provenance: Written as the attribute ``provenance``, in JSON.

    Example:
        >>> import h5py
        >>> write_arrays(Path("a.h5"), {"levels": np.array([0.0, 1.0])}, settings={}, provenance={})
        >>> with h5py.File("a.h5") as file:
        ...     file["levels"][:].tolist(), file.attrs["settings"]
        ([0.0, 1.0], '{}')
    """
    import h5py

    # In memory first: where a disk is full, HDF5 fails in ways that cannot be caught.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        for name, value in ENCODING.items():
            file.attrs[name] = value
        file.attrs["settings"] = json.dumps(settings)
        file.attrs["provenance"] = json.dumps(provenance)
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        file.flush()
        content = file.id.get_file_image()
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, with_digest(content))
