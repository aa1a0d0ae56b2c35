"""A terminal and a pipe: colours, widths and progress."""

import os
import pty
import re
import sys
import time
from io import StringIO

import pytest

from frivkit.cli.progress import TerminalProgress
from frivkit.cli.terminal import coloured
from frivkit.terminals import is_coloured

CODE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
TEXT = """model  net.onnx, 13.7 k parameters
output logits

prunability (paper protocol, units: map)
         units  value
network     16  0.500  █████·····
   80 % ┤╌ ╌ ••••
[bold]no markup[/bold] \N{ROCKET} 卷积
"""


class Stream(StringIO):
    """A stream that is a terminal, or is none."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "variables", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (False, {"FORCE_COLOR": ""}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "dumb", "FORCE_COLOR": "1"}, True),
    ],
)
def test_where_colours_are_wanted(terminal, variables, expected, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_coloured(Stream(terminal)) is expected
    assert is_coloured(None) is (expected and "FORCE_COLOR" in variables)  # it is closed
    assert is_coloured(None) is (
        variables.get("FORCE_COLOR") == "1" and "NO_COLOR" not in variables
    )


def test_colours_change_nothing_but_colours():
    shown = coloured(TEXT)
    assert CODE.sub("", shown) == TEXT
    assert "\x1b[36m█████" in shown
    assert "\x1b[1mprunability" in shown


def test_pipe_gets_plain_text_and_a_forced_one_the_same_in_colour(frivkit, files, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    plain = frivkit("inspect", "net.onnx")
    assert "\x1b" not in plain.out + plain.err
    monkeypatch.setenv("FORCE_COLOR", "1")
    forced = frivkit("inspect", "net.onnx")
    assert "\x1b[1m" in forced.out
    assert CODE.sub("", forced.out) == plain.out
    document = frivkit("inspect", "net.onnx", "--json", "-")
    assert "\x1b" not in document.out
    wrong = frivkit("inspect", "missing.onnx")
    assert wrong.err.startswith("\x1b[31m\x1b[1mfrivkit:\x1b[0m ")


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that makes stderr a terminal, and one that reads what that shows.

    The test calls the former, since pytest gives it another stderr than its fixtures.
    """
    outer, inner = pty.openpty()
    stream = os.fdopen(inner, "w")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr("frivkit.cli.progress.AFTER", 0.05)

    def connect() -> None:
        monkeypatch.setattr(sys, "stderr", stream)

    def read() -> str:
        stream.flush()
        os.write(inner, b"end")  # whatever was shown, there is something to read
        text = b""
        while not text.endswith(b"end"):
            text += os.read(outer, 65536)
        return text.decode()

    yield connect, read
    stream.close()
    os.close(outer)


def test_progress_shows_what_is_done_and_the_time_that_remains(terminal):
    connect, read = terminal
    connect()
    progress = TerminalProgress(hidden=False)
    progress.start("running [bold]net[/bold]", 10)
    for _ in range(9):
        time.sleep(0.05)
        progress.advance()
    time.sleep(0.3)
    progress.finish()
    lines = re.split(r"[\r\n]+", CODE.sub("", read()))
    assert any(re.match(r"running \[bold\]net\S* .* 90% 0:00:\d\d", line) for line in lines), lines
    assert max(map(len, lines)) <= 70


def test_work_of_unknown_length_shows_the_time_that_it_took(terminal):
    connect, read = terminal
    connect()
    progress = TerminalProgress(hidden=False)
    progress.start("reading net.onnx", 0)
    time.sleep(0.4)
    print("frivkit: warning: a line in between", file=sys.stderr)
    progress.finish()
    shown = read()
    assert "\x1b[?25" not in shown, "the cursor is hidden, and stays so in a process that is killed"
    assert re.search(r"reading net\.onnx .*0:00:00", CODE.sub("", shown))
    assert "frivkit: warning: a line in between" in CODE.sub("", shown)


def test_short_work_is_not_shown(terminal):
    connect, read = terminal
    connect()
    progress = TerminalProgress(hidden=False)
    for _ in range(20):
        progress.start("reading", 3)
        progress.advance(3)
    progress.finish()
    time.sleep(0.1)
    assert "reading" not in read()


@pytest.mark.parametrize("case", ["pipe", "hidden", "dumb"])
def test_nothing_is_shown_elsewhere(case, terminal, monkeypatch):
    connect, read = terminal
    connect()
    if case == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if case == "pipe":
        monkeypatch.setattr(sys, "stderr", Stream(terminal=False))
    progress = TerminalProgress(hidden=case == "hidden")
    progress.start("reading", 3)
    time.sleep(0.1)
    progress.finish()
    if case == "pipe":
        assert sys.stderr.getvalue() == ""
    else:
        assert "reading" not in read()


def test_commands_show_progress_of_reading_and_of_finding_layers(files, frivkit, monkeypatch):
    seen = []
    monkeypatch.setattr(TerminalProgress, "start", lambda _, what, steps: seen.append(what))
    assert frivkit("inspect", "net.onnx").code == 0
    assert seen == ["reading net.onnx", "finding layers", "counting costs"]
    seen.clear()
    assert frivkit("verify", "net.onnx", "net.onnx", "--data", "npz:x.npz", "--no-time").code == 0
    assert {"reading net.onnx", "opening both models", "counting costs"} < set(seen)
    seen.clear()
    assert frivkit("cache", "ls").code == 0
    assert seen == ["reading the cache"]
