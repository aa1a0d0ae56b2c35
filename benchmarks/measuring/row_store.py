"""A store of the rows of a long benchmark, so that an interrupted run can be continued."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class RowStore:
    """Rows by their keys, in a file with one line of JSON for each, or in memory alone.

    An incomplete line, written by a run that was killed, is ignored.

    Example:
        >>> store = RowStore(None)
        >>> store.add({"net": "small", "seed": 0}, {"agreement": 0.9})
        >>> store.get({"net": "small", "seed": 0}), store.get({"net": "small", "seed": 1})
        ({'agreement': 0.9}, None)
    """

    def __init__(self, path: Path | None) -> None:
        """Read the rows of a file.

        Args:
            path: The file, created with the first row; None for memory alone.
        """
        self._path = path
        self._rows: dict[str, Json] = {}
        for line in path.read_text().splitlines() if path and path.exists() else ():
            try:
                key, row = json.loads(line)
            except ValueError:
                continue
            self._rows[_text(key)] = row

    def get(self, key: Mapping[str, Any]) -> Json | None:
        """Return the row of a key, None if there is none yet."""
        return self._rows.get(_text(key))

    def add(self, key: Mapping[str, Any], row: Json) -> None:
        """Store a row."""
        self._rows[_text(key)] = row
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(
                    f"\n{json.dumps([key, row])}"
                )  # an incomplete line before it stays alone


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
