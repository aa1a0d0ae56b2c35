"""The page of totals, ``docs/reliability.md``, written from the stored results."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reliability.running.verdict import kind_of

Json = dict[str, Any]

LATEST = Path(__file__).parent / "results" / "latest.json"
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- totals: written by python -m reliability page -->", "<!-- end of totals -->"
TITLES = {
    "kills": "Kills",
    "concurrency": "Concurrency",
    "starvation": "Starvation",
    "fuzz": "Damaged files",
    "attacks": "Attacks",
}


def totals(rows: Iterable[Mapping[str, Any]], seed: int) -> Json:
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


def store(suite: str, outcome: Json, setting: Mapping[str, Any]) -> None:
    """Replace the stored totals of a suite, and write the page again."""
    LATEST.parent.mkdir(exist_ok=True)
    stored = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    LATEST.write_text(json.dumps(stored | {suite: {**setting, **outcome}}, indent=1) + "\n")
    write()


def write() -> None:
    """Write the stored totals into the page."""
    PAGE.write_text(in_page(PAGE.read_text(), tables(json.loads(LATEST.read_text()))))


def in_page(page: str, text: str) -> str:
    """Return a page with a text between its marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def tables(stored: Mapping[str, Json]) -> str:
    """Return a table for each suite, with when and how it was run."""
    return "\n".join(_table(name, stored[name]) for name in TITLES if name in stored)


def _table(name: str, suite: Json) -> str:
    counts = suite["outcomes"]
    columns = sorted({outcome for each in counts.values() for outcome in each} - {"fault"})
    columns = [*columns, "fault"]
    lines = [
        f"### {TITLES[name]}",
        "",
        f"*{suite['date']}, frivkit at {suite['commit']}, seed {suite['seed']}, "
        f"{suite['seconds'] / 60:.0f} minutes on {suite['machine']}; {suite['versions']}.*",
        "",
        f"| | trials | {' | '.join(map(_heading, columns))} |",
        f"|---|{'---:|' * (len(columns) + 1)}",
    ]
    for group, each in counts.items():
        numbers = [each.get(column, 0) for column in columns]
        lines.append(f"| {group} | {sum(numbers)} | {' | '.join(map(str, numbers))} |")
    if len(counts) > 1:
        sums = [sum(each.get(column, 0) for each in counts.values()) for column in columns]
        lines.append(f"| **all** | **{sum(sums)}** | {' | '.join(f'**{n}**' for n in sums)} |")
    lines.append("")
    for group, kinds in suite["faults"].items():
        for kind, count in kinds.items():
            shown = kind.replace("|", "\\|").replace("`", "'")
            lines.append(f"- {group}, {count} time{'s' * (count > 1)}: `{shown}`")
    return "\n".join([*lines, ""]) if suite["faults"] else "\n".join(lines)


def _heading(outcome: str) -> str:
    return {"refused": "refused in one line", "fault": "faults"}.get(outcome, outcome)
