"""Recipes of stacked perceptrons: their types, and reading them from TOML tables."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from frivkit.errors import UsageError, unknown_name
from frivkit.experiments.jobs import SweepRequest
from frivkit_sweep_mlp.optimisers import RULES
from frivkit_sweep_mlp.protocol import PROTOCOLS, Protocol
from frivkit_sweep_mlp.stack import Net, Stack

PANELS = ("prunable", "redundant", "train accuracy", "test accuracy", "parameters")
LARGEST = 1024
"""Most hidden units of a stack, so that activations of a batch stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve of a figure.

    Attributes:
        label: The text of the legend.
        inputs: Inputs of one example.
        optimiser: One of :data:`~frivkit_sweep_mlp.optimisers.RULES`.
        factors: Factors on the scales of initial weights; of several the best one counts.
        examples: Training examples; 0 for the scale's.
    """

    label: str
    inputs: int
    factors: tuple[float, ...]
    optimiser: str = "momentum"
    examples: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` for a value out of range."""
        if self.optimiser not in RULES:
            raise unknown_name("optimiser", self.optimiser, RULES)
        if not self.factors or min(self.factors) <= 0 or self.inputs < 1 or self.examples < 0:
            raise UsageError(f"series {self.label!r}: factors and inputs must be above 0")


