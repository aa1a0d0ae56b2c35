"""The hooks: everything that a plugin can add to frivkit, on one screen.

A plugin is a module named in the entry-point group ``frivkit``.  It implements any of these hooks
and returns offers.  An offer names its target as ``"package.module:attribute"``.  The target is
imported when a user asks for it, so a plugin module itself must import nothing heavy.

Plugin authors import from :mod:`frivkit.plugin`; ``frivkit.testing.conformance`` has a check for
the targets of each hook.
"""

from dataclasses import dataclass

import pluggy

GROUP = "frivkit"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that a plugin offers.

    Attributes:
        name: The name that users write: lower-case words with hyphens.
        target: The object offered, ``"package.module:attribute"``, imported on first use.
        summary: One line for lists.
    """

    name: str
    target: str
    summary: str


@hookspec
def model_providers() -> list[Offer]:  # type: ignore[empty-body]  # pluggy specs have no body
    """Offer readers of model files by suffix; target: ``frivkit.graph.model.Provider``."""


@hookspec
def operator_rules() -> list[Offer]:  # type: ignore[empty-body]
    """Offer further operators; target: ``frivkit.graph.operators.operator.Operators``."""


@hookspec
def data_sources() -> list[Offer]:  # type: ignore[empty-body]
    """Offer data sources by the name in a data spec; target: ``frivkit.data.SourceFactory``."""


@hookspec
def unit_selectors() -> list[Offer]:  # type: ignore[empty-body]
    """Offer ways to read a tensor as units; target: ``frivkit.units.selector.UnitSelector``."""


@hookspec
def metrics() -> list[Offer]:  # type: ignore[empty-body]
    """Offer measurements of a model; target: ``frivkit.measure.metric.Metric``."""


@hookspec
def tasks() -> list[Offer]:  # type: ignore[empty-body]
    """Offer ways to compare outputs; target: ``frivkit.tasks.task.Task``."""


@hookspec
def bases() -> list[Offer]:  # type: ignore[empty-body]
    """Offer bases, which offer moves; target: ``frivkit.compression.method.Basis``."""


@hookspec
def rankings() -> list[Offer]:  # type: ignore[empty-body]
    """Offer orders in which units are removed; target: ``frivkit.compression.ranking.Ranker``."""


@hookspec
def refits() -> list[Offer]:  # type: ignore[empty-body]
    """Offer new weights for consumers of units; target: ``frivkit.compression.method.Refit``."""


@hookspec
def architectures() -> list[Offer]:  # type: ignore[empty-body]
    """Offer untrained networks; target: ``frivkit.experiments.train.Architecture``."""


@hookspec
def trainers() -> list[Offer]:  # type: ignore[empty-body]
    """Offer ways to train a network; target: ``frivkit.experiments.train.Trainer``."""


@hookspec
def planners() -> list[Offer]:  # type: ignore[empty-body]
    """Offer planners of sweeps; target: ``frivkit.experiments.jobs.ExperimentPlanner``."""


@hookspec
def recipes() -> list[Offer]:  # type: ignore[empty-body]
    """Offer experiments as TOML files; target: ``importlib.resources.abc.Traversable``."""


@hookspec
def figures() -> list[Offer]:  # type: ignore[empty-body]
    """Offer figures; target: ``frivkit.experiments.figure.Figure`` or a ``FolderFigure``."""


@hookspec
def engines() -> list[Offer]:  # type: ignore[empty-body]
    """Offer places where tasks run; target: ``frivkit.engines.engine.EngineFactory``."""


@hookspec
def cli_commands() -> list[Offer]:  # type: ignore[empty-body]
    """Offer further subcommands; target: ``click.Command``."""
