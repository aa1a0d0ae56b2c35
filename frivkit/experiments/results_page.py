"""Pages of stored results of sweeps, whose tables are written from these.

A page is a Markdown file.  Two comments in it enclose the text that is written from the results.
The results of each protocol are in a folder of their own, in the folder ``data`` beside the page.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frivkit.errors import DataError
from frivkit.experiments.results import encoded_journal, read_journal, read_rows
from frivkit.experiments.runner import JOURNAL
from frivkit.experiments.shards import RESULTS
from frivkit.files import replace_file

BEGIN, END = "<!-- made from data: begin -->", "<!-- made from data: end -->"

ProtocolText = Callable[[Sequence[Mapping[str, Any]], Mapping[str, Any]], str]
"""Returns Markdown text on the rows and the journal of a sweep."""


def store_results(folder: Path, target: Path, stored: Callable[[bytes], bool]) -> None:
    """Copy rows and journal of a sweep.

    The folders of paths in the commands are left out.

    Args:
        folder: The folder of the sweep.
        target: The folder of the copies.
        stored: Whether a line of ``results.jsonl`` is copied.

    Raises:
        DataError: the results cannot be read; nothing is copied then.
    """
    _, journal = _read(folder)
    target.mkdir(parents=True, exist_ok=True)
    lines = (folder / RESULTS).read_bytes().splitlines(keepends=True)
    replace_file(target / RESULTS, b"".join(line for line in lines if stored(line)))
    for run in journal["runs"]:
        command = run["provenance"].get("command") or []
        command[:] = [Path(word).name if Path(word).is_absolute() else word for word in command]
    replace_file(target / JOURNAL, encoded_journal(journal))


def updated_page(page: str, data: Path, protocols: Iterable[str], text: ProtocolText) -> str:
    """Return a page with new text between its two comments.

    Args:
        page: Its text.
        data: A folder with a folder of stored results for each protocol.
        protocols: Names of these folders, in their order on the page; some may be missing.
        text: Called for each folder.

    Raises:
        DataError: the page lacks the comments, or the results cannot be read.
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
        parts.append(text(*_read(folder)))
    if not parts:
        raise DataError(f"{data} has no results of sweeps; name the folder of one")
    return "\n\n".join([f"{head}{BEGIN}", *parts, f"{END}{tail}"])


def _read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows and the journal of a sweep."""
    try:
        rows = [row for _, row in read_rows(folder / RESULTS)]
        return rows, read_journal(folder / JOURNAL)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} has no results of a sweep ({error}); run it again") from error
