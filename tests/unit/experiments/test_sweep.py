"""Sweeps: whole or not there, interrupted and resumed, in one process and in several."""

import json
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from filelock import FileLock

from frivkit.engines.executor import ExecutorEngine
from frivkit.engines.shard import Shard
from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.experiments.jobs import JobResult, SweepPlan, SweepRequest
from frivkit.experiments.recipe import read_recipe
from frivkit.experiments.results import Results, decoded_row, encoded_journal
from frivkit.experiments.runner import run
from frivkit.progress import Progress
from frivkit_engines.processes import open_processes
from tests.program import start


def wait_for(done, patience=60):
    """Wait until something is so, however slow the machine is."""
    until = time.monotonic() + patience
    while not done():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


@dataclass(frozen=True)
class Sum:
    """Work whose results are easily known."""

    number: int
    way: str = ""

    @property
    def name(self) -> str:
        return f"{self.number:012x}"

    @property
    def table_cell(self) -> tuple[str, str]:
        return "sums", f"{self.number % 3}"

    @property
    def networks(self) -> int:
        return 2

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"number": self.number, "seed": 7}

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "begun").touch()
        if self.way == "ends always":
            os._exit(9)
        if self.way == "ends" and not (folder.parent / "ended").exists():
            (folder.parent / "ended").touch()
            os._exit(9)
        if self.way == "fails":
            raise FrivkitError("this cannot be done")
        if self.way == "fails late":  # once the first number is written down
            there = folder.parents[1] / "results.jsonl"
            wait_for(lambda: there.exists() and Sum(1).name in there.read_text())
            raise FrivkitError("this cannot be done")
        if self.way == "reason":
            return JobResult([{"measurement": "failure", "value": None, "reason": "it went wrong"}])
        progress.start("adding", self.number)
        progress.advance(self.number)
        rows = [
            {"measurement": "square", "value": self.number**2},
            {"measurement": "pid", "value": 0 if self.way else os.getpid()},
        ]
        return JobResult(rows, {"a/numbers": np.arange(self.number)})


def plan(*jobs, settings=None, figures=("T",)):
    def remaining_jobs(rows):
        there = {row["work"] for row in rows}
        left = [job for job in jobs if job.name not in there]
        return left, 2 * (len(jobs) - len(left))

    def points(rows):
        common = {"figure": figures[0], "panel": "prunable", "series": "s", "trial": 0}
        squares = [row["value"] for row in rows if row["measurement"] == "square"]
        return [common | {"width": width, "value": 0.5} for width in sorted(squares)]

    return SweepPlan(
        "sums", figures, settings or {"kind": "sum"}, {"note": "n"}, remaining_jobs, points
    )


SUMS = [Sum(number, "quiet") for number in range(1, 7)]


def rows(folder):
    return [decoded_row(line) for line in (folder / "results.jsonl").read_bytes().splitlines()]


