"""Pages that lay what sweeps found beside something else: data kept beside them, tables made anew.

A page is Markdown in which two marks enclose what is made from the data.  The data of each protocol
lie in a folder of their own in ``data`` beside the page.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frivkit.errors import DataError
from frivkit.sweep.results import replace_file
from frivkit.sweep.runner import JOURNAL, RESULTS

BEGIN, END = "<!-- made from data: begin -->", "<!-- made from data: end -->"

Written = Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], str]
"""Writes in Markdown what rows and journal of a sweep say."""


def kept(folder: Path, data: Path, keep: Callable[[bytes], bool]) -> None:
    """Write down rows and journal of a sweep.

    The folders of paths in the commands are left out.

    Args:
        folder: What the sweep wrote.
        data: Where it is kept.
        keep: Whether a line is kept.
    """
    data.mkdir(parents=True, exist_ok=True)
    lines = (folder / RESULTS).read_bytes().splitlines(keepends=True)
    replace_file(data / RESULTS, b"".join(line for line in lines if keep(line)))
    journal = json.loads((folder / JOURNAL).read_bytes())
    for run in journal["runs"]:
        command = run["provenance"].get("command", [])
        command[:] = [Path(word).name if Path(word).is_absolute() else word for word in command]
    replace_file(data / JOURNAL, json.dumps(journal, indent=1).encode() + b"\n")


def updated(page: str, data: Path, protocols: Iterable[str], written: Written) -> str:
    """Give a page with what stands between its two marks made anew.

    Args:
        page: Its text.
        data: Folder of folders of kept sweeps, one a protocol.
        protocols: Names of these folders, in their order on the page; some may be missing.
        written: Writes what is said of one.

    Raises:
        DataError: the page has no such marks, or the data cannot be read.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise DataError(f"the page has no {BEGIN} with {END} behind it; put both where tables go")
    parts = []
    for name in protocols:
        folder = data / name
        if not folder.is_dir():
            continue
        try:
            lines = (folder / RESULTS).read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
            journal = json.loads((folder / JOURNAL).read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder} has no results of a sweep ({error}); run it again"
            ) from error
        parts.append(written(rows, journal))
    if not parts:
        raise DataError(f"{data} has no results of sweeps; name the folder of one")
    return "\n\n".join([f"{head}{BEGIN}", *parts, f"{END}{tail}"])
