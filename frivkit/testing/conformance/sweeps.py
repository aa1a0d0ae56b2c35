"""The rules of planners, recipes and figures."""

import json
import pickle
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from frivkit.errors import DataError, FrivkitError, UsageError
from frivkit.experiments.figure import FORMATS, Drawing, Figure, FolderFigure
from frivkit.experiments.gain import SHARES, WidthCurve
from frivkit.experiments.jobs import ExperimentPlanner, Job, JobResult, Row, SweepPlan, SweepRequest
from frivkit.experiments.recipe import DEFAULT_PLANNER
from frivkit.hooks.registry import installed
from frivkit.progress import Silent
from frivkit.testing.conformance.rules import Rules, named

POINT = ("figure", "panel", "series", "width", "trial", "value")
"""The fields of a row of a figure."""
WIDTHS = (0.25, 0.5, 1.0)
"""The widths of the curves that a figure is tried on."""
SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-"}
"""The first bytes of a file of each format; an SVG is read as XML."""


def check_planner(
    planner: ExperimentPlanner,
    table: Mapping[str, Any],
    folder: Path,
    request: SweepRequest | None = None,
) -> tuple[str, ...]:
    """Check that a planner makes plans that can be interrupted and continued.

    All jobs of the table are run, so give a small one.

    - ``plan``: one table gives one plan, with settings and a description that JSON can hold.
    - ``names``: each job has a name of its own, of twelve hexadecimal digits, which stays the same
      in another plan and in another process.
    - ``jobs``: a job gives rows with ``measurement`` and ``value`` that JSON can hold.
    - ``resumable``: after each job the plan has one job less to do and counts its networks as
      done; at the end none remains.
    - ``points``: they follow from rows alone, whatever their order and whoever made them, and have
      the fields of a figure's row.

    Args:
        planner: The target; it need not be registered.
        table: What a recipe holds, without the key ``planner``.
        folder: A folder for files.
        request: Scale, protocol and data; None takes the scale ``smoke``.

    Returns:
        The names of the jobs.

    Raises:
        LawError: a rule is broken.
    """
    rules = Rules("planners", named(planner, "planner"))
    rules.shape(planner)
    request = request or SweepRequest("smoke")
    plan, again = (_plan(rules, planner, table, request) for _ in range(2))
    rules.require(
        plan.settings == again.settings and plan.described == again.described,
        "plan",
        "one table gives two plans",
    )
    jobs, there = plan.remaining_jobs([])
    rules.require(jobs and there == 0, "resumable", f"{len(jobs)} jobs, and {there} are there")
    names = [job.name for job in jobs]
    rules.require(len(set(names)) == len(names), "names", "two jobs have one name")
    others = [job.name for job in again.remaining_jobs([])[0]]
    rules.require(names == others, "names", "jobs have other names in another plan")
    rows: list[Row] = []
    for job in jobs:
        rows += _rows(rules, job, folder)
        _check_remaining(rules, again, rows, names[: names.index(job.name) + 1], names)
    _check_points(rules, plan, again, rows)
    return tuple(names)


def _plan(
    rules: Rules, planner: ExperimentPlanner, table: Mapping[str, Any], request: SweepRequest
) -> SweepPlan:
    plan = planner(json.loads(json.dumps(dict(table))), request)
    rules.require(isinstance(plan, SweepPlan), "plan", f"it returns a {type(plan).__name__}")
    rules.json(plan.settings, "the settings")
    rules.json(plan.described, "the description")
    return plan


