"""What is wrong with a recipe although its table is valid, said before the first network trains."""

from collections.abc import Iterable
from typing import Any

from frivkit.errors import UsageError
from frivkit.experiments.train import Architecture, Trainer
from frivkit.hooks.options import distribute, parse_options
from frivkit.hooks.registry import installed
from frivkit_sweep_networks.network import NetworkJob
from frivkit_sweep_networks.points import must_have_shape
from frivkit_sweep_networks.recipe import Recipe


def check_names(recipe: Recipe, jobs: Iterable[NetworkJob]) -> None:
    """Raise an error for a name or an option that a job would stumble over, perhaps after hours.

    Raises:
        UsageError: there is no such architecture, trainer, metric or option, an option has a wrong
            value, parameters of a network without a shape are to be counted, or there is nothing
            to train or to count.
    """
    jobs = list(jobs)
    counted = [curve for curve in recipe.curves if "parameters" in curve.panels]
    if not (jobs or counted):
        raise UsageError(
            "no network is to be trained: no curve shows one, or none has a width of the scale; "
            "add a [[curves]], or a width"
        )
    for curve in counted:
        must_have_shape(recipe.network(curve))
    metrics = [recipe.metrics, recipe.scale.metrics, *(job.metrics for job in jobs)]
    for name, options in _distinct(pair for each in metrics for pair in each.items()):
        parse_options(installed().load("metrics", name).options, options)
    trained = _distinct(
        ((job.architecture, job.trainer), [dict(job.options), dict(job.trainer_options)])
        for job in jobs
    )
    for (architecture, trainer), (options, trainer_options) in trained:
        design: Architecture[Any] = installed().load("architectures", architecture)
        method: Trainer[Any] = installed().load("trainers", trainer)
        of_design, of_method = distribute(options, design.options, method.options)
        parse_options(design.options, of_design)
        parse_options(method.options, {**of_method, **trainer_options})


def _distinct(pairs: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return the pairs without those that are the same as one before."""
    return list({repr(pair): pair for pair in pairs}.values())
