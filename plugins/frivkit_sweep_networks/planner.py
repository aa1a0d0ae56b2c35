"""The planner of single networks: makes a plan of a recipe's table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from frivkit.data.spec import DataSpec
from frivkit.errors import UsageError
from frivkit.experiments.jobs import Job, Row, SweepPlan, SweepRequest
from frivkit.hooks.registry import installed
from frivkit_sweep_networks.checks import check_names
from frivkit_sweep_networks.network import NetworkJob
from frivkit_sweep_networks.points import figure_rows
from frivkit_sweep_networks.recipe import ALWAYS, Network, Recipe, read_table


def plan(table: dict[str, Any], request: SweepRequest) -> SweepPlan:
    """Return the plan of a recipe of single networks.

    Raises:
        UsageError: the table is not valid, or its data are not named.
    """
    recipe = read_table(table, request)
    check_names(recipe, (job for net in trained(recipe).values() for job in _jobs(recipe, net)))
    return plan_of(recipe)


def plan_of(recipe: Recipe) -> SweepPlan:
    """Return the plan of a recipe that has been read."""
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
    """Return the networks to train, by name; not those of which only parameters are counted."""
    wanted = {
        recipe.network(curve).name for curve in recipe.curves if {*curve.panels} - {"parameters"}
    }
    chosen = recipe.scale.networks or tuple(recipe.networks)
    return {name: net for name, net in recipe.networks.items() if name in wanted & {*chosen}}


def _remaining(
    jobs: Mapping[str, Sequence[NetworkJob]], rows: Sequence[Row]
) -> tuple[list[Job], int]:
    done = {row["work"] for row in rows}
    all_jobs = {job.name: job for each in jobs.values() for job in each}
    # By width first, so that an interrupted experiment has complete narrow networks.
    remaining = [job for job in all_jobs.values() if job.name not in done]
    remaining.sort(key=lambda job: (job.width, job.seed))
    return [*remaining], len(all_jobs) - len(remaining)


def _jobs(recipe: Recipe, net: Network) -> Iterator[NetworkJob]:
    scale = recipe.scale
    data = specs(recipe, net)
    combinations = [dict(zip(net.grid, values, strict=True)) for values in _product(net)]
    metrics = {
        name: {**recipe.metrics.get(name, {}), **scale.metrics.get(name, {})}
        for name in (*ALWAYS, *net.metrics)
    }
    for width in scale.widths:
        for seed in (net.seeds or scale.seeds) if not net.widths or width in net.widths else ():
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
    """Return the data specs for training, validation (or None) and testing.

    Keys given by the user override those of the scale, and these override the network's.

    Raises:
        UsageError: neither the user nor the recipe names the data.
    """
    named, other = recipe.request.data_for(net.source), recipe.scale.source
    base = DataSpec.parse(named or other or net.source)
    # The network's keys are for its own source alone.
    keys = {**(net.keys if named or not other else {}), **recipe.scale.keys}
    keys |= base.options
    training = {"split": "train", **net.training}
    prepared = base.with_options(**keys)
    validation = {**training, "split": "validation"}
    return (
        str(prepared.with_options(**training)),
        str(prepared.with_options(**validation)) if net.validation else None,
        str(prepared.with_options(split="test")),
    )


def _check(jobs: Iterable[NetworkJob]) -> None:
    """Raise :class:`UsageError` for data whose path is not known."""
    for spec in dict.fromkeys(DataSpec.parse(job.train) for job in jobs):
        source: Any = installed().load("data_sources", spec.name)
        try:
            if spec.path is None:
                source(spec, ())
        except UsageError as error:
            raise UsageError(f"{error} (--data says where the data are)") from error
