"""Where the results of a command go: files, stdout, and text that a terminal can show."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from frivkit.errors import FrivkitError, UsageError
from frivkit.files import check_kind, is_special, real_path, write_file


def check_places(*places: Path | str | None, model: Path | None = None) -> None:
    """Raise an error, before any work, if a result could not be written.

    Args:
        places: The files of the results; None stands for no file and ``-`` for stdout.
        model: The file that is read, which no result may replace.

    Raises:
        UsageError: a place has no name, two are the same, or one is the model.
        FrivkitError: the folder is missing or cannot be written to, or the place is a folder, a
            named pipe or a disk.
    """
    if "" in places:
        raise UsageError("a result is to be written to a file without a name; give one, or '-'")
    paths = [Path(place) for place in places if place is not None and place != "-"]
    seen = [real_path(model)] if model is not None else []
    for path in paths:
        if not path.parent.is_dir():
            raise FrivkitError(f"{path} cannot be written: there is no folder {path.parent}")
        if path.is_dir():
            raise FrivkitError(f"{path} cannot be written: it is a folder; give a file in it")
        check_kind(path)
        if real_path(path) in seen:
            raise UsageError(f"{path} is the model or another result too; give another file")
        if not is_special(path):
            seen.append(real_path(path))
        if not os.access(path if is_special(path) else real_path(path).parent, os.W_OK):
            raise FrivkitError(f"{path} cannot be written: no permission; give another place")


def write_json(document: Mapping[str, Any], where: str) -> None:
    """Write a document as JSON to a file, or to stdout for ``-``.

    Raises:
        FrivkitError: the file cannot be written; a former one stays as it was.
    """
    text = json.dumps(document, indent=2, allow_nan=False)
    if where == "-":
        click.echo(text)
    else:
        write_text(Path(where), text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; bytes of paths that are none become escapes.

    Raises:
        FrivkitError: the file cannot be written; a former one stays as it was.
    """
    write_file(path, text.encode(errors="backslashreplace"))


def one_line(message: object) -> str:
    r"""Return a message as one line without characters that control a terminal.

    Messages contain names from model files, which may hold any character.

    Example:
        >>> one_line("a layer\n named \x1b[2J")
        'a layer named ?[2J'
    """
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(message).split()))