@dataclass(frozen=True, slots=True)
class Scale:
    """The size of an experiment.

    Attributes:
        widths: Factors on 128 hidden units.
        seeds: One a trial.
        rates: Learning rates; the best one counts.
        examples: Training examples.
        epochs: Passes over them; 0 for the protocol's.
    """

    widths: tuple[float, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    examples: int = 1000
    epochs: int = 0

    def __post_init__(self) -> None:
        """Raise :class:`UsageError` if there is no network, or for a value out of range."""
        if not (self.widths and self.seeds and self.rates):
            raise UsageError("a scale has at least one width, seed and rate; add what is missing")
        if min(*self.widths, *self.rates) <= 0 or min(self.seeds) < 0 or self.examples < 2:
            raise UsageError(
                "widths and rates must be above 0, seeds at least 0, examples at least 2"
            )
        for what, values in (("width", self.widths), ("seed", self.seeds), ("rate", self.rates)):
            if len(set(values)) < len(values):  # one network would look like two trials
                raise UsageError(f"a {what} is given twice, of {values}; give each once")


@dataclass(frozen=True, slots=True)
class Recipe:
    """An experiment, at one scale and under one protocol.

    Attributes:
        figure: The figure's label.
        title: The title of the experiment.
        panels: Its panels, out of :data:`PANELS`.
        protocol: How networks are trained, chosen and measured.
        series: Its curves.
        scale: Its size.
    """

    figure: str
    title: str
    panels: tuple[str, ...]
    protocol: Protocol
    series: tuple[Series, ...]
    scale: Scale

    def examples(self, series: Series) -> int:
        """Return the number of training examples of a series."""
        return series.examples or self.scale.examples

    def rates(self, series: Series) -> tuple[float, ...]:
        """Return the learning rates of a series, a single one if the protocol fixes Adam's."""
        fixed = series.optimiser == "adam" and self.protocol.adam
        return (self.protocol.adam,) if fixed else self.scale.rates

    def stacks(self) -> list[Stack]:
        """Return the stacks to train, those with the same data in succession.

        Example:
            >>> from frivkit_sweep_mlp.protocol import PAPER
            >>> size = Scale(widths=(0.25, 0.5), seeds=(0,), rates=(1.0, 0.1))
            >>> series = (Series("one", 10, (1.0,)), Series("ten", 10, (10.0,)))
            >>> stacks = Recipe("T", "a trial", ("prunable",), PAPER, series, size).stacks()
            >>> [(stack.inputs, stack.units, len(stack.nets)) for stack in stacks]
            [(10, 32, 4), (10, 64, 4)]
        """
        if set(self.panels) == {"parameters"}:
            return []
        nets: dict[tuple[int, int, str], dict[Net, None]] = {}  # a dict keeps the order
        for series in self.series:
            group = nets.setdefault((series.inputs, self.examples(series), series.optimiser), {})
            group |= {Net(r, f): None for f in series.factors for r in self.rates(series)}
        return [
            part
            for inputs, examples in dict.fromkeys(key[:2] for key in nets)
            for seed in self.scale.seeds
            for key, group in nets.items()
            if key[:2] == (inputs, examples)
            for width in self.scale.widths
            for part in split_stack(Stack(inputs, examples, key[2], width, seed, tuple(group)))
        ]


def split_stack(stack: Stack) -> list[Stack]:
    """Return a stack in parts of at most :data:`LARGEST` units, about equal in size.

    Example:
        >>> nets = tuple(Net(rate, 1.0) for rate in (1.0, 0.1, 0.01))
        >>> [len(part.nets) for part in split_stack(Stack(10, 100, "sgd", 4.0, 0, nets))]
        [2, 1]
    """
    most = max(1, LARGEST // stack.units)
    size = -(-len(stack.nets) // -(-len(stack.nets) // most))
    return [stack.of(stack.nets[i : i + size]) for i in range(0, len(stack.nets), size)]


def read_table(table: dict[str, Any], request: SweepRequest) -> Recipe:
    """Read a recipe of stacked perceptrons.

    Args:
        table: The TOML table of its file.
        request: The scale, and a protocol that replaces the recipe's; its changes stay.

    Raises:
        UsageError: there is no such scale, or the table is not valid.
    """
    table = dict(table)
    if request.data and not request.part:
        raise UsageError("its data are made by a teacher of its own; take out --data")
    scales = _table(table.pop("scales", {}), "scales")
    if request.scale not in scales:
        raise unknown_name("scale", request.scale, scales)
    size = _filled(Scale, scales[request.scale], f"scale {request.scale}")
    base = str(request.protocol or table.pop("protocol", "paper"))
    table.pop("protocol", None)
    if base not in PROTOCOLS:
        raise unknown_name("protocol", base, PROTOCOLS)
    changes = _table(table.pop("changes", {}), "changes")
    changes |= {"epochs": size.epochs} if size.epochs else {}
    entries = table.pop("series", [])
    if not isinstance(entries, list):
        raise UsageError("series must be written [[series]]")
    series = tuple(_filled(Series, each, "a series") for each in entries)
    recipe: Recipe = _filled(
        Recipe,
        table | {"protocol": PROTOCOLS[base].changed(**changes), "series": series, "scale": size},
        "it",
    )
    if not (recipe.panels and recipe.series):
        raise UsageError("it has at least one panel and one series; add what is missing")
    for panel in recipe.panels:
        if panel not in PANELS:
            raise unknown_name("panel", panel, PANELS)
    if len({each.label for each in series}) < max(1, len(series)):
        raise UsageError("its series need labels of their own; give each another one")
    return recipe


def _table(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{what} is {value!r}; write a table")
    return dict(value)


def _filled(cls: type[Any], values: object, what: str) -> Any:
    """Return a dataclass with the values of a table; lists become tuples, types are checked."""
    types, table = {field.name: field.type for field in fields(cls)}, _table(values, what)
    for key in table:
        if key not in types:
            raise unknown_name(f"key of {what}", key, types)
    given = {key: _value(types[key], value, f"{what}: {key}") for key, value in table.items()}
    try:
        return cls(**given)
    except TypeError as error:  # "... missing 1 required positional argument: 'widths'"
        raise UsageError(f"{what} lacks {str(error).partition(': ')[2]}; add it") from None


def _value(wanted: Any, value: Any, what: str) -> Any:
    scalars = {tuple[float, ...]: float, tuple[int, ...]: int, tuple[str, ...]: str}
    if wanted in scalars:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise UsageError(f"{what} is {value!r}; write a list")
        return tuple(_value(scalars[wanted], each, what) for each in value)
    if wanted is float and type(value) is int:
        return float(value)
    if isinstance(value, float) and not isfinite(value):
        raise UsageError(f"{what} is {value}; write a finite number")
    if wanted in {int, float, str} and type(value) is not wanted:
        raise UsageError(f"{what} is {value!r}; write a value of type {wanted.__name__}")
    return value
