"""The check of tasks finds what is planted."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from frivkit.tasks.classify import CLASSIFY, ClassLabels
from frivkit.testing.conformance import LawError, check_task


class Offender:
    """A comparer of labels of which some attributes are others."""

    def __init__(self, changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            setattr(self, name, partial(value, self) if callable(value) else value)

    def __getattr__(self, name: str) -> Any:
        return getattr(ClassLabels(), name)


class CountedCalls:
    """Figures that count how often outputs were added."""

    def __init__(self) -> None:
        self.calls = 0

    def add(self, original: Any, other: Any) -> None:
        self.calls += 1

    def result(self) -> dict[str, float]:
        return {"calls": float(self.calls)}


def unless_equal(shares: Callable[[int], np.ndarray]) -> Callable[..., np.ndarray]:
    """Return agreements that are 1 for equal predictions, else what depends on their number."""

    def agreement(_: Offender, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        return np.ones(len(one)) if np.array_equal(one, two) else shares(len(one))

    return agreement


OFFENDERS = [
    ("fitted", {"spread_needed": True, "fitted": lambda self, outputs: self}),
    ("read", {"read": lambda self, outputs: np.full((len(outputs[0]), 2), len(outputs[0]))}),
    ("same", {"agreement": lambda self, one, two: np.full(len(one), 0.9)}),
    ("range", {"agreement": lambda self, one, two: np.ones(1)}),
    ("positions", {"positions": lambda self, predictions: 7}),
    ("order", {"agreement": unless_equal(lambda count: 1.0 * (np.arange(count) < 2))}),
    ("parts", {"agreement": unless_equal(lambda count: np.full(count, float(count == 7)))}),
    ("undefined", {"undefined": lambda self, predictions: np.zeros(len(predictions), int)}),
    ("figures", {"figures": lambda self: CountedCalls()}),
]


@pytest.mark.parametrize(("rule", "changes"), OFFENDERS)
def test_offender_is_named(rule: str, changes: Mapping[str, Any]) -> None:
    task = replace(CLASSIFY, comparer=lambda outputs, options: Offender(changes))
    with pytest.raises(LawError, match=f"rule {rule} of tasks is broken"):
        check_task(task)


def test_a_claim_to_nothing_is_named() -> None:
    rule = "claims"
    with pytest.raises(LawError, match=f"rule {rule} of tasks is broken"):
        check_task(replace(CLASSIFY, claims=lambda outputs, inputs: []))
