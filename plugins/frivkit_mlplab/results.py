"""A sweep's file of results: one JSON object a line, safe against being cut short.

A stack's rows are appended in one write and say how many they are, so that a stack of which some
are missing is known to be unfinished, wherever the file was cut.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frivkit.errors import DataError
from frivkit_mlplab.measures import Measured
from frivkit_mlplab.stack import Net, Stack

Row = Mapping[str, Any]
MEASUREMENTS = {
    "train accuracy": "train_accuracy",
    "validation accuracy": "validation_accuracy",
    "test accuracy": "test_accuracy",
    "prunability": "prunability",
    "redundancy": "redundancy",
}


@dataclass(frozen=True, slots=True)
class Key:
    """What tells a trained network from all others of a sweep."""

    inputs: int
    examples: int
    optimiser: str
    width: float
    seed: int
    net: Net

    @classmethod
    def of(cls, row: Row) -> "Key":
        """Give the key of a row."""
        net = Net(row["rate"], row["factor"])
        grid = (row["inputs"], row["examples"], row["optimiser"], row["width"], row["seed"])
        return cls(*grid, net)


def keys(stack: Stack) -> list[Key]:
    """Give the keys of a stack's networks, in their order."""
    grid = (stack.inputs, stack.examples, stack.optimiser, stack.width, stack.seed)
    return [Key(*grid, net) for net in stack.nets]


def rows_of(stack: Stack, measured: Sequence[Measured]) -> list[Row]:
    """Give one row for each network and measurement.

    Args:
        stack: The networks.
        measured: What was found of each, in their order.
    """
    name = hashlib.sha256(repr(stack).encode()).hexdigest()[:12]
    return [
        {
            "stack": name,
            "rows": len(MEASUREMENTS) * len(stack.nets),
            "inputs": stack.inputs,
            "examples": stack.examples,
            "optimiser": stack.optimiser,
            "width": stack.width,
            "units": stack.units,
            "seed": stack.seed,
            "rate": net.rate,
            "factor": net.factor,
            "measurement": measurement,
            "value": getattr(found, attribute),
        }
        for net, found in zip(stack.nets, measured, strict=True)
        for measurement, attribute in MEASUREMENTS.items()
    ]


class Results:
    """The rows of a sweep.

    Attributes:
        path: The file.
        rows: All rows of finished stacks, and of figures.
    """

    def __init__(self, path: Path) -> None:
        """Open a file; rows of unfinished stacks and a torn last line leave it.

        Raises:
            DataError: a line other than the last is not JSON, or the file cannot be read.
        """
        self.path = path
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        found = [self._read(lines, place) for place in range(len(lines))]
        whole = [row for row in found if row is not None]
        counts = Counter(row["stack"] for row in whole if "stack" in row)
        self.rows: list[Row] = [
            row for row in whole if "stack" not in row or counts[row["stack"]] == row["rows"]
        ]
        if len(self.rows) < len(lines):
            self._rewrite()

    @property
    def finished(self) -> set[Key]:
        """The networks whose rows are here."""
        return {Key.of(row) for row in self.rows if "stack" in row}

    def append(self, rows: Sequence[Row]) -> None:
        """Add the rows of a stack; they are on disk when this returns."""
        with self.path.open("ab") as file:
            file.write(_text(rows))
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(rows)

    def put_figure(self, figure: str, rows: Sequence[Row]) -> None:
        """Replace the rows of a figure, if they are not what they should be."""
        others = [row for row in self.rows if row.get("figure") != figure]
        if [row for row in self.rows if row.get("figure") == figure] != list(rows):
            self.rows = [*others, *rows]
            self._rewrite()

    def _read(self, lines: Sequence[bytes], place: int) -> Row | None:
        line = lines[place]
        try:
            row = json.loads(line)
            if line.endswith(b"\n") and isinstance(row, dict):
                return row
        except ValueError:
            pass
        if place == len(lines) - 1:
            return None
        raise DataError(
            f"{self.path}: line {place + 1} is no JSON object; move the file away, or mend the line"
        )

    def _rewrite(self) -> None:
        replace_file(self.path, _text(self.rows))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _text(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()
