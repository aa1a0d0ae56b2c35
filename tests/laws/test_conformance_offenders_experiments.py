"""Rules of training, sweeps, figures, engines and commands fail on targets that break them."""

import dataclasses
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from types import SimpleNamespace
from typing import Any

import click
import pytest
import torch
from torch import nn

from frivkit.engines.engine import LocalEngine, Outcome
from frivkit.errors import UsageError
from frivkit.experiments.figure import Figure, FolderFigure
from frivkit.experiments.jobs import JobResult, SweepPlan, SweepRequest
from frivkit.experiments.train import Architecture, Trainer, TrainingRecord
from frivkit.hooks.options import NoOptions
from frivkit.testing.conformance import CHECKS
from tests.laws.broken import fails

# --- laws ---


@pytest.mark.parametrize("hook", ["metrics", "bases", "rankings", "refits"])
def test_what_is_checked_by_laws_has_the_shape_of_its_hook(hook, tmp_path):
    fails("shape", hook, "", object(), tmp_path)


# --- architectures and trainers ---


def dense(units: Callable[[float], int], **more: Any) -> Architecture[NoOptions]:
    def build(shape, classes, width, options):
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, units(width)), nn.ReLU(), nn.Linear(units(width), 3), *more
        )

    return Architecture(build)


def mixing(shape, classes, width, options):
    class Mix(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense = nn.Linear(64, int(8 * width) * 3)

        def forward(self, x):
            made = self.dense(x.flatten(1))
            return (made - made.mean(dim=0) if len(made) > 1 else made).view(len(x), 3, -1).sum(2)

    return Mix()


def fixed(shape, classes, width, options):
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, int(8 * width)), nn.Linear(int(8 * width), 3)
    )
    for weight in network.parameters():
        nn.init.ones_(weight)
    return network


def unseeded(shape, classes, width, options):
    torch.seed()
    return nn.Sequential(nn.Flatten(), nn.Linear(64, int(8 * width)), nn.Linear(int(8 * width), 3))


def two_outputs(shape, classes, width, options):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, int(8 * width)), nn.Linear(int(8 * width), 2))


ARCHITECTURES = [
    ("width", dense(lambda width: 8), "parameters"),
    ("examples", Architecture(mixing), "with another beside it"),
    ("seed", Architecture(fixed), "two seeds give the same weights"),
    ("seed", Architecture(unseeded), "one seed gives two networks"),
    ("outputs", Architecture(two_outputs), "expected float32 logits (2, 3)"),
    ("outputs", Architecture(lambda *_: None), "it builds a NoneType"),
    ("options", Architecture(fixed, options=int), "not a dataclass"),
]


@pytest.mark.parametrize(("rule", "architecture", "says"), ARCHITECTURES)
def test_architecture(rule, architecture, says):
    fails(rule, "architectures", says, architecture)


def trains(step: Callable[[nn.Module, int], None], **record: Any) -> Trainer[NoOptions]:
    def fit(network, train, validation, seed, *rest):
        torch.manual_seed(seed)
        with torch.no_grad():
            step(network, seed)
        network.eval()
        reached = 0.5 if validation is not None else None
        told = {"epochs": 1, "losses": (1.0,), "validation_accuracy": reached} | record
        return TrainingRecord(**told)

    return Trainer(fit)


def shift(network: nn.Module, seed: int) -> None:
    for weight in network.parameters():
        weight.add_(torch.randn_like(weight))


def left_in_training(network, train, validation, seed, *rest):
    record = trains(shift).fit(network, train, validation, seed, *rest)
    network.train()
    return record


def clocked(network: nn.Module, seed: int) -> None:
    torch.seed()
    shift(network, seed)


def exploding(network: nn.Module, seed: int) -> None:
    for weight in network.parameters():
        weight.fill_(float("nan"))


