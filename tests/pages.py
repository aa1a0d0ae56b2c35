"""Blocks of the documentation, run as they are printed."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from frivkit.cli import main

BLOCK = re.compile(
    r"^```(\S*)[^\n]*\n(.*?)^```\n(?:\n\*Not run by the tests: (.+)\*\n)?", re.MULTILINE | re.DOTALL
)
"""A block: its language, its text, and why it is not run if it is not."""
RUN = ("python", "sh", "console")
"""Languages of blocks that are run."""


def blocks_of(page: Path) -> list[tuple[str, str, str]]:
    """Return the language and the text of each block of a page, and why it is not run."""
    found = [match.groups(default="") for match in BLOCK.finditer(page.read_text("utf-8"))]
    return [(language, text, why) for language, text, why in found if language[:1] != "{"]


def run_blocks(page: Path, capfd: pytest.CaptureFixture[str]) -> int:
    """Run the blocks of a page from top to bottom in the current folder; return their number."""
    namespace: dict[str, object] = {"__name__": "page"}
    blocks = [(x, text) for x, text, why in blocks_of(page) if x in RUN and not why]
    for language, block in blocks:
        if language == "python":
            exec(compile(block, str(page), "exec"), namespace)  # noqa: S102  # our own page
        else:
            for line in commands(language, block):
                code = code_of(line)
                assert code == 0, f"{line}\n{capfd.readouterr().err}"
    return len(blocks)


def commands(language: str, block: str) -> Iterator[str]:
    """Yield the commands of a block, of a transcript without what they print."""
    for line in block.replace("\\\n", "").splitlines():
        if language == "sh" and line.strip():
            yield line
        elif line.startswith("$ "):
            yield line[2:]


def code_of(line: str) -> int:
    """Run a line of a shell and return its exit code; frivkit runs here, which saves its start."""
    words = shlex.split(line, comments=True)
    if words[0] == "cd":
        os.chdir(words[1])
        return 0
    if words[0] != "frivkit" or "|" in words:
        return subprocess.run(["bash", "-c", line], check=False).returncode
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    return int(ended.value.code or 0)


def with_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the programs of this environment in front of others."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", programs)
