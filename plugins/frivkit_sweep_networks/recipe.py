"""Recipes of single networks: their types, and reading them from TOML tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from frivkit.errors import UsageError, unknown_name
from frivkit.experiments.jobs import SweepRequest
from frivkit_sweep_networks.tables import as_table, filled, text

ACCURACIES = ("train accuracy", "validation accuracy", "test accuracy")
SHARES = ("prunable", "redundant")
BY_EPOCHS = ("accuracy by epochs", "prunable by epochs", "redundant by epochs")
PANELS = (*SHARES, *ACCURACIES, "parameters", "unchanged labels", "correlation", *BY_EPOCHS)
PROTOCOLS = ("paper", "reference")
ALWAYS = ("prunability", "redundancy")
"""Metrics measured of every network, so that recipes in one folder share networks."""


@dataclass(frozen=True, slots=True)
class Network:
    """Networks that are trained alike, at all widths and with all seeds of a scale.

    Attributes:
        name: The name by which curves refer to it.
        architecture: An offer of ``architectures``.
        trainer: An offer of ``trainers``.
        source: The data source of its examples, unless the user names another.
        keys: Keys of the data spec, for training and for measuring.
        training: Further keys of the data to train and validate on.
        validation: Whether there are validation data, the source's split of that name.
        options: Options of architecture and trainer.
        by_width: Further options of single widths, written ``1/4`` or ``2``.
        paper: Further options under the protocol ``paper``.
        reference: Further options under ``reference``.
        grid: Options with several values each; of all combinations the best network counts.
        trainer_options: Options of the trainer alone, if the architecture has options of the same
            names.
        layers: Patterns of the layers to measure; empty for those of the architecture.
        back: Epochs, counted back from the last, whose networks are measured; needs a trainer with
            the option ``keep_last``.
        widths: Its widths, out of those of the scale; empty for all.
        seeds: Its seeds; empty for those of the scale.
        metrics: Metrics beyond prunability and redundancy.
        shape: The shape of one example; needed to count parameters.
        classes: The number of outputs; needed to count parameters.
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
    seeds: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    classes: int = 0

    def __post_init__(self) -> None:
        if any(not values for values in self.grid.values()):
            raise UsageError(f"network {self.name!r}: an option of its grid has no value; add one")
        _check_once("width", self.widths)
        if any(each < 0 for each in self.back):
            raise UsageError(f"network {self.name!r}: back counts epochs from the last, 0 or more")
        _check_seeds(self.seeds)
        for written in self.by_width:
            _width(self.name, written)
        by_width = self.by_width.values()
        _check_options(
            self.options, *by_width, self.paper, self.reference, self.grid, self.trainer_options
        )

    def options_at(self, width: float, protocol: str) -> dict[str, str]:
        """Return the options at a width; those of the protocol override those of the width."""
        own = [each for key, each in self.by_width.items() if _width(self.name, key) == width]
        protocols = {"paper": self.paper, "reference": self.reference}
        return {**self.options, **(own[0] if own else {}), **protocols[protocol]}


def _check_options(*tables: Mapping[str, object]) -> None:
    """Raise an error for options that say where a trainer writes: a recipe may not choose that."""
    if any("checkpoint" in table for table in tables):
        raise UsageError("a sweep keeps its own checkpoints; take out the option checkpoint")


def _check_once(what: str, values: Sequence[float]) -> None:
    """Raise an error for a value that comes twice: it would look like two trials, and be one."""
    if twice := [each for at, each in enumerate(values) if each in values[:at]]:
        raise UsageError(f"the {what} {twice[0]:g} is given twice; give it once")


def _check_seeds(seeds: Sequence[int]) -> None:
    """Raise an error for seeds that torch does not take, or that come twice."""
    if any(not 0 <= seed < 2**63 for seed in seeds):
        raise UsageError("seeds must be at least 0 and below 2**63")
    _check_once("seed", seeds)


def _width(name: str, written: str) -> float:
    try:
        return float(Fraction(written))
    except (ValueError, ZeroDivisionError):
        raise UsageError(
            f"network {name!r}: {written!r} in by_width is no width; write 1/4 or 2"
        ) from None


