"""What a recipe of single networks says, and what is read from its file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from frivkit.errors import UsageError, unknown_name
from frivkit.sweep.work import Asked
from frivkit_netlab.tables import filled

ACCURACIES = ("train accuracy", "validation accuracy", "test accuracy")
SHARES = ("prunable", "redundant")
BY_EPOCHS = ("accuracy by epochs", "prunable by epochs", "redundant by epochs")
PANELS = (*SHARES, *ACCURACIES, "parameters", "unchanged labels", "correlation", *BY_EPOCHS)
PROTOCOLS = ("paper", "reference")
ALWAYS = ("prunability", "redundancy")
"""Metrics of every network, so that recipes that share a folder share networks."""


@dataclass(frozen=True, slots=True)
class Network:
    """Networks that are trained alike, at all widths and with all seeds of a scale.

    Attributes:
        name: What curves call it.
        architecture: An offer of ``architectures``.
        trainer: An offer of ``trainers``.
        source: The data source that it learns from, where the user names no other.
        keys: Keys of the data spec, for training and measuring alike.
        training: Further keys, for the data to train and validate on alone.
        validation: Whether there are data to validate on, the source's split of that name.
        options: Options of architecture and trainer.
        by_width: Further ones of single widths, which are written ``1/4`` or ``2``.
        paper: Further ones under the protocol ``paper``.
        reference: Further ones under ``reference``.
        grid: Options with several values each; of all combinations the best network counts.
        trainer_options: Options of the trainer alone, not of the architecture, which may have some
            of the same names.
        layers: Patterns of the layers that are measured; empty for those of the architecture.
        back: Epochs, counted back from the last one, whose networks are measured too; needs a
            trainer that keeps them (``keep_last``).
        widths: The widths it has, of those of the scale; empty for all.
        metrics: Metrics beyond prunability and redundancy.
        shape: Of one example, where parameters are counted.
        classes: Outputs, where parameters are counted.
    """

    name: str
    architecture: str
    source: str = ""
    trainer: str = "lab"
    keys: dict[str, str] = field(default_factory=dict)
    training: dict[str, str] = field(default_factory=dict)
    validation: bool = False
    options: dict[str, str] = field(default_factory=dict)
    by_width: dict[str, dict[str, str]] = field(default_factory=dict)
    paper: dict[str, str] = field(default_factory=dict)
    reference: dict[str, str] = field(default_factory=dict)
    grid: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trainer_options: dict[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    back: tuple[int, ...] = ()
    widths: tuple[float, ...] = ()
    metrics: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    classes: int = 0

    def __post_init__(self) -> None:
        if any(not values for values in self.grid.values()):
            raise UsageError(f"network {self.name!r}: an option of its grid has no value; add one")
        if any(each < 0 for each in self.back):
            raise UsageError(f"network {self.name!r}: back counts epochs from the last, 0 or more")
        for text in self.by_width:
            _width(self.name, text)

    def options_at(self, width: float, protocol: str) -> dict[str, str]:
        """Give the options at a width, those of the protocol before those of the width."""
        own = [each for text, each in self.by_width.items() if _width(self.name, text) == width]
        protocols = {"paper": self.paper, "reference": self.reference}
        return {**self.options, **(own[0] if own else {}), **protocols[protocol]}


def _width(name: str, text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"network {name!r}: {text!r} in by_width is no width; write 1/4 or 2"
        ) from None


@dataclass(frozen=True, slots=True)
class CurveOf:
    """A curve of a figure, or several, one a width.

    Attributes:
        figure: The figure's label.
        series: The legend's words; ``{width}`` in them makes each width a series of its own.
        panels: Which of :data:`PANELS` it is in.
        network: Whose it is; empty for the one called as the series is.
        layers: Patterns of the layers it is about, each measured by itself, of which it shows the
            mean; empty for the network as a whole.
        alone: Whether ``prunable`` is where the mean of the ablation curves of single layers falls
            below the threshold, not the curve of all layers at once.
        fixed: Whether as many units are measured at all widths.
        widths: The widths it has, of those of the network; empty for all.
    """

    figure: str
    series: str
    panels: tuple[str, ...]
    network: str = ""
    layers: tuple[str, ...] = ()
    alone: bool = False
    fixed: bool = False
    widths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for panel in self.panels:
            if panel not in PANELS:
                raise unknown_name("panel", panel, PANELS)
            if (panel in (*BY_EPOCHS, "unchanged labels")) and "{width}" not in self.series:
                raise UsageError(
                    f"series {self.series!r}: the panel {panel!r} has no axis for widths; put "
                    "{width} into the series"
                )


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of an experiment is done.

    Attributes:
        widths: Factors on the sizes of layers.
        seeds: One a trial.
        reductions: In words, what is less than in the paper.
        source: A source in place of the networks'; their keys then do not count.
        keys: Keys of data specs that go before the networks'.
        options: Options that go before the networks'.
        metrics: Options of metrics that go before the recipe's, by metric.
        networks: Which networks; empty for all.
        changes: Further entries of single networks, by name, that go before their own.
        series: Other words for the series of curves, where ``changes`` make the usual ones untrue.
    """

    widths: tuple[float, ...]
    seeds: tuple[int, ...]
    reductions: str = ""
    source: str = ""
    keys: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, dict[str, str]] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    series: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.widths and self.seeds):
            raise UsageError("a scale has at least one width and one seed; add what is missing")
        if min(self.widths) <= 0 or min(self.seeds) < 0:
            raise UsageError("widths must be above 0, and seeds at least 0")