def same(folder, whole):
    """Whether two folders hold the same rows, each once, whatever their order."""
    here, there = (Counter(map(json.dumps, rows(each))) for each in (folder, whole))
    return here == there and set(here.values()) == {1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    swept = run(plan(*SUMS), folder)
    assert (swept.trained, swept.found, swept.points) == (12, 0, 6)
    return folder


def test_rows_arrays_and_journal_tell_the_same(whole):
    for job in SUMS:
        mine = [row for row in rows(whole) if row.get("work") == job.name]
        assert [(row["rows"], row["measurement"]) for row in mine] == [(2, "square"), (2, "pid")]
        assert mine[0]["value"] == job.number**2
        with h5py.File(whole / f"arrays/{job.name}.h5") as file:
            assert file["a/numbers"][:].tolist() == list(range(job.number))
            assert json.loads(file.attrs["settings"]) == {"number": job.number, "seed": 7}
            origin = json.loads(file.attrs["provenance"])
            assert file.attrs["encoding-type"] == "frivkit-sweep-arrays"
        assert {"frivkit", "packages", "plugins", "command", "seconds"} <= origin.keys()
    journal = json.loads((whole / "run.json").read_text())
    assert journal["schema"] == "frivkit.sweep/1"
    assert journal["settings"] == {"kind": "sum"}
    (done,) = journal["runs"]
    assert (done["title"], done["figures"], done["finished"]) == ("sums", ["T"], True)
    assert [job["number"] for job in done["works"]] == [1, 2, 3, 4, 5, 6]
    assert all(job["seconds"] >= 0 and job["networks"] == 2 for job in done["works"])
    assert not list((whole / "unfinished").iterdir())


def test_second_run_does_nothing_and_changes_nothing(whole):
    before = (whole / "results.jsonl").read_bytes()
    swept = run(plan(*SUMS), whole)
    assert (swept.trained, swept.found) == (0, 12)
    assert (whole / "results.jsonl").read_bytes() == before


def test_file_cut_anywhere_is_made_whole_again(whole, tmp_path):
    content = (whole / "results.jsonl").read_bytes()
    for table_cell in range(0, len(content), 37):
        folder = tmp_path / str(table_cell)
        folder.mkdir()
        (folder / "run.json").write_bytes((whole / "run.json").read_bytes())
        (folder / "results.jsonl").write_bytes(content[:table_cell])
        swept = run(plan(*SUMS), folder)
        assert same(folder, whole), table_cell
        assert swept.found == 2 * (min(12, content[:table_cell].count(b"\n")) // 2)


def test_rows_that_are_lost_or_double_are_noticed(whole, tmp_path):
    """The comparison above can fail."""
    for name, change in (("double", lambda t: [*t, t[0]]), ("lost", lambda t: t[1:])):
        (tmp_path / name).mkdir()
        text = change((whole / "results.jsonl").read_text().splitlines())
        (tmp_path / name / "results.jsonl").write_text("\n".join(text))
        assert not same(tmp_path / name, whole)


def test_several_processes_find_what_one_finds(whole, tmp_path):
    swept = run(plan(*SUMS), tmp_path, engine=open_processes("3"))
    assert swept.trained == 12
    assert same(tmp_path, whole)


def test_several_processes_are_others_than_this_one(tmp_path):
    run(plan(Sum(1), Sum(2)), tmp_path / "one")
    run(plan(Sum(1), Sum(2)), tmp_path / "two", engine=open_processes("2"))
    pids = {
        name: {row["value"] for row in rows(tmp_path / name) if row.get("measurement") == "pid"}
        for name in ("one", "two")
    }
    assert pids["one"] == {os.getpid()}
    assert os.getpid() not in pids["two"]


def test_process_that_is_ended_costs_its_own_network(tmp_path):
    jobs = [Sum(1, "quiet"), Sum(2, "ends always"), Sum(3, "ends"), Sum(4, "quiet")]
    swept = run(plan(*jobs), tmp_path, engine=open_processes("2"))
    (failed,) = swept.failed
    assert failed.startswith(f"{jobs[1].name}: its worker was lost 3 times")
    assert "\n" not in failed
    assert swept.trained == 6
    there = {row["work"] for row in rows(tmp_path) if "work" in row}
    assert there == {jobs[i].name for i in (0, 2, 3)}
    mended = [Sum(job.number, "quiet") for job in jobs]
    swept = run(plan(*mended), tmp_path)
    assert (swept.trained, swept.found) == (2, 6)
    run(plan(*mended), tmp_path / "other")
    assert same(tmp_path, tmp_path / "other")


class TestShards:
    def test_three_find_what_one_run_finds(self, whole, tmp_path):
        trained = [run(plan(*SUMS), tmp_path, shard=Shard(i, 3)).trained for i in (1, 2, 3)]
        assert trained == [4, 4, 4]
        assert not (tmp_path / "results.jsonl").exists()
        again = run(plan(*SUMS), tmp_path, shard=Shard(2, 3))
        assert (again.trained, again.found) == (0, 4)
        swept = run(plan(*SUMS), tmp_path)
        assert (swept.trained, swept.found) == (0, 12)
        assert same(tmp_path, whole)
        assert not (tmp_path / "shards").exists()
        runs = json.loads((tmp_path / "run.json").read_text())["runs"]
        assert sorted(job["number"] for each in runs for job in each["works"]) == [1, 2, 3, 4, 5, 6]

    def test_what_is_missing_is_trained_by_the_run_that_merges(self, whole, tmp_path):
        run(plan(*SUMS), tmp_path, shard=Shard(1, 2))
        swept = run(plan(*SUMS), tmp_path)
        assert (swept.trained, swept.found) == (6, 6)
        assert same(tmp_path, whole)
        assert run(plan(*SUMS), tmp_path, shard=Shard(2, 2)).trained == 0

    def test_shard_of_another_number_repeats_nothing(self, whole, tmp_path):
        run(plan(*SUMS), tmp_path, shard=Shard(1, 2))
        trained = [run(plan(*SUMS), tmp_path, shard=Shard(i, 3)).trained for i in (1, 2, 3)]
        assert sum(trained) == 6
        run(plan(*SUMS), tmp_path)
        assert same(tmp_path, whole)

    def test_nobody_merges_a_shard_that_runs(self, tmp_path):
        run(plan(*SUMS), tmp_path, shard=Shard(1, 2))
        place = tmp_path / "shards" / "1-of-2"
        with FileLock(place / ".lock"):
            with pytest.raises(DataError, match=r"shard 1/2 of .* is still running"):
                run(plan(*SUMS), tmp_path)
            with pytest.raises(DataError, match="another sweep is writing to"):
                run(plan(*SUMS), tmp_path, shard=Shard(1, 2))
        assert run(plan(*SUMS), tmp_path).found == 6

    def test_shard_of_other_settings_is_left_alone(self, tmp_path):
        run(plan(*SUMS, settings={"kind": "other"}), tmp_path, shard=Shard(1, 2))
        with pytest.raises(UsageError, match="has results with kind = 'other'"):
            run(plan(*SUMS), tmp_path)
        assert (tmp_path / "shards" / "1-of-2" / "results.jsonl").exists()

    @pytest.mark.parametrize("cut", ["arrays", "rows"])
    def test_merge_that_was_interrupted_goes_on(self, whole, tmp_path, cut, monkeypatch):
        for i in (1, 2):
            run(plan(*SUMS), tmp_path, shard=Shard(i, 2))
        target = {"arrays": Path, "rows": Results}[cut]
        name = {"arrays": "rename", "rows": "append"}[cut]
        done, left = getattr(target, name), [2]

        def interrupted(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return done(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(target, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(plan(*SUMS), tmp_path)
        swept = run(plan(*SUMS), tmp_path)
        assert (swept.trained, swept.found) == (0, 12)
        assert same(tmp_path, whole)

    @pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
    def test_text_is_checked(self, text):
        with pytest.raises(UsageError, match=r"give i/n, such as 2/4"):
            Shard.parse(text)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_done_before_a_failure_is_kept(workers, tmp_path):
    jobs = [Sum(1, "quiet"), Sum(2, "quiet"), Sum(3, "fails late"), Sum(4, "quiet")]
    with pytest.raises(FrivkitError, match="this cannot be done"):
        run(plan(*jobs), tmp_path, engine=open_processes("2") if workers == 2 else None)
    there = {row["work"] for row in rows(tmp_path)}
    assert jobs[0].name in there
    assert jobs[2].name not in there
    mended = [Sum(job.number, "quiet") for job in jobs]
    run(plan(*mended), tmp_path)
    assert Counter(row["measurement"] for row in rows(tmp_path) if "work" in row) == {
        "square": 4,
        "pid": 4,
    }


class AtOnce(Executor):
    """Runs all at the same time, as far as anybody can see."""

    def submit(self, call, /, *arguments):
        future = Future()
        future.set_result(call(*arguments))
        return future


def test_results_that_come_with_a_failure_are_written(tmp_path):
    engine = ExecutorEngine(AtOnce(), workers=3)
    jobs = [Sum(1, "fails"), *(Sum(number, "quiet") for number in range(2, 9))]
    with pytest.raises(FrivkitError, match="this cannot be done"):
        run(plan(*jobs), tmp_path, engine=engine)
    assert {row["work"] for row in rows(tmp_path)} == {job.name for job in jobs[1:6]}
    journal = json.loads((tmp_path / "run.json").read_text())
    assert [job["number"] for job in journal["runs"][0]["works"]] == [2, 3, 4, 5, 6]


def test_network_without_results_is_counted(tmp_path):
    swept = run(plan(Sum(1, "quiet"), Sum(2, "reason")), tmp_path)
    assert swept.failed == ("it went wrong",)
    again = run(plan(Sum(1, "quiet"), Sum(2, "reason")), tmp_path)
    assert (again.trained, again.failed) == (0, swept.failed)  # told of each time
    assert run(plan(Sum(1, "quiet")), tmp_path).failed == ()


CLOCK = [0.0]


@dataclass(frozen=True)
class Long(Sum):
    """Work that takes 100 s, is ended, and takes 20 s more than that when it is begun again."""

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        CLOCK[0] += 100
        progress.advance()
        if not (folder / "begun").exists():
            (folder / "begun").touch()
            if self.way == "killed":
                os._exit(9)
            raise KeyboardInterrupt
        CLOCK[0] += 20
        return JobResult([{"measurement": "square", "value": 1}])


@pytest.mark.parametrize("way", ["killed", "interrupted"])
def test_seconds_of_a_job_are_those_of_all_its_runs(way, tmp_path, monkeypatch):
    monkeypatch.setattr("frivkit.experiments.job_timer.perf_counter", lambda: CLOCK[0])
    if way == "killed":
        child = os.fork()
        if not child:
            run(plan(Long(1, way)), tmp_path)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    else:
        with pytest.raises(KeyboardInterrupt):
            run(plan(Long(1, way)), tmp_path)
    run(plan(Long(1, way)), tmp_path)
    journal = json.loads((tmp_path / "run.json").read_text())
    assert [job["seconds"] for job in journal["runs"][-1]["works"]] == [220]
    assert not list((tmp_path / "unfinished").iterdir())


@contextmanager
def no_room_beyond(size):
    """Let no file of this process grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("size", [0, 300, 700, 1500, 2500])
def test_full_disk_loses_nothing(size, whole, tmp_path):
    bare = [Sum(number, "quiet") for number in range(1, 7)]
    with (
        no_room_beyond(size),
        pytest.raises(FrivkitError, match=r"cannot be written to: File too large; what was") as e,
    ):
        run(plan(*bare), tmp_path)
    assert "\n" not in str(e.value)
    run(plan(*bare), tmp_path)
    assert same(tmp_path, whole)


class TestFolder:
    def test_in_use_is_refused(self, tmp_path):
        with FileLock(tmp_path / ".lock"), pytest.raises(DataError, match="another sweep is writ"):
            run(plan(*SUMS), tmp_path)

    def test_of_other_settings_is_refused(self, tmp_path):
        run(plan(Sum(1)), tmp_path)
        with pytest.raises(UsageError, match="with kind = 'sum', and now kind = 'product' is as"):
            run(plan(Sum(1), settings={"kind": "product"}), tmp_path)
        run(plan(Sum(1), settings={"other": {"a": 1}}), tmp_path)  # another planner's
        with pytest.raises(UsageError, match="with a = 1, and now a = 2 is asked for; give ano"):
            run(plan(Sum(1), settings={"other": {"a": 2}}), tmp_path)

    def test_with_broken_files_is_refused(self, tmp_path):
        run(plan(*SUMS), tmp_path)
        lines = (tmp_path / "results.jsonl").read_text().splitlines()
        number = '"rows": 1, "measurement": "a", "value": 1}'
        for bad in (
            *("{", '"text"', '{"value": 1}', '{"figure": [1]}', '{"work": "a", "rows": 1}'),
            *(f'{{"work": {name}, {number}' for name in ("[1]", "null")),
        ):
            text = "\n".join([*lines[:2], bad, *lines[3:], ""])
            (tmp_path / "results.jsonl").write_text(text)
            with pytest.raises(DataError, match="line 3 cannot be read"):
                run(plan(*SUMS), tmp_path)
            assert (tmp_path / "results.jsonl").read_text() == text
        text = "\n".join(
            [*lines[:2], lines[2].replace('"value": ', '"value": 1', 1), *lines[3:], ""]
        )
        (tmp_path / "results.jsonl").write_text(text)
        with pytest.raises(DataError, match=r"line 3 cannot be read .its checksum is wrong"):
            run(plan(*SUMS), tmp_path)
        for content in (
            b"[]",
            encoded_journal({"schema": "frivkit.sweep/1", "runs": [], "settings": []}),
            encoded_journal({"schema": "frivkit.analysis/1", "runs": [], "settings": {}}),
        ):
            (tmp_path / "run.json").write_bytes(content)
            with pytest.raises(DataError, match=r"run\.json is no journal"):
                run(plan(*SUMS), tmp_path)
            assert (tmp_path / "run.json").read_bytes() == content
        (tmp_path / "run.json").unlink()
        (tmp_path / "run.json").mkdir()
        with pytest.raises(DataError, match=r"run\.json is no journal"):
            run(plan(*SUMS), tmp_path)
        (tmp_path / "run.json").rmdir()
        with pytest.raises(DataError, match=r"results but no run\.json"):
            run(plan(*SUMS), tmp_path)

    def test_with_empty_lines_is_read(self, whole, tmp_path):
        text = (whole / "results.jsonl").read_bytes().replace(b"\n", b"\n\n")
        (tmp_path / "results.jsonl").write_bytes(text)
        (tmp_path / "run.json").write_bytes((whole / "run.json").read_bytes())
        assert run(plan(*SUMS), tmp_path).trained == 0
        assert same(tmp_path, whole)

    def test_whose_part_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "arrays").touch()
        with pytest.raises(FrivkitError, match=r"arrays cannot be written to: File exists; what"):
            run(plan(Sum(1)), tmp_path)

    def test_that_is_a_file_is_refused(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(FrivkitError, match="file cannot be written to: File exists"):
            run(plan(*SUMS), tmp_path / "file")

    def test_keeps_figures_of_other_plans(self, tmp_path):
        run(plan(Sum(1, "quiet")), tmp_path)
        run(plan(Sum(1, "quiet"), figures=("U",)), tmp_path)
        run(plan(Sum(1, "quiet"), Sum(2, "quiet")), tmp_path)
        figures = Counter(row["figure"] for row in rows(tmp_path) if "figure" in row)
        assert figures == {"T": 2, "U": 1}
        assert len(Results(tmp_path / "results.jsonl").measured) == 4


DICE = """
planner = "stacks"
figure = "T"
title = "a trial"
panels = ["prunable", "test accuracy"]
protocol = "reference"

[[series]]
label = "small"
inputs = 10
factors = [0.01, 1]

[scales.smoke]
widths = [0.25, 0.5]
seeds = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
rates = [1, 0.1]
examples = 300
epochs = 60
"""


def begun(folder, process):
    """Whether a sweep has written down its first work."""
    assert process.poll() is None, process.stderr.read()
    path = folder / "run.json"
    return path.exists() and json.loads(path.read_text())["runs"]


@pytest.fixture(scope="session")
def dice(tmp_path_factory):
    """Return a recipe, and the folder of its whole sweep."""
    folder = tmp_path_factory.mktemp("dice")
    (folder / "trial.toml").write_text(DICE)
    (whole,) = read_recipe(str(folder / "trial.toml"), SweepRequest("smoke"))
    run(whole, folder / "whole")
    return folder / "trial.toml", folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "sent", "code"),
    [
        ("local", signal.SIGKILL, -9),
        ("processes:2", signal.SIGKILL, -9),
        ("processes:2", signal.SIGINT, 130),
    ],
)
def test_sweep_that_is_ended_goes_on_where_it_stopped(engine, sent, code, dice, tmp_path):
    recipe, whole = dice
    out = tmp_path / "out"
    command = ("sweep", recipe, "--scale", "smoke", "-o", out, "--engine", engine)
    with start(*command) as process:
        wait_for(lambda: begun(out, process))
        process.send_signal(sent)
        _, err = process.communicate(timeout=120)  # ends when no child holds stderr any more
    assert process.returncode == code
    if sent == signal.SIGINT:
        goes_on, interrupted = err.splitlines()
        assert goes_on.endswith("the same command resumes the sweep")
        assert interrupted.startswith("frivkit: interrupted")
    (cut_short,) = json.loads((out / "run.json").read_text())["runs"]
    assert cut_short["finished"] is False
    (again,) = read_recipe(str(recipe), SweepRequest("smoke"))
    there = len({row["work"] for row in Results(out / "results.jsonl").measured})
    assert 0 < there < 20
    assert there - len(cut_short["works"]) in (0, 1)
    swept = run(again, out)
    assert (swept.trained, swept.found) == (4 * (20 - there), 4 * there)
    assert same(out, whole)


class TestRecipe:
    def write(self, folder, name, text):
        (folder / name).write_text(text)
        return str(folder / name)

    def test_made_of_others_gives_their_plans(self, tmp_path):
        self.write(tmp_path, "a.toml", DICE)
        self.write(tmp_path, "b.toml", DICE.replace('"T"', '"U"'))
        both = self.write(tmp_path, "both.toml", 'recipes = ["a.toml", "b.toml"]')
        more = self.write(tmp_path, "more.toml", 'title = "all"\nrecipes = ["both.toml", "e7"]')
        plans = read_recipe(more, SweepRequest("smoke"))
        assert [one.figures for one in plans] == [("T",), ("U",), ("E7",)]
        assert len(read_recipe(both, SweepRequest("smoke"))) == 2

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('recipes = ["loop.toml"]', "is made of itself"),
            ("recipes = []", "write a list of recipes"),
            ('recipes = "e7"', "write a list of recipes"),
            ('recipes = ["e7"]\nseeds = 1', "beside recipes there is seeds"),
            ('recipes = ["e77"]', "did you mean e7"),
            ('planner = "stakcs"', "did you mean stacks"),
            ('planner = "stacks"', "no scale is named 'smoke'"),
            ("a = ", "Invalid value"),
        ],
    )
    def test_with_a_mistake_is_refused_in_one_line(self, text, message, tmp_path):
        name = self.write(tmp_path, "loop.toml", text)
        with pytest.raises(UsageError, match=r"recipe \S+loop\.toml") as error:
            read_recipe(name, SweepRequest("smoke"))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_that_is_not_there_is_refused(self):
        with pytest.raises(UsageError, match="no recipe is named 'e77'; did you mean e7"):
            read_recipe("e77", SweepRequest())
        with pytest.raises(UsageError, match=r"there is no file nowhere\.toml; give a file, or"):
            read_recipe("nowhere.toml", SweepRequest())
        with pytest.raises(UsageError, match="take out --data"):
            read_recipe("e7", SweepRequest(data=("digits",)))