@dataclass(frozen=True, slots=True)
class CurveSpec:
    """A curve of a figure, or several, one a width.

    Attributes:
        figure: The figure's label.
        series: The text of the legend; with ``{width}`` in it each width is a series of its own.
        panels: The panels that show it, out of :data:`PANELS`.
        network: The name of its network; empty if that is ``series``.
        layers: Patterns of layers, each measured alone, whose mean is shown; empty for the network
            as a whole.
        alone: Whether ``prunable`` is the crossing of the mean of the ablation curves of single
            layers, not of the curve of all layers at once.
        fixed: Whether the number of measured units is the same at all widths.
        widths: Its widths, out of those of the network; empty for all.
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
        if not self.panels:
            raise UsageError(f"series {self.series!r} is in no panel; give it one")
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
    """The size of an experiment.

    Attributes:
        widths: Factors on the sizes of layers.
        seeds: One a trial.
        reductions: The reductions against the paper, in words.
        source: A source that replaces the networks' sources and their keys.
        keys: Keys of data specs that override the networks'.
        options: Options that override the networks'.
        metrics: Options of metrics that override the recipe's, by metric.
        networks: Names of the networks; empty for all.
        changes: Entries of single networks that override their own, by network.
        series: Names that replace those of curves, if ``changes`` make the usual names wrong.
        least_train_accuracy: A network with a lower accuracy on its training data has learned
            nothing, and is left out of the figures.
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
    least_train_accuracy: float = 0.0

    def __post_init__(self) -> None:
        _check_options(self.options)
        if not (self.widths and self.seeds):
            raise UsageError("a scale has at least one width and one seed; add what is missing")
        if min(self.widths) <= 0:
            raise UsageError("widths must be above 0")
        _check_once("width", self.widths)
        _check_seeds(self.seeds)
        if not 0 <= self.least_train_accuracy <= 1:
            raise UsageError("least_train_accuracy is a share; write a number from 0 to 1")


@dataclass(frozen=True, slots=True)
class Recipe:
    """An experiment, at one scale and under one protocol.

    Attributes:
        title: The title of the experiment.
        networks: Its networks, by name.
        curves: Its curves.
        scale: Its size.
        protocol: ``paper`` or ``reference``.
        request: The choices of the user, with data specs that replace sources.
        choose: The accuracy by which the best network of a grid is chosen.
        metrics: Options of metrics, by metric.
    """

    title: str
    networks: Mapping[str, Network]
    curves: tuple[CurveSpec, ...]
    scale: Scale
    protocol: str
    request: SweepRequest
    choose: str
    metrics: Mapping[str, Mapping[str, str]]

    def network(self, curve: CurveSpec) -> Network:
        """Return the network of a curve."""
        return self.networks[curve.network or curve.series]


def read_table(table: dict[str, Any], request: SweepRequest) -> Recipe:
    """Read a recipe of single networks.

    Args:
        table: The TOML table of its file.
        request: Scale, protocol and data.

    Raises:
        UsageError: there is no such scale, or the table is not valid.
    """
    unread = dict(table)
    common = _of(unread, "common", dict)
    scales = _of(unread, "scales", dict)
    if request.scale not in scales:
        raise unknown_name("scale", request.scale, scales)
    scale = filled(Scale, scales[request.scale], f"scale {request.scale}")
    entries = [
        _merged(_merged(common, each), scale.changes.get(str(each.get("name")), {}))
        for each in (as_table(each, "a network") for each in _of(unread, "networks", list))
    ]
    networks = {net.name: net for each in entries for net in [filled(Network, each, "a network")]}
    curves = tuple(filled(CurveSpec, each, "a curve") for each in _of(unread, "curves", list))
    title, choose = (text(unread.pop(key, ""), key) for key in ("title", "choose"))
    protocol = request.protocol or unread.get("protocol", "reference")
    unread.pop("protocol", None)
    metrics = {
        name: {key: text(value, key) for key, value in as_table(options, name).items()}
        for name, options in _of(unread, "metrics", dict).items()
    }
    known = ("title", "protocol", "choose", "common", "networks", "curves", "metrics", "scales")
    for key in unread:
        raise unknown_name("key", key, known)
    if protocol not in PROTOCOLS:
        raise unknown_name("protocol", str(protocol), PROTOCOLS)
    if len(networks) < len(entries):
        raise UsageError("two networks have one name; give each its own")
    _check_names([curve.network or curve.series for curve in curves], networks)
    _check_names([*scale.networks, *scale.changes], networks)
    _check_choice(networks.values(), choose)
    return Recipe(title, networks, curves, scale, protocol, request, choose, metrics)


def _check_names(names: Iterable[str], networks: Mapping[str, Network]) -> None:
    """Raise :class:`UsageError` for a name that no network has."""
    for name in names:
        if name not in networks:
            raise unknown_name("network", name, networks)


def _check_choice(networks: Iterable[Network], choose: str) -> None:
    """Raise :class:`UsageError` for a grid without an accuracy to choose by."""
    for net in networks:
        if net.grid and choose not in ACCURACIES:
            raise UsageError(f"choose is {choose!r}; say which of {', '.join(ACCURACIES)} decides")
        if net.grid and choose.startswith("validation") and not net.validation:
            raise UsageError(
                f"the best {net.name!r} is to be chosen by {choose}, but it has no validation "
                "data; add validation = true"
            )


def _of(table: dict[str, Any], key: str, kind: type[Any]) -> Any:
    """Remove the value of a key from a table and return it."""
    value = table.pop(key, kind())
    if not isinstance(value, kind):
        raise UsageError(f"{key} must be written [[{key}]]" if kind is list else f"{key}: a table")
    return value


def _merged(common: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with the values common to all entries; tables are merged key by key."""
    both = dict(common)
    for key, value in entry.items():
        inner = both.get(key)
        both[key] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
    return both