def _rows(rules: Rules, job: Job, folder: Path) -> list[Row]:
    """Run a copy of a job, and return its rows as they are read from a file."""
    name = job.name
    rules.require(
        re.fullmatch(r"[0-9a-f]{12}", name), "names", f"{name!r} is not twelve hexadecimal digits"
    )
    copy: Job = pickle.loads(pickle.dumps(job))  # noqa: S301  # made in this line
    rules.require(copy.name == name, "names", f"{name} is {copy.name} after pickle")
    rules.require(job.networks >= 1, "jobs", f"{name} trains {job.networks} networks")
    rules.json(job.settings, f"the settings of {name}")
    result = copy.run(folder / name, 1, Silent())
    rules.require(isinstance(result, JobResult), "jobs", f"it gives a {type(result).__name__}")
    rules.require(result.rows, "jobs", f"{name} gives no rows")
    for row in result.rows:
        rules.json(row, f"a row of {name}")
        rules.require(
            {"measurement", "value"} <= row.keys(), "jobs", f"a row of {name} has {sorted(row)}"
        )
    read: list[Row] = json.loads(json.dumps([{**row, "work": name} for row in result.rows]))
    return read


def _check_remaining(
    rules: Rules, plan: SweepPlan, rows: Sequence[Row], done: Sequence[str], names: Sequence[str]
) -> None:
    remaining, counted = plan.remaining_jobs(rows)
    to_do = [job.name for job in remaining]
    expected = [name for name in names if name not in done]
    rules.require(
        to_do == expected,
        "resumable",
        f"after {len(done)} of {len(names)} jobs it has {len(to_do)} to do: {', '.join(to_do)}",
    )
    rules.require(counted >= 1, "resumable", f"after {len(done)} jobs it counts {counted} networks")


def _check_points(rules: Rules, plan: SweepPlan, again: SweepPlan, rows: Sequence[Row]) -> None:
    points = [dict(point) for point in plan.points(rows)]
    rules.require(points, "points", "there are none after all jobs")
    for point in points:
        rules.json(point, "a point")
        missing = [key for key in POINT if key not in point]
        rules.require(not missing, "points", f"a point has no {', '.join(missing)}")
        rules.require(
            point["figure"] in plan.figures, "points", f"one is of figure {point['figure']!r}"
        )
    for other in (again.points(rows), again.points(list(reversed(rows)))):
        same = sorted(map(_text, other)) == sorted(map(_text, points))
        rules.require(same, "points", "another plan, or another order of rows, gives others")


def _text(row: Row) -> str:
    return json.dumps(dict(row), sort_keys=True)


