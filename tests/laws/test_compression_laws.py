"""Every basis, ranking and refit that is installed keeps the laws, and offenders break them."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frivkit.compression.method import Refit
from frivkit.compression.moves import Moves
from frivkit.compression.plan import (
    Factorization,
    Plan,
    factorized_fit,
    keep_weights,
    ridge_fits,
)
from frivkit.compression.ridge import Fit
from frivkit.hooks.registry import installed
from frivkit.testing.laws import (
    COMPRESSION_LAWS,
    FOLDING_LAWS,
    RANKING_LAWS,
    CompressionLaw,
    LawError,
)
from frivkit_compressors.bases import select
from frivkit_compressors.rankings import backward

EVERY = {
    "basis": list(installed().offers("bases")),
    "ranking": list(installed().offers("rankings")),
    "refit": list(installed().offers("refits")),
}
HOOKS = {"basis": "bases", "ranking": "rankings", "refit": "refits"}
FOLDING = {"ranking": ["backward"], "refit": ["ridge", "relu", "sequential"]}
LAWS = {law.name: law for law in (*COMPRESSION_LAWS, *RANKING_LAWS, *FOLDING_LAWS)}
CALLS = count()


def cases(kinds: dict[str, list[str]], laws: tuple[CompressionLaw, ...]) -> list[Any]:
    return [
        pytest.param(kind, name, law, id=f"{kind}-{name}-{law.name}")
        for kind, names in kinds.items()
        for name in names
        for law in laws
    ]


@pytest.mark.parametrize(
    ("kind", "name", "law"),
    [
        *cases(EVERY, COMPRESSION_LAWS),
        *cases({"ranking": EVERY["ranking"]}, RANKING_LAWS),
        *cases(FOLDING, FOLDING_LAWS),
    ],
)
def test_offer_keeps_the_law(kind: str, name: str, law: CompressionLaw, tmp_path: Path) -> None:
    offered = installed().load(HOOKS[kind], name)
    assert law.check(tmp_path, **{kind: offered})


def careful(calibration: Any, ranker: Any) -> Moves:
    """Predict more than any tolerance allows."""
    rankings = select(calibration, ranker).units
    return Moves(tuple(replace(each, errors=each.errors + 1.0) for each in rankings))


def unmoved(calibration: Any, ranker: Any) -> Moves:
    return Moves()


def doubling(calibration: Any, plan: Plan) -> Any:
    """Change the weights of a node that keeps all it reads."""
    consumer = calibration.linear_consumers[-1]
    columns = np.ones(len(consumer.matrix), np.bool_)
    return (Fit(consumer, columns, 2 * consumer.matrix, None, 0.0, None),)


def factorizing(calibration: Any, plan: Plan) -> Any:
    """Factorize every refitted node at a rank that saves nothing."""
    fits = ridge_fits(calibration, plan)
    how = {fit.linear_consumer.consumer.node: Factorization("pca", 10**6) for fit in fits}
    return tuple(factorized_fit(calibration, replace(plan, factorized=how), fit) for fit in fits)


def by_place(layer_group: Any, study: Any) -> np.ndarray:
    return np.arange(len(layer_group.groups))


def by_scale(layer_group: Any, study: Any) -> np.ndarray:
    order = np.arange(len(layer_group.groups))
    return order if layer_group.written.sum() < 40 else order[::-1]


def by_chance(layer_group: Any, study: Any) -> np.ndarray:
    return np.random.default_rng(next(CALLS)).permutation(len(layer_group.groups))


def spoiling(calibration: Any, plan: Plan) -> Any:
    path = calibration.model.path
    path.write_bytes(path.read_bytes() + b"x")
    return ridge_fits(calibration, plan)


def spoiling_memory(calibration: Any, plan: Plan) -> Any:
    for value in calibration.model.graph.initializers.values():
        value.const_value.numpy().flags.writeable = True
        value.const_value.numpy()[...] *= 2
    return ridge_fits(calibration, plan)


def tripling(calibration: Any, plan: Plan) -> Any:
    return tuple(replace(fit, matrix=3 * fit.matrix) for fit in keep_weights(calibration, plan))


def keeping_dead_units(layer_group: Any, study: Any) -> np.ndarray:
    return backward(layer_group, study)[::-1]


@pytest.mark.parametrize(
    ("law", "given", "said"),
    [
        ("full-width", {"refit": Refit(doubling)}, "outputs as before"),
        ("budgets", {"refit": Refit(factorizing)}, "expected at most"),
        ("budgets", {"basis": unmoved}, "could not be checked"),
        ("repeatable", {"ranking": by_chance}, "same weights"),
        ("model-unchanged", {"refit": Refit(spoiling)}, "found it changed"),
        ("dead-units", {"ranking": keeping_dead_units}, "which is off, to be removed"),
        ("dead-units", {"basis": careful}, "which is off, to be removed"),
        ("copied-units", {"basis": careful}, "units of"),
        ("copied-units", {"refit": Refit(tripling)}, "outputs"),
        ("unit-order", {"ranking": by_place}, "in the new order"),
        ("unit-scale", {"ranking": by_scale}, "expected the same units"),
        ("least-budget", {"refit": Refit(factorizing)}, "expected at most"),
    ],
)
def test_offender_breaks_the_law(
    law: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(LawError, match=said) as raised:
        LAWS[law].check(tmp_path, **given)
    assert law in str(raised.value)
    assert "\n" not in str(raised.value)


def test_slices_that_are_not_the_masked_model_break_the_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frivkit.testing.laws import compressor_rules

    def wrong(calibration: Any, plan: Plan) -> Any:
        return tripling(calibration, plan)

    changed: Callable[..., Any] = wrong
    monkeypatch.setattr(compressor_rules, "keep_weights", changed)
    with pytest.raises(LawError, match="masked outputs"):
        LAWS["sliced-is-masked"].check(tmp_path)


def test_widths_at_which_kernels_are_slow_break_the_law(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from frivkit.compression import constraints

    def every(model: Any, graph: Any, target: Any, **how: bool) -> list[np.ndarray]:
        ids = [[graph.groups.of[s] for s in sites] for sites in graph.groups.layer_groups]
        return [np.arange(1, 1 + len(np.unique(np.concatenate(each)))) for each in ids]

    monkeypatch.setattr(constraints, "fast_counts", every)
    with pytest.raises(LawError, match="blocked layout"):
        LAWS["fast-widths"].check(tmp_path)


def test_every_law_has_an_offender() -> None:
    source = Path(__file__).read_text()
    assert all(source.count(f'"{name}"') for name in LAWS)


def test_page_lists_the_laws_and_its_lines_check_them(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/writing-plugins.md").read_text()
    heading = "## Test a basis, a ranking or a refit by its laws\n"
    section = page.partition(heading)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \|$", section, re.MULTILINE)
    assert rows == [(law.name, law.statement) for law in LAWS.values()]
    (lines,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(lines, "docs/writing-plugins.md", "exec"), namespace)  # noqa: S102  # our own page
    for law in (*COMPRESSION_LAWS, *RANKING_LAWS):
        namespace["test_ranking_keeps_the_laws"](law, tmp_path)
