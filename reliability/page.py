"""The page of totals, written from the stored results."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reliability.running.verdict import kind_of

Json = dict[str, Any]


def totals(rows: Iterable[Json], seed: int) -> Json:
    """Return the counts of outcomes and of kinds of faults, by group."""
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    faults: dict[str, Counter[str]] = defaultdict(Counter)
    seconds = 0.0
    for row in rows:
        outcomes[row["group"]][row["outcome"]] += 1
        seconds += row["seconds"]
        if row["fault"]:
            faults[row["group"]][kind_of(row["fault"])] += 1
    return {
        "seed": seed,
        "seconds": round(seconds),
        "outcomes": {group: dict(sorted(each.items())) for group, each in outcomes.items()},
        "faults": {group: dict(each.most_common()) for group, each in faults.items()},
    }


def write() -> None:
    print(json, Path)