def check_recipe(
    recipe: Traversable, *, scale: str = "smoke", planner: ExperimentPlanner | None = None
) -> tuple[str, ...]:
    """Check that a recipe can be read and planned.

    - ``toml``: the file is TOML in UTF-8, with a title.
    - ``planner``: the planner that it names is offered, or each of the recipes of which it is made.
    - ``scale``: it has the scale, and the planner makes a plan of it with jobs to do or points.

    Args:
        recipe: The target; it need not be registered.
        scale: The scale that is planned.
        planner: A planner in place of the one that it names, for one that is not registered.

    Returns:
        The figures of the plan; of a recipe made of others, their names.

    Raises:
        LawError: a rule is broken.
    """
    rules = Rules("recipes", named(recipe, "recipe"))
    rules.shape(recipe)
    try:
        table = tomllib.loads(recipe.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise rules.broken("toml", error) from error
    rules.require(table.get("title"), "toml", "it has no title")
    registry = installed()
    if "recipes" in table:
        offered = registry.offers("recipes")
        for part in table["recipes"]:
            rules.require(part in offered, "planner", f"no recipe is named {part!r}")
        return tuple(table["recipes"])
    name = table.pop("planner", DEFAULT_PLANNER)
    try:
        planner = planner or registry.load("planners", name)
        plan = planner(table, SweepRequest(scale))
    except FrivkitError as error:
        rule = "planner" if planner is None else "scale"
        raise rules.broken(rule, error) from error
    remaining, _ = plan.remaining_jobs([])
    rules.require(remaining or plan.points([]), "scale", f"scale {scale} has no jobs and no points")
    return plan.figures


def check_figure(
    figure: Figure | FolderFigure,
    drawn: Sequence[WidthCurve] | Path | None = None,
    *,
    formats: Sequence[str] = FORMATS,
) -> tuple[str, ...]:
    """Check that a figure draws files of its formats, the same each time.

    - ``choose``: it takes some of the curves that it is for, and of curves that it is not for none.
    - ``folder``: of an empty folder, a figure of folders raises a DataError of one line.
    - ``bytes``: a drawing in a format is a file of that format.
    - ``repeatable``: drawn again, a file has the same bytes.
    - ``errors``: a format that it does not know is a UsageError.

    Args:
        figure: The target; it need not be registered.
        drawn: Curves to draw; None makes some for each of its labels and panels.  A figure of
            folders needs a folder that it can draw.
        formats: The formats to draw, of which it may decline some with a UsageError, but not all.

    Returns:
        The formats that were drawn.

    Raises:
        LawError: a rule is broken.
    """
    rules = Rules("figures", named(figure.draw, "figure") if hasattr(figure, "draw") else "figure")
    rules.shape(figure)
    if isinstance(figure, FolderFigure):
        redraw = _folder_drawing(rules, figure, drawn)
    else:
        redraw = _curve_drawing(rules, figure, drawn)
    found = []
    for kind in formats:
        try:
            first = redraw()(kind)
        except UsageError as error:
            rules.one_line(error, f"format {kind}")
            continue
        _check_bytes(rules, kind, first)
        again = redraw()(kind)
        rules.require(first == again, "repeatable", f"drawn again, the {kind} has other bytes")
        found.append(kind)
    rules.require(found, "bytes", f"it draws none of {', '.join(formats)}")
    return tuple(found)


def _curve_drawing(
    rules: Rules, figure: Figure, drawn: Sequence[WidthCurve] | Path | None
) -> Callable[[], Drawing]:
    every = _curves(figure) if drawn is None or isinstance(drawn, Path) else list(drawn)
    rules.require(figure.choose(every), "choose", "it takes none of the curves")
    if figure.labels:
        others = [WidthCurve("prunable", "A", (1.0,), ((0.5,),), figure="no-such-figure")]
        rules.require(not figure.choose(others), "choose", "it takes curves of another figure")
    return lambda: figure.draw(figure.choose(every), "paper")


def _folder_drawing(
    rules: Rules, figure: FolderFigure, drawn: Sequence[WidthCurve] | Path | None
) -> Callable[[], Drawing]:
    if not isinstance(drawn, Path):
        raise rules.broken("folder", "give a folder that it can draw")
    with TemporaryDirectory() as empty:
        try:
            figure.draw(Path(empty))
        except DataError as error:
            rules.one_line(error, "an empty folder")
        else:
            raise rules.broken("folder", "it draws an empty folder")
    return lambda: figure.draw(drawn)


def _curves(figure: Figure) -> list[WidthCurve]:
    """Return two curves for each label and panel of a figure."""
    curves = []
    for label in figure.labels or ("1",):
        for panel in figure.panels or SHARES:
            for series, start in (("wide", 0.2), ("deep", 0.3)):
                scale = 1.0 if panel in SHARES else 1000.0
                values = tuple((scale * start * w, scale * (start * w + 0.01)) for w in WIDTHS)
                curves.append(WidthCurve(panel, series, WIDTHS, values, figure=label))
    return curves


def _check_bytes(rules: Rules, kind: str, content: bytes) -> None:
    rules.require(isinstance(content, bytes) and content, "bytes", f"the {kind} is {content!r:.40}")
    if kind == "svg":
        try:
            root = ET.fromstring(content)  # noqa: S314  # drawn by the plugin under test
        except ET.ParseError as error:
            raise rules.broken("bytes", f"the svg is not XML: {error}") from error
        rules.require(root.tag.endswith("svg"), "bytes", f"the svg is a {root.tag}")
    elif kind in SIGNATURES:
        rules.require(
            content.startswith(SIGNATURES[kind]), "bytes", f"the {kind} begins with {content[:8]!r}"
        )
