"""The rules of engines."""

import time
from collections.abc import Callable, Iterator, Mapping

from frivkit.engines.engine import Engine, EngineFactory
from frivkit.testing.conformance.rules import Rules, named

ITEMS = 200
"""Items that are handed to an engine one by one."""
AHEAD = 100
"""Items that it may have taken when the first result is there."""


class _ProbeError(Exception):
    """The error that a task raises on purpose."""


def check_engine(factory: EngineFactory, text: str = "") -> int:
    """Check that an engine maps a task over items as frivkit relies on.

    - ``order``: results come in the order of the items, also if later tasks end first.
    - ``closures``: a task may be a function inside another one, with what it refers to.
    - ``errors``: an error of a task is raised in place of its result, with its class.
    - ``lazy``: items are taken as results are, not all at once.
    - ``empty``: no items give no results.
    - ``outcomes``: each item has one outcome, with its result, and an error of a task is raised.
    - ``sizes``: it says how many tasks run at once, and how many threads a task takes.

    Args:
        factory: The target; it need not be registered.
        text: The text behind ``NAME:``.

    Returns:
        The number of items that were taken when the first result was there.

    Raises:
        LawError: a rule is broken.
    """
    rules = Rules("engines", named(factory, "engine"))
    rules.shape(factory)
    engine = factory(text)
    for method in ("map", "outcomes"):
        rules.require(callable(getattr(engine, method, None)), "shape", f"it has no {method}")
    _check_sizes(rules, engine)
    offset = 7

    def slower_first(item: int) -> int:
        time.sleep(0.02 if item % 4 == 0 else 0.0)
        return item + offset

    try:
        results = list(engine.map(slower_first, range(12)))
    except Exception as error:  # an engine may raise anything
        reason = f"a task inside a function is a {type(error).__name__}: {error}"
        raise rules.broken("closures", reason) from error
    rules.require(results == [item + 7 for item in range(12)], "order", f"12 items gave {results}")

    def failing(item: int) -> int:
        if item == 3:
            raise _ProbeError(str(item))
        return item

    _check_errors(rules, engine.map(failing, range(6)))
    taken = []

    def items() -> Iterator[int]:
        for item in range(ITEMS):
            taken.append(item)
            yield item

    stream = iter(engine.map(lambda item: item, items()))
    first = next(stream)
    ahead = len(taken)
    rules.require(
        first == 0 and ahead <= AHEAD, "lazy", f"{ahead} of {ITEMS} items were taken for one result"
    )
    rest = list(stream)
    rules.require(len(rest) == ITEMS - 1, "order", f"{ITEMS} items gave {1 + len(rest)} results")
    _check_empty(rules, engine)
    _check_outcomes(rules, engine, failing)
    return ahead


def _check_errors(rules: Rules, results: Iterator[int]) -> None:
    before: list[int] = []
    try:
        before.extend(results)
    except _ProbeError:
        rules.require(before == [0, 1, 2], "errors", f"results before the error are {before}")
    except Exception as error:  # an engine may raise anything
        reason = f"the error of a task comes out as {type(error).__name__}"
        raise rules.broken("errors", reason) from error
    else:
        raise rules.broken("errors", f"the error of a task is lost, and results are {before}")


def _check_empty(rules: Rules, engine: Engine) -> None:
    nothing: list[str] = []
    try:
        results = list(engine.map(len, nothing))
    except Exception as error:  # an engine may raise anything
        raise rules.broken("empty", f"no items are a {type(error).__name__}") from error
    rules.require(results == [], "empty", f"no items gave {results}")


def _check_sizes(rules: Rules, engine: Engine) -> None:
    workers, threads = getattr(engine, "workers", None), getattr(engine, "threads", 0)
    reason = f"workers is {workers!r}, where a whole number from 1 on is needed"
    rules.require(isinstance(workers, int) and workers >= 1, "sizes", reason)
    reason = f"threads is {threads!r}, where None or a whole number from 1 on is needed"
    rules.require(threads is None or (isinstance(threads, int) and threads >= 1), "sizes", reason)
    reason = "machines is no mapping from the kind of a machine to a number of tasks"
    rules.require(isinstance(getattr(engine, "machines", None), Mapping), "sizes", reason)


def _check_outcomes(rules: Rules, engine: Engine, failing: Callable[[int], int]) -> None:
    try:
        found = {outcome.item: outcome for outcome in engine.outcomes(abs, [-1, -2, -3])}
    except Exception as error:  # an engine may raise anything
        raise rules.broken("outcomes", f"they are a {type(error).__name__}: {error}") from error
    results = {item: (outcome.result, outcome.lost) for item, outcome in found.items()}
    reason = f"the absolute values of -1, -2 and -3 are {results}"
    rules.require(results == {-1: (1, None), -2: (2, None), -3: (3, None)}, "outcomes", reason)
    try:
        items = [outcome.item for outcome in engine.outcomes(failing, range(6))]
    except _ProbeError:
        return
    except Exception as error:  # an engine may raise anything
        reason = f"the error of a task comes out of outcomes as {type(error).__name__}"
        raise rules.broken("outcomes", reason) from error
    raise rules.broken("outcomes", f"the error of a task is lost, and the items are {items}")
