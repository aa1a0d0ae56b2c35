"""Rows of a long benchmark that are kept as they come, so that a killed run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Kept:
    """Rows by their key, one line of JSON each in a file; all in memory where there is no file.

    A line that a killed run left half written is left out.

    Example:
        >>> kept = Kept(None)
        >>> kept.add({"net": "small", "seed": 0}, {"agreement": 0.9})
        >>> kept.get({"net": "small", "seed": 0}), kept.get({"net": "small", "seed": 1})
        ({'agreement': 0.9}, None)
    """

    def __init__(self, path: Path | None) -> None:
        """Read what is there.

        Args:
            path: The file, made when the first row comes.
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
        """Return the row of a key, None where there is none yet."""
        return self._rows.get(_text(key))

    def add(self, key: Mapping[str, Any], row: Json) -> None:
        """Keep a row."""
        self._rows[_text(key)] = row
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(f"\n{json.dumps([key, row])}")  # a half line before it stays by itself


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