@dataclass(frozen=True, slots=True)
class Recipe:
    """An experiment, at one scale and under one protocol.

    Attributes:
        title: What it shows.
        networks: What is trained, by name.
        curves: What is shown of it.
        scale: How much of it.
        protocol: ``paper`` or ``reference``.
        asked: What the user asked for, and with it the data in place of sources.
        choose: The accuracy that decides which network of a grid is the best.
        metrics: Options of metrics, by metric.
    """

    title: str
    networks: Mapping[str, Network]
    curves: tuple[CurveOf, ...]
    scale: Scale
    protocol: str
    asked: Asked
    choose: str
    metrics: Mapping[str, Mapping[str, str]]

    def network(self, curve: CurveOf) -> Network:
        """Give the network of a curve."""
        return self.networks[curve.network or curve.series]


def read_table(table: dict[str, Any], asked: Asked) -> Recipe:
    """Read a recipe.

    Args:
        table: What its file holds.
        asked: Scale, protocol and data.

    Raises:
        UsageError: there is no such scale, or the table is not as it must be.
    """
    left = dict(table)
    common = _of(left, "common", dict)
    scales = _of(left, "scales", dict)
    if asked.scale not in scales:
        raise unknown_name("scale", asked.scale, scales)
    scale = filled(Scale, scales[asked.scale], f"scale {asked.scale}")
    entries = [
        _merged(_merged(common, each), scale.changes.get(each.get("name"), {}))
        for each in _of(left, "networks", list)
    ]
    networks = {net.name: net for each in entries for net in [filled(Network, each, "a network")]}
    curves = tuple(filled(CurveOf, each, "a curve") for each in _of(left, "curves", list))
    title, choose = left.pop("title", ""), left.pop("choose", "")
    protocol = asked.protocol or left.get("protocol", "reference")
    left.pop("protocol", None)
    metrics = {
        name: {key: str(value) for key, value in options.items()}
        for name, options in _of(left, "metrics", dict).items()
    }
    known = ("title", "protocol", "choose", "common", "networks", "curves", "metrics", "scales")
    for key in left:
        raise unknown_name("key", key, known)
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", str(protocol), PROTOCOLS)
    if len(networks) < len(entries):
        raise UsageError("two networks have one name; give each its own")
    _check_names([curve.network or curve.series for curve in curves], networks)
    _check_names([*scale.networks, *scale.changes], networks)
    _check_choice(networks.values(), choose)
    return Recipe(title, networks, curves, scale, protocol, asked, choose, metrics)


def _check_names(asked: Iterable[str], networks: Mapping[str, Network]) -> None:
    for name in asked:
        if name not in networks:
            raise unknown_name("network", name, networks)


def _check_choice(networks: Iterable[Network], choose: str) -> None:
    for net in networks:
        if net.grid and choose not in ACCURACIES:
            raise UsageError(f"choose is {choose!r}; say which of {', '.join(ACCURACIES)} decides")
        if net.grid and choose.startswith("validation") and not net.validation:
            raise UsageError(
                f"the best {net.name!r} is to be chosen by {choose}, but it has no validation "
                "data; add validation = true"
            )


def _of(table: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = table.pop(key, kind())
    if not isinstance(value, kind):
        raise UsageError(f"{key} must be written [[{key}]]" if kind is list else f"{key}: a table")
    return value


def _merged(common: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give an entry with what all entries have in common; of two tables, both."""
    both = dict(common)
    for key, value in entry.items():
        inner = both.get(key)
        both[key] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
    return both
