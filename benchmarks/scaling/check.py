"""Real runs on one, two and four workers of this machine, beside what the simulation foretells."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring.rounds import Json
from benchmarks.networks.timed import resnet20
from benchmarks.scaling.sampling import Sample, SamplingEngine
from frivkit.engines.engine import Engine
from frivkit.engines.open import open_engine
from frivkit.measure.pipeline import Request, analyze, open_study
from frivkit.runtime.execution import Execution

EXAMPLES, LAYERS = 192, ("block16_1.conv1", "block32_1.conv1", "block64_1.conv1")
LEVELS, REPEATS = 7, 3
WORKERS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Timed:
    """What a task returned, with when it ran.

    Attributes:
        result: What it returned.
        start: When it began, in seconds since 1970.
        stop: When it ended.
        processor: Processor seconds that it took.
    """

    result: Any
    start: float
    stop: float
    processor: float


class TimedTask:
    """A task that tells when it ran."""

    def __init__(self, task: Callable[[Any], Any]) -> None:
        self._task = task

    def __call__(self, item: Any) -> Timed:
        """Return what the task returns, with its times."""
        start, before = time.time(), time.thread_time()
        result = self._task(item)
        return Timed(result, start, time.time(), time.thread_time() - before)


class TimedEngine:
    """Another engine, which notes when items of its maps over parts ran."""

    machines: Mapping[str, int] = {}
    threads = 1

    def __init__(self, engine: Engine) -> None:
        self._engine, self.workers = engine, engine.workers
        self.maps: list[Json] = []

    def map(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Yield ``task(item)`` for each item; note begin, end and items of a map over parts."""
        each = list(items)
        began, ran = time.time(), []
        for timed in self._engine.map(TimedTask(task), each):
            ran.append(timed)
            yield timed.result
        if hasattr(each[0], "changes"):
            self.maps.append(
                {
                    "seconds": time.time() - began,
                    "parts": [[part.last - part.first, part.changes] for part in each],
                    "items": [round(each.stop - each.start, 6) for each in ran],
                    "processor": [round(each.processor, 6) for each in ran],
                }
            )

    def outcomes(self, task: Callable[[Any], Any], items: Iterable[Any]) -> Any:
        """Yield outcomes as the other engine does; they are not parts, so nothing is noted."""
        return self._engine.outcomes(task, items)


def runs(folder: Path, rounds: int) -> Json:
    """Return the samples of each layer, and the maps of real runs by workers.

    Engines take turns.  Each has run an analysis before, so that its workers have started.
    """
    case = resnet20(folder, EXAMPLES)
    engines = {workers: open_engine(f"processes:{workers}") for workers in WORKERS}
    found: dict[str, list[Json]] = {str(workers): [] for workers in WORKERS}
    samples = [_sample(case.model, case.data, layer, folder) for layer in LAYERS]
    for turn in range(1 + rounds):
        for workers, engine in engines.items():
            timed = TimedEngine(engine)
            _analyze(case.model, case.data, timed, LAYERS)
            if turn:
                found[str(workers)].append({"maps": timed.maps})
    return {
        "examples": EXAMPLES,
        "masks": LEVELS * REPEATS,
        "samples": [{key: getattr(s, key) for key in Sample.__slots__} for s in samples],
        "runs": found,
    }


def _analyze(model: Path, data: str, engine: Any, layers: tuple[str, ...]) -> None:
    execution = Execution(engine=engine, threads=1)
    options = {"levels": str(LEVELS), "repeats": str(REPEATS), "refine": "0"}
    analyze(Request(model, data=data, layers=layers, execution=execution), options=options)


def _sample(model: Path, data: str, layer: str, folder: Path) -> Sample:
    from benchmarks.scaling.measure import sampled

    engine = SamplingEngine(folder, masks=(1, 7), repeats=3)
    execution = Execution(engine=engine, threads=1)
    study, _ = open_study(Request(model, data=data, layers=(layer,), execution=execution))
    return sampled(study, list(study.sites), LEVELS, REPEATS)
