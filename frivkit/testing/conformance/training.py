"""The rules of architectures and trainers."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from frivkit.data import Array, Dataset, DataSpec, TensorSpec
from frivkit.experiments.train import Architecture, Trainer, TrainingRecord
from frivkit.hooks.options import parse_options
from frivkit.progress import Silent
from frivkit.testing.conformance.rules import Rules, named

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = 2
"""Examples that an architecture is run on."""
CLOSE = 1e-4
"""The difference between outputs, relative to the largest or to 1."""


def check_architecture(
    architecture: Architecture[Any],
    shape: tuple[int, ...] = (1, 8, 8),
    classes: int = 3,
    *,
    widths: Sequence[float] = (0.5, 1.0),
    options: object | None = None,
) -> tuple[int, ...]:
    """Check that an architecture builds networks as ``frivkit train`` asks for them.

    - ``options``: a dataclass whose fields have defaults.
    - ``outputs``: a network maps (n, *shape) float32 to finite logits (n, classes).
    - ``examples``: in evaluation mode the logits of an example do not depend on the others.
    - ``width``: a wider network has more parameters.
    - ``seed``: one seed of torch gives the same weights, another seed others.

    Args:
        architecture: The target; it need not be registered.
        shape: The shape of one example.
        classes: The number of classes.
        widths: Factors on the sizes of its layers, rising.
        options: An instance of ``architecture.options``; None takes the defaults.

    Returns:
        The number of parameters at each width.

    Raises:
        LawError: a rule is broken.
    """
    import torch

    rules = Rules("architectures", named(architecture.build, "architecture"))
    rules.shape(architecture)
    rules.require(is_dataclass(architecture.options), "options", "they are not a dataclass")
    settings = parse_options(architecture.options, {}) if options is None else options

    def build(width: float, seed: int) -> "nn.Module":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = architecture.build(shape, classes, width, settings)
        rules.require(
            isinstance(network, torch.nn.Module), "outputs", f"it builds a {type(network).__name__}"
        )
        return network

    counts = []
    first = build(widths[0], 0)
    for width in widths:
        network = first if width == widths[0] else build(width, 0)
        _check_logits(rules, network, shape, classes, width)
        counts.append(sum(p.numel() for p in network.parameters() if p.requires_grad))
    rules.require(
        all(a < b for a, b in pairwise(counts)),
        "width",
        f"widths {tuple(widths)} have {tuple(counts)} parameters",
    )
    drawn = _weights(first)
    rules.require(drawn == _weights(build(widths[0], 0)), "seed", "one seed gives two networks")
    same = drawn == _weights(build(widths[0], 1))
    rules.require(not same, "seed", "two seeds give the same weights")
    return tuple(counts)


def _check_logits(
    rules: Rules, network: "nn.Module", shape: tuple[int, ...], classes: int, width: float
) -> None:
    import torch

    drawn = np.random.default_rng(0).standard_normal((EXAMPLES, *shape)).astype(np.float32)
    x = torch.from_numpy(drawn)
    with torch.no_grad():
        network.eval()
        logits = network(x)
        alone = network(x[:1])
    where = f"width {width:g}"
    rules.require(
        tuple(logits.shape) == (EXAMPLES, classes) and logits.dtype == torch.float32,
        "outputs",
        f"{where}: expected float32 logits {(EXAMPLES, classes)}, found {logits.dtype} "
        f"{tuple(logits.shape)}",
    )
    rules.require(logits.isfinite().all(), "outputs", f"{where}: a logit is not finite")
    apart = float((logits[:1] - alone).abs().max())
    limit = CLOSE * max(1.0, float(logits.abs().max()))
    reason = f"{where}: the logits of an example are {apart:.2g} away with another beside it"
    rules.require(apart <= limit, "examples", reason)


def _weights(network: "nn.Module") -> dict[str, bytes]:
    state: Mapping[str, Any] = network.state_dict()
    return {name: value.cpu().numpy().tobytes() for name, value in state.items()}


class _Clusters:
    """Labelled points in three clusters."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._y = np.arange(48) % 3
        centres = np.random.default_rng(0).standard_normal((3, 1, 4, 4))
        noise = generator.standard_normal((48, 1, 4, 4))
        self._x = (centres[self._y] + 0.3 * noise).astype(np.float32)
        self.examples = len(self._y)
        self.digest = f"{seed:064x}"
        self.columns = {
            "x": TensorSpec("x", "float32", (1, 4, 4)),
            "y": TensorSpec("y", "int64", ()),
        }

    def read(self, start: int, stop: int) -> Mapping[str, Array]:
        return {"x": self._x[start:stop].copy(), "y": self._y[start:stop].astype(np.int64)}


