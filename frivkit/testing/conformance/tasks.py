"""The rules of tasks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import TensorSpec
from frivkit.errors import FrivkitError
from frivkit.runtime.labels import LabelOptions
from frivkit.tasks.task import Claim, Comparer, Evidence, ModelOutput, Task
from frivkit.testing.conformance.rules import Rules

EXAMPLES = 7
"""Examples that are drawn for each output."""
CLOSE = 1e-6
"""The difference, relative or absolute, that figures of parts may have."""
FLOAT = np.dtype(np.float32)
OUTPUTS = (
    ModelOutput("logits", (None, 5), FLOAT, "Gemm"),
    ModelOutput("attributes", (None, 5), FLOAT, "Sigmoid"),
    ModelOutput("embedding", (None, 16), FLOAT, "Gemm"),
    ModelOutput("depth", (None, 1, 6, 6), FLOAT, "Conv"),
    ModelOutput("pixels", (None, 3, 6, 6), FLOAT, "Conv"),
    ModelOutput("heatmaps", (None, 4, 8, 8), FLOAT, "Conv"),
    ModelOutput("tokens", (None, 4, 100), FLOAT, "MatMul"),
    ModelOutput("output0", (None, 7, 84), FLOAT, "Concat"),
    ModelOutput("boxes", (None, 9, 4), FLOAT, "Gather"),
    ModelOutput("scores", (None, 9), FLOAT, "Gather"),
)
"""Outputs of the kinds that networks have."""
INPUTS = (TensorSpec("picture", "float32", (3, 32, 32)), TensorSpec("ids", "int64", (4,)))
"""A picture, and tokens."""


def check_task(task: Task, outputs: Sequence[ModelOutput] = OUTPUTS) -> tuple[str, ...]:
    """Check that a task compares what it claims.

    On numbers that are drawn for the outputs of each claim, a few entries of which are moved:

    - ``claims``: Every claim names outputs that there are, each once, with its evidence and reason.
    - ``fitted``: What needs to see all outputs needs them once.
    - ``read``: There is a row for each example, and it does not depend on the other examples.
    - ``same``: Every example agrees fully with itself.
    - ``range``: Agreements are from 0 to 1, one for each example.
    - ``positions``: They are whole shares of the predictions of an example, if it has some.
    - ``order``: The order of the examples does not matter.
    - ``parts``: Examples that are compared in parts agree as much as all together, unless they are
      compared by their place among all.
    - ``undefined``: An example whose outputs hold NaN is counted, and does not agree fully.
    - ``figures``: They can be written as JSON, and those of parts are those of the whole.

    Args:
        task: The task; it need not be registered.
        outputs: The outputs of a model to try it on.

    Returns:
        The names of the outputs that were checked, those of one claim joined by ``+``.

    Raises:
        LawError: a rule is broken, or the task claims nothing.

    Example:
        >>> from frivkit.hooks.registry import installed
        >>> check_task(installed().load("tasks", "embed"))[:3]
        ('logits', 'attributes', 'embedding')
    """
    rules = Rules("tasks", getattr(task, "compares", type(task).__name__))
    rules.shape(task)
    rules.require(
        isinstance(task.compares, str) and task.compares, "compares", "it does not say what"
    )
    known = {output.name: output for output in outputs}
    claims = task.claims(tuple(outputs), INPUTS)
    rules.require(claims, "claims", "it claims no output")
    for claim in claims:
        _check_claim(rules, claim, known)
        own = [known[name] for name in claim.outputs]
        try:
            comparer = task.comparer(own, LabelOptions())
            _Trial(rules, comparer, own).check()
        except FrivkitError as error:
            rules.one_line(error, "+".join(claim.outputs))
            raise rules.broken("read", f"{claim.outputs} were claimed: {error}") from error
    return tuple("+".join(claim.outputs) for claim in claims)


def _check_claim(rules: Rules, claim: Claim, known: dict[str, ModelOutput]) -> None:
    names = claim.outputs
    fits = bool(names) and len(set(names)) == len(names) and all(name in known for name in names)
    rules.require(fits, "claims", f"it claims {names!r}")
    rules.require(isinstance(claim.evidence, Evidence), "claims", f"evidence {claim.evidence!r}")
    rules.require(
        claim.reason and "\n" not in claim.reason, "claims", f"its reason is {claim.reason!r}"
    )


class _Trial:
    """One comparer on drawn outputs."""

    def __init__(self, rules: Rules, comparer: Comparer, outputs: Sequence[ModelOutput]) -> None:
        generator = np.random.default_rng(len(outputs[0].name))
        self._rules, self._what = rules, "+".join(output.name for output in outputs)
        self._was = [
            generator.random(
                (EXAMPLES, *(size or 3 for size in (output.shape or (0,))[1:]))
            ).astype(FLOAT)
            for output in outputs
        ]
        self._now = [np.where(generator.random(x.shape) < 0.3, 1 - x, x) for x in self._was]
        if comparer.spread_needed:
            comparer = comparer.fitted([self._was])
            rules.require(not comparer.spread_needed, "fitted", "it asks for outputs again")
        self._comparer = comparer
        self._one, self._two = comparer.read(self._was), comparer.read(self._now)

    def check(self) -> None:
        rules, comparer, one, two = self._rules, self._comparer, self._one, self._two
        rules.require(
            one.ndim >= 2 and len(one) == EXAMPLES, "read", f"{self._what}: shape {one.shape}"
        )
        half = comparer.read([each[:3] for each in self._was])
        alone = np.array_equal(half, one[:3], equal_nan=True)
        rules.require(alone, "read", f"{self._what}: rows depend on other examples")
        same = comparer.agreement(one, one)
        rules.require(bool((same == 1).all()), "same", f"{self._what}: {same.min()} with itself")
        found = comparer.agreement(one, two)
        fits = found.shape == (EXAMPLES,) and bool(((found >= 0) & (found <= 1)).all())
        rules.require(fits, "range", f"{self._what}: {found!r}")
        positions = comparer.positions(one)
        counts = found * positions
        whole = bool(np.allclose(counts, np.rint(counts), atol=CLOSE)) and positions >= 0
        rules.require(whole, "positions", f"{self._what}: {counts!r} of {positions}")
        self._check_order(found)
        self._check_undefined()
        self._check_figures()

    def _check_order(self, found: NDArray[np.float64]) -> None:
        comparer, order = self._comparer, np.arange(EXAMPLES)[::-1]
        reversed_ = comparer.agreement(self._one[order], self._two[order])
        same = np.array_equal(reversed_, found[order])
        self._rules.require(same, "order", f"{self._what}: agreements depend on it")
        if comparer.of_set:
            return
        parts = [
            comparer.agreement(self._one[at], self._two[at]) for at in (slice(3), slice(3, None))
        ]
        same = np.array_equal(np.concatenate(parts), found)
        self._rules.require(same, "parts", f"{self._what}: parts agree otherwise")

    def _check_undefined(self) -> None:
        broken = [each.copy() for each in self._now]
        for each in broken:
            each[2].reshape(-1)[0] = np.nan
        predictions = self._comparer.read(broken)
        count = self._comparer.undefined(predictions)
        agreement = self._comparer.agreement(self._one, predictions)
        rest = np.arange(EXAMPLES) != 2
        fits = count.shape == (EXAMPLES,) and count[2] > 0 and not count[rest].any()
        self._rules.require(fits, "undefined", f"{self._what}: counts {count!r}")
        self._rules.require(agreement[2] < 1, "undefined", f"{self._what}: NaN agrees")

    def _check_figures(self) -> None:
        whole, parts = self._comparer.figures(), self._comparer.figures()
        whole.add(self._was, self._now)
        for at in (slice(3), slice(3, None)):
            parts.add([each[at] for each in self._was], [each[at] for each in self._now])
        one, two = dict(whole.result()), dict(parts.result())
        self._rules.json(one, f"figures of {self._what}")
        same = one.keys() == two.keys() and all(_close(one[name], two[name]) for name in one)
        self._rules.require(same, "figures", f"{self._what}: {one} as a whole, {two} of parts")


def _close(one: Any, two: Any) -> bool:
    if one is None or two is None:
        return one is two
    return bool(np.isclose(one, two, rtol=CLOSE, atol=CLOSE))