TRAINERS = [
    ("mode", Trainer(left_in_training), "left in training mode"),
    ("seed", trains(clocked), "one seed gives other weights"),
    ("trains", trains(exploding), "not finite"),
    ("trains", trains(lambda network, seed: None), "those it began with"),
    ("record", trains(shift, losses=()), "a finite loss for each of 1 epochs"),
    ("record", trains(shift, validation_accuracy=0.5), "without validation data"),
    ("record", trains(shift, validation_accuracy=None), "the validation accuracy is None"),
    ("record", trains(shift, last_epochs={3: {}}), "kept weights of epoch 3 of 1"),
    ("json", trains(shift, recipe={"rate": float("nan")}), "the recipe"),
]


@pytest.mark.parametrize(("rule", "trainer", "says"), TRAINERS)
def test_trainer(rule, trainer, says):
    fails(rule, "trainers", says, trainer)


# --- planners, recipes, figures, engines, commands ---


@dataclasses.dataclass(frozen=True)
class Job:
    number: int
    name: str = ""
    networks: int = 1
    table_cell: tuple[str, str] = ("a", "b")
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def run(self, folder, threads, progress):
        return JobResult([{"measurement": "m", "value": float(self.number)}])


class Silent(Job):
    def run(self, folder, threads, progress):
        return JobResult([])


def plans(kind: type[Job] = Job, **replaced: Any) -> Callable[..., SweepPlan]:
    def plan(table, request):
        names = replaced.get("names", lambda number: f"{number:012x}")
        jobs = [kind(number, names(number)) for number in range(2)]

        def remaining(rows):
            there = {row["work"] for row in rows}
            left = [job for job in jobs if job.name not in there]
            return left, len(jobs) - len(left)

        def points(rows):
            point = {"figure": "f", "panel": "p", "series": "s", "width": 1}
            return [point | {"trial": row["work"], "value": row["value"]} for row in rows]

        made = {"remaining_jobs": remaining, "points": points, "settings": {}, "described": {}}
        made |= {key: value for key, value in replaced.items() if key != "names"}
        return SweepPlan("title", ("f",), **made)

    return plan


CALLS = count()


def chance(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        dict.fromkeys(("panel", "series", "width", "trial"), 1)
        | {"figure": "f", "value": next(CALLS)}
    ]


def restless(table, request):
    return plans(described={"n": next(CALLS)})(table, request)


PLANNERS = [
    ("names", plans(names=lambda number: "ab"), "two jobs have one name"),
    ("names", plans(names=lambda number: f"job{number}"), "not twelve hexadecimal digits"),
    ("names", plans(names=lambda number: f"{next(CALLS):012x}"), "other names in another plan"),
    ("plan", restless, "two plans"),
    ("plan", lambda table, request: None, "it returns a NoneType"),
    ("jobs", plans(Silent), "gives no rows"),
    ("resumable", plans(remaining_jobs=lambda rows: ([Job(0, f"{0:012x}")], 0)), "has 1 to do"),
    ("points", plans(points=lambda rows: []), "there are none"),
    ("points", plans(points=lambda rows: [{"figure": "f"}]), "a point has no panel"),
    ("points", plans(points=chance), "gives others"),
    ("json", plans(settings={"x": object()}), "the settings"),
]


@pytest.mark.parametrize(("rule", "planner", "says"), PLANNERS)
def test_planner(rule, planner, says, tmp_path):
    fails(rule, "planners", says, planner, {}, tmp_path)
    assert CHECKS["planners"](plans(), {}, tmp_path) == (f"{0:012x}", f"{1:012x}")