def check_trainer(
    trainer: Trainer[Any], options: object | None = None, *, trains: bool = True
) -> TrainingRecord:
    """Check that a trainer trains a network in place and says what it did.

    A small network is trained on 48 labelled images of 4x4 pixels, with and without data to
    validate on.

    - ``options``: a dataclass whose fields have defaults.
    - ``seed``: one seed gives the same weights, to the byte.
    - ``trains``: the weights change, and stay finite.
    - ``record``: a loss for each epoch, all finite; a validation accuracy from 0 to 1 if and only
      if there are data to validate on; settings that JSON can hold; kept weights of epochs that
      were trained, which fit the network.
    - ``mode``: the network is left in evaluation mode.

    Args:
        trainer: The target; it need not be registered.
        options: An instance of ``trainer.options`` that takes a few epochs; None takes the
            defaults.
        trains: Whether it changes the weights at all.

    Returns:
        The record of the run with data to validate on.

    Raises:
        LawError: a rule is broken.
    """
    rules = Rules("trainers", named(trainer.fit, "trainer"))
    rules.shape(trainer)
    rules.require(is_dataclass(trainer.options), "options", "they are not a dataclass")
    settings = parse_options(trainer.options, {}) if options is None else options
    spec = DataSpec("clusters")
    train, validation = (Dataset(spec, _Clusters(seed)) for seed in (0, 1))
    start = _network()
    records = {}
    for name, chosen in (("without", None), ("with", validation)):
        runs = []
        for _ in range(2):
            network = copy.deepcopy(start)
            record = _fit(trainer, network, train, chosen, settings)
            runs.append(_weights(network))
        rules.require(
            runs[0] == runs[1], "seed", f"one seed gives other weights ({name} validation data)"
        )
        rules.require(not network.training, "mode", "the network is left in training mode")
        finite = all(bool(value.isfinite().all()) for value in network.state_dict().values())
        rules.require(finite, "trains", "a weight is not finite")
        changed = runs[0] != _weights(start)
        rules.require(changed or not trains, "trains", "the weights are those it began with")
        _check_record(rules, record, start, validated=chosen is not None)
        records[name] = record
    return records["with"]


def _network() -> "nn.Module":
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def _fit(
    trainer: Trainer[Any],
    network: "nn.Module",
    train: Dataset,
    validation: Dataset | None,
    options: object,
) -> TrainingRecord:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trainer.fit(network, train, validation, 0, options, Silent())


def _check_record(
    rules: Rules, record: TrainingRecord, start: "nn.Module", *, validated: bool
) -> None:
    rules.require(
        isinstance(record, TrainingRecord), "record", f"it returns a {type(record).__name__}"
    )
    epochs, losses, reached = record.epochs, record.losses, record.validation_accuracy
    rules.require(isinstance(epochs, int) and epochs >= 0, "record", f"{epochs!r} epochs")
    rules.require(
        len(losses) == epochs and all(math.isfinite(loss) for loss in losses),
        "record",
        f"expected a finite loss for each of {epochs} epochs, found {losses!r}",
    )
    if validated and epochs:
        proper = reached is not None and 0 <= reached <= 1
        rules.require(proper, "record", f"the validation accuracy is {reached!r}")
    elif not validated:
        reason = f"a validation accuracy of {reached!r} without validation data"
        rules.require(reached is None, "record", reason)
    rules.json(dict(record.recipe), "the recipe")
    shapes = {name: tuple(value.shape) for name, value in start.state_dict().items()}
    for epoch, state in record.last_epochs.items():
        rules.require(1 <= epoch <= epochs, "record", f"kept weights of epoch {epoch} of {epochs}")
        same = {name: tuple(value.shape) for name, value in state.items()} == shapes
        rules.require(same, "record", f"the kept weights of epoch {epoch} do not fit the network")
