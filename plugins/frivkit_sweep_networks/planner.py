"""The planner of single networks: from a recipe's table to a plan."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from frivkit.data.spec import DataSpec
from frivkit.errors import UsageError
from frivkit.experiments.jobs import Job, Row, SweepPlan, SweepRequest
from frivkit.hooks.registry import installed
from frivkit_sweep_networks.network import NetworkJob
from frivkit_sweep_networks.points import figure_rows
from frivkit_sweep_networks.recipe import ALWAYS, Network, Recipe, read_table


def plan(table: dict[str, Any], request: SweepRequest) -> SweepPlan:
    """Make a plan of a recipe of single networks.

    Raises:
        UsageError: the table is not as it must be, or its data are not named.
    """
    return plan_of(read_table(table, request))


def plan_of(recipe: Recipe) -> SweepPlan:
    """Make a plan of a recipe that has been read."""
    jobs = {name: list(_jobs(recipe, net)) for name, net in trained(recipe).items()}
    return SweepPlan(
        title=recipe.title,
        figures=tuple(dict.fromkeys(curve.figure for curve in recipe.curves)),
        settings={"protocol": recipe.protocol},
        described={
            "networks": [asdict(net) for net in recipe.networks.values()],
            "curves": [asdict(curve) for curve in recipe.curves],
            "scale": asdict(recipe.scale),
            "choose": recipe.choose,
        },
        remaining_jobs=lambda rows: _remaining(jobs, rows),
        check=lambda: _check(job for each in jobs.values() for job in each),
        points=lambda rows: figure_rows(recipe, jobs, list(rows)),
    )


def trained(recipe: Recipe) -> dict[str, Network]:
    """Return the networks that are trained at a scale: not those whose parameters are counted."""
    wanted = {
        recipe.network(curve).name for curve in recipe.curves if {*curve.panels} - {"parameters"}
    }
    chosen = recipe.scale.networks or tuple(recipe.networks)
    return {name: net for name, net in recipe.networks.items() if name in wanted & {*chosen}}


def _remaining(
    jobs: Mapping[str, Sequence[NetworkJob]], rows: Sequence[Row]
) -> tuple[list[Job], int]:
    there = {row["work"] for row in rows}
    every = {job.name: job for each in jobs.values() for job in each}
    # By width first, so that an experiment that is broken off has whole curves of narrow networks.
    left = [job for job in every.values() if job.name not in there]
    left.sort(key=lambda job: (job.width, job.seed))
    return [*left], len(every) - len(left)


def _jobs(recipe: Recipe, net: Network) -> Iterator[NetworkJob]:
    scale = recipe.scale
    data = specs(recipe, net)
    combinations = [dict(zip(net.grid, values, strict=True)) for values in _product(net)]
    metrics = {
        name: {**recipe.metrics.get(name, {}), **scale.metrics.get(name, {})}
        for name in (*ALWAYS, *net.metrics)
    }
    for width in scale.widths:
        for seed in scale.seeds if not net.widths or width in net.widths else ():
            for choice in combinations:
                options = net.options_at(width, recipe.protocol) | choice
                yield NetworkJob(
                    net.name,
                    net.architecture,
                    net.trainer,
                    width,
                    seed,
                    options | scale.options,
                    choice,
                    *data,
                    recipe.protocol,
                    metrics,
                    net.back,
                    net.trainer_options,
                    net.layers,
                )


def _product(net: Network) -> Iterator[tuple[str, ...]]:
    return product(*net.grid.values())


def specs(recipe: Recipe, net: Network) -> tuple[str, str | None, str]:
    """Return the data to train on, to validate on and to test on.

    The user's keys go before those of the scale, and these before the network's.

    Raises:
        UsageError: neither the user nor the recipe says what the data are.
    """
    named, other = recipe.request.data_for(net.source), recipe.scale.source
    base = DataSpec.parse(named or other or net.source)
    # The network's keys are not for the data of a scale.
    keys = {**(net.keys if named or not other else {}), **recipe.scale.keys}
    keys |= base.options
    training = {"split": "train", **net.training}
    every = base.with_options(**keys)
    validation = {**training, "split": "validation"}
    return (
        str(every.with_options(**training)),
        str(every.with_options(**validation)) if net.validation else None,
        str(every.with_options(split="test")),
    )


def _check(jobs: Iterable[NetworkJob]) -> None:
    """Refuse data of which the place is not known."""
    for spec in dict.fromkeys(DataSpec.parse(job.train) for job in jobs):
        source: Any = installed().load("data_sources", spec.name)
        try:
            if spec.path is None:
                source(spec, ())
        except UsageError as error:
            raise UsageError(f"{error} (--data says where the data are)") from error