@pytest.mark.parametrize(
    ("rule", "text", "says"),
    [
        ("toml", "title =", "Invalid value"),
        ("toml", "planner = 'dice'", "no title"),
        ("planner", "title = 'a'\nplanner = 'no-such-planner'", "no-such-planner"),
        ("planner", "title = 'a'\nrecipes = ['no-such-recipe']", "no-such-recipe"),
        ("scale", "title = 'a'\nplanner = 'stacks'", ""),
    ],
)
def test_recipe(rule, text, says, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    fails(rule, "recipes", says, path)


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def drawing(content: Callable[[str], bytes], **more: Any) -> Figure:
    return Figure(lambda curves, protocol: content, **more)


def no_format(kind: str) -> bytes:
    raise UsageError("no such format")


FIGURES = [
    ("bytes", drawing(lambda kind: b"<svg" if kind == "svg" else no_format(kind)), "not XML"),
    ("bytes", drawing(lambda kind: SVG), "the png begins with"),
    ("bytes", drawing(no_format), "draws none"),
    (
        "repeatable",
        drawing(lambda kind: b"\x89PNG\r\n\x1a\n" + bytes([next(CALLS)])),
        "drawn again",
    ),
    ("folder", FolderFigure(lambda folder: lambda kind: SVG), "give a folder"),
    ("choose", SimpleNamespace(draw=print, labels=(), panels=(), choose=lambda c: []), "none"),
]


@pytest.mark.parametrize(("rule", "figure", "says"), FIGURES)
def test_figure(rule, figure, says):
    if not isinstance(figure, Figure | FolderFigure):
        figure = SimpleNamespace(**vars(figure))
    if says == "none":
        figure.draw = lambda curves, protocol: None
    fails(rule, "figures", says, figure)


class Engine(LocalEngine):
    def __init__(self, results: Callable[[Any, Iterator[Any]], Iterable[Any]]) -> None:
        super().__init__()
        self._results = results

    def map(self, task, items):
        yield from self._results(task, iter(items))


def swallowing(task, items):
    for item in items:
        try:
            yield task(item)
        except Exception:
            yield item


def wrapping(task, items):
    for item in items:
        try:
            yield task(item)
        except Exception as error:
            raise RuntimeError("worker died") from error


def pickling(task, items):
    return map(pickle.loads(pickle.dumps(task)), items)  # noqa: S301  # made in this line


def needing_one(task, items):
    first = next(items)
    yield task(first)
    yield from map(task, items)


ENGINES = [
    ("closures", pickling, "a task inside a function"),
    ("empty", needing_one, "no items are a RuntimeError"),
    ("order", lambda task, items: reversed([task(item) for item in items]), "12 items gave"),
    ("lazy", lambda task, items: map(task, list(items)), "200 of 200 items"),
    ("errors", swallowing, "is lost"),
    ("errors", wrapping, "comes out as RuntimeError"),
]


@pytest.mark.parametrize(("rule", "results", "says"), ENGINES)
def test_engine(rule, results, says):
    fails(rule, "engines", says, lambda text: Engine(results))


class Double(LocalEngine):
    def outcomes(self, task, items):
        for item in items:
            yield Outcome(item, task(task(item) - 9))


class Mute(LocalEngine):
    def outcomes(self, task, items):
        for item in items:
            try:
                yield Outcome(item, task(item))
            except Exception:
                yield Outcome(item, None, "it failed")


@pytest.mark.parametrize(
    ("rule", "engine", "says"),
    [
        ("outcomes", Double(), "the absolute values"),
        ("outcomes", Mute(), "is lost, and the items are"),
        ("sizes", SimpleNamespace(map=map, outcomes=map, workers=0, threads=1), "workers is 0"),
        ("sizes", SimpleNamespace(map=map, outcomes=map, workers=1, threads=0), "threads is 0"),
        ("sizes", SimpleNamespace(map=map, outcomes=map, workers=1, threads=1), "machines"),
        ("shape", SimpleNamespace(map=map), "no outcomes"),
    ],
)
def test_engine_that_lacks_something(rule, engine, says):
    fails(rule, "engines", says, lambda text: engine)


def test_cli_command():
    fails("shape", "cli_commands", "it has no name", print)
    fails("help", "cli_commands", "no first sentence", click.Command("mute"))
    spoken = click.Command("spoken", help="Say nothing.")
    assert CHECKS["cli_commands"](spoken) == "Say nothing."
    fails("lazy", "cli_commands", "loads", spoken, "frivkit.data")
    fails("lazy", "cli_commands", "cannot be imported", spoken, "no_such_module")


def test_request_of_the_planner_is_the_smoke_scale(tmp_path):
    requests = []

    def plan(table, request):
        requests.append(request)
        return plans()(table, request)

    CHECKS["planners"](plan, {"a": 1}, tmp_path)
    assert set(requests) == {SweepRequest("smoke")}
