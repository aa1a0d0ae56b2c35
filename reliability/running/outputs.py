"""What files of results hold, without what differs between two runs."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

TIMES = {"provenance", "seconds", "latency_ms"}


def json_values(path: Path) -> Any:
    """Return a document without what differs between two runs."""
    return _without(json.loads(path.read_bytes()), TIMES)


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(each, keys) for key, each in value.items() if key not in keys}
    return [_without(each, keys) for each in value] if isinstance(value, list) else value


def whole_page(path: Path) -> str:
    """Return the same for every HTML page that has an end."""
    text = path.read_text()
    if not text.rstrip().endswith("</html>"):
        raise ValueError(f"{path.name} has no end")
    return "whole"


def digest(path: Path) -> str:
    """Return the digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def array_digests(path: Path) -> dict[str, str]:
    """Return the digest of each array of an HDF5 file."""
    found = {}
    with h5py.File(path, "r") as file:

        def add(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                content = np.asarray(item[()])
                found[name] = hashlib.sha256(content.tobytes()).hexdigest()

        file.visititems(add)
    return found


def row_values(path: Path) -> list[str]:
    """Return the rows of a sweep without durations, in the order of their texts."""
    rows = [_without(json.loads(line), {"seconds"}) for line in path.read_text().splitlines()]
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def whole_json(path: Path) -> str:
    """Return the same for every file of valid JSON."""
    json.loads(path.read_text())
    return "whole"
