"""The table of a sweep's progress: what it counts and how it is drawn."""

import re
from dataclasses import dataclass
from io import StringIO

import pytest
from rich.console import Console

from frivkit.experiments.progress_table import Cell, ProgressTable, duration, network_table


@dataclass(frozen=True)
class Pair:
    """Two networks of a sweep, as far as the table knows them."""

    table_cell: tuple[str, str]
    networks: int = 2


PAIRS = [Pair(("sums", f"{number % 3}")) for number in range(1, 7)]


def drawn(table: object, width: int = 60) -> list[str]:
    """Return the lines of what rich draws."""
    console = Console(file=StringIO(), width=width)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


class TestTable:
    def test_counts_networks_by_row_and_column(self):
        cells = {("a", "1"): Cell(1, 2), ("bb", "1"): Cell(0, 10), ("bb", "22"): Cell(3, 3)}
        lines = drawn(network_table(cells, 10))
        assert lines == ["    1     22", "a   1/2", "bb  0/10  3/3"]

    def test_names_of_wide_characters_are_aligned(self):
        cells = {("卷积", "[1]"): Cell(0, 2), ("abcd", "[1]"): Cell(1, 2)}
        assert drawn(network_table(cells, 10)) == ["      [1]", "卷积  0/2", "abcd  1/2"]

    def test_leaves_out_what_is_done_where_room_is_short(self):
        cells = {(f"row {i}", "1"): Cell(i % 2, 1) for i in range(9)}
        lines = drawn(network_table(cells, 5))
        assert [line.split("  ")[0] for line in lines[1:-1]] == ["row 0", "row 2", "row 4", "row 6"]
        assert lines[-1].strip() == "and 5 more rows, 4 done"
        assert len(lines) == 6

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (1e5, "27.8 h")],
    )
    def test_tells_times_as_people_do(self, seconds, text):
        assert duration(seconds) == text

    def test_draws_over_itself_and_ends_whole(self, monkeypatch, capsys):
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setenv("LINES", "20")
        live = ProgressTable("sums", PAIRS, hidden=False)
        for job in PAIRS:
            live.start("adding", 4)
            live.advance(2)
            live._live.refresh()
            live.finish()
            live.done(job)
        live.close()
        shown = capsys.readouterr().err
        assert "\x1b[?25" not in shown
        frames = [re.sub(r"\x1b\[[0-9;]*m", "", part) for part in shown.split("\x1b[1A")]
        assert "; adding 2/4" in shown
        assert len(frames) > len(PAIRS)
        last = [line.rstrip() for line in frames[-1].replace("\x1b[2K", "").split("\n")]
        assert last[0].strip() == "sums"
        assert last[2].split() == ["sums", "4/4", "4/4", "4/4"]
        assert last[3].startswith("12 of 12 networks in 0 s")

    def test_shows_nothing_where_it_is_hidden(self, capsys):
        live = ProgressTable("sums", PAIRS, hidden=True)
        live.done(PAIRS[0])
        live.close()
        assert capsys.readouterr().err == ""
