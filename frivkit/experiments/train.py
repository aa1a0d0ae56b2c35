"""Training of a network, and its ONNX file with the metadata that an analysis needs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

import frivkit
from frivkit.data import Dataset, open_data
from frivkit.data.bare_path import read_spec
from frivkit.data.spec import DataSpec
from frivkit.errors import DataError, FrivkitError, ModelError, UsageError
from frivkit.files import check_kind, check_writable, write_file
from frivkit.hooks.options import NoOptions, distribute, parse_options
from frivkit.hooks.registry import installed
from frivkit.progress import Progress, Silent
from frivkit.torch_io.export import exported, outputs

if TYPE_CHECKING:  # torch takes a second to import, and types alone do not need it
    import torch
    from torch import nn


ArchitectureOptions = TypeVar("ArchitectureOptions")


class TrainingError(FrivkitError):
    """A network cannot be trained as requested."""


@dataclass(frozen=True, slots=True)
class Architecture(Generic[ArchitectureOptions]):
    """An untrained network of any width; the target of an offer of ``architectures``.

    Attributes:
        build: Called with the shape of one example, the number of classes (at least 2), the factor
            on the sizes of the layers (above 0; 1 is the usual size) and the options.  Returns a
            network that maps (n, *shape) float32 to logits (n, classes), its weights drawn from
            torch's global generator, which was seeded just before.
        options: Dataclass of the settings that ``--option key=value`` sets, read by
            :func:`frivkit.hooks.options.parse_options`.
        layers: Patterns, as in ``--layer``, of the layers to study, written to the metadata of the
            file.  Empty for all.
        joined: Patterns, as in ``--join``, of the Concats to measure as one layer, written to the
            metadata of the file; an analysis uses them unless the user gives others.
    """

    build: "Callable[[tuple[int, ...], int, float, ArchitectureOptions], nn.Module]"
    options: type[ArchitectureOptions] = NoOptions  # type: ignore[assignment]  # a generic default
    layers: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """The record of a training.

    Attributes:
        epochs: Passes over the training data.
        losses: Mean training loss of each epoch.
        validation_accuracy: Share of validation labels predicted with the final weights, in [0, 1];
            None without validation data.
        recipe: The settings, JSON types only.
        last_epochs: State dicts of the network after some of the last epochs, by number of epochs
            done; each is written to a file of its own.
    """

    epochs: int
    losses: tuple[float, ...] = ()
    validation_accuracy: float | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    last_epochs: "Mapping[int, Mapping[str, torch.Tensor]]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trainer(Generic[ArchitectureOptions]):
    """A method that trains a network in place; the target of an offer of ``trainers``.

    Attributes:
        fit: Called with the network, at least 2 labelled examples to train on, labelled examples
            by which weights may be chosen (or None), the seed, the options, and a progress that
            receives epochs.  The seed decides all random numbers, and torch's global generator is
            seeded with it.  Leaves the network in evaluation mode.  Raises :class:`TrainingError`
            when training fails.
        options: As for an :class:`Architecture`.
    """

    fit: (
        "Callable[[nn.Module, Dataset, Dataset | None, int, ArchitectureOptions, Progress], "
        "TrainingRecord]"
    )
    options: type[ArchitectureOptions] = NoOptions  # type: ignore[assignment]  # a generic default


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained network on disk.

    Attributes:
        path: The ONNX file.
        parameters: The number of trainable parameters of the network; more than those of the file
            if a batch norm was merged into the convolution before it.
        accuracy: Share of test labels that the network predicts, in [0, 1].
        test: The test data.
        record: The record of the training.
        seconds: Seconds from the call to the finished file.
        warnings: Warnings about the data, one line each.
        epoch_files: The files of single epochs, such as ``net-epoch9.onnx`` beside ``net.onnx``.
    """

    path: Path
    parameters: int
    accuracy: float
    test: Dataset
    record: TrainingRecord
    seconds: float
    warnings: tuple[str, ...] = ()
    epoch_files: tuple[Path, ...] = ()


def scaled(units: int, width: float) -> int:
    """Return ``units`` times ``width``, rounded half up.

    Raises:
        UsageError: the result is 0, or 2**31 or more.

    Example:
        >>> scaled(128, 0.25)
        32
    """
    number = int(units * width + 0.5)
    if not 1 <= number < 2**31:
        raise UsageError(f"width {width:g} makes {number} of {units} units; choose another width")
    return number


def accuracy(network: "nn.Module", data: Dataset) -> float:
    """Return the share of examples whose largest logit is at their label, in [0, 1].

    Puts the network in evaluation mode.

    Raises:
        TrainingError: a logit is not finite.
    """
    correct = 0
    for batch in data.batches(1024):
        (inputs,) = batch.inputs.values()
        logits = outputs(network, inputs)
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"a logit on {data.spec} is not finite; lower the learning rate or initial weights"
            )
        correct += int((logits.argmax(axis=1) == batch.labels).sum())
    return correct / data.examples


def train(
    architecture: str,
    data: str,
    target: Path,
    *,
    test_data: str | None = None,
    validation_data: str | None = None,
    width: float = 1.0,
    seed: int = 0,
    threads: int = 1,
    options: Mapping[str, str] | None = None,
    trainer: str = "sgd",
    trainer_options: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a network and write it as an ONNX file that names its own test data.

    The same arguments give the same bytes on the same machine.  ``target`` is written only after
    the file is complete and computes the same as the network.

    Args:
        architecture: Name of an offer of ``architectures``.
        data: Spec of the training data.
        target: File to write; its name ends in ``.onnx``.
        test_data: Spec of the data to test on; see :func:`divided` for what None means.
        validation_data: Spec of data by which the trainer may choose the weights to keep.
        width: Factor on the sizes of the network's layers, above 0.
        seed: Decides the initial weights and the order of the examples; in [0, 2**63).
        threads: Threads that torch may use, at least 1.  Small networks are not faster with more,
            and much slower on a busy machine.
        options: Options of the architecture and of the trainer, as text.
        trainer: Name of an offer of ``trainers``.
        trainer_options: Options of the trainer alone, as text; they override ``options``.
        progress: Receives epochs.

    Raises:
        UsageError: a name, a spec, an option, the width or the target's suffix is wrong.
        DataError: the data have no labels, several inputs or a single class.
        TrainingError: the loss or a logit is no longer finite.
        ModelError: the network cannot be built, exported or written.
    """
    started = perf_counter()
    design: Architecture[Any] = installed().load("architectures", architecture)
    method: Trainer[Any] = installed().load("trainers", trainer)
    of_design, of_method = distribute(options or {}, design.options, method.options)
    design_options = parse_options(design.options, of_design)
    method_options = parse_options(method.options, {**of_method, **(trainer_options or {})})
    if not 0 < width < float("inf"):
        raise UsageError(f"width {width:g} is asked for; give a factor above 0")
    if target.suffix != ".onnx":
        raise UsageError(f"an ONNX file cannot be named {target.name}; name it {target.stem}.onnx")
    check_kind(target, ModelError)
    check_writable(target, ModelError)

    train_set, test = divided(data, test_data)
    validation = None if validation_data is None else labelled(validation_data)
    parts = [part for part in (train_set, test, validation) if part is not None]
    shape, classes = _shape(parts), _classes(parts)
    with _torch(seed, threads):
        try:
            network = design.build(shape, classes, width, design_options)
        except (RuntimeError, MemoryError) as error:  # raised by torch for too little memory
            raise ModelError(
                f"{architecture} of width {width:g} cannot be built for examples of shape {shape}: "
                f"{str(error).partition(chr(10))[0]}; try another width"
            ) from error
        record = method.fit(
            network, train_set, validation, seed, method_options, progress or Silent()
        )
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    recipe = {
        "architecture": {"name": architecture, "width": width, **asdict(design_options)},
        "trainer": {"name": trainer, **record.recipe},
        "data": {part.spec: part.digest for part in parts},
        "validation_accuracy": record.validation_accuracy,
        "losses": record.losses,
    }
    metadata = {
        "frivkit.version": frivkit.__version__,
        "frivkit.data": test.spec,
        "frivkit.architecture": architecture,
        "frivkit.trainable_parameters": str(parameters),
        "frivkit.seed": str(seed),
        "frivkit.recipe": json.dumps(recipe, allow_nan=False),
    }
    if design.layers:
        metadata["frivkit.layers"] = ",".join(design.layers)
    if design.joined:
        metadata["frivkit.joined"] = ",".join(design.joined)
    with _torch(seed, threads):  # for the threads
        epoch_files, reached = _written(network, test, target, record.last_epochs, metadata)
    warnings = tuple(dict.fromkeys(line for part in parts for line in part.warnings))
    seconds = perf_counter() - started
    return Trained(target, parameters, reached, test, record, seconds, warnings, epoch_files)


def _written(
    network: "nn.Module",
    test: Dataset,
    target: Path,
    last_epochs: "Mapping[int, Mapping[str, torch.Tensor]]",
    metadata: Mapping[str, str],
) -> tuple[tuple[Path, ...], float]:
    """Write the files of single epochs, then the network; return their paths and its accuracy."""
    (inputs,) = test.read(0, min(64, test.examples)).inputs.values()

    reached = accuracy(network, test)
    final = exported(network, inputs, {**metadata, "frivkit.accuracy": str(reached)})
    paths = []
    for epoch, weights in sorted(last_epochs.items()):
        network.load_state_dict(weights)
        own = {"frivkit.accuracy": str(accuracy(network, test)), "frivkit.epoch": str(epoch)}
        paths.append(target.with_name(f"{target.stem}-epoch{epoch}.onnx"))
        write_file(paths[-1], exported(network, inputs, {**metadata, **own}), ModelError)
    write_file(target, final, ModelError)  # last, so that where it is, the others are
    return tuple(paths), reached


@contextmanager
def _torch(seed: int, threads: int) -> Iterator[None]:
    """Seed torch and bound its threads, and restore both afterwards."""
    import torch

    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def divided(data: str, test_data: str | None = None) -> tuple[Dataset, Dataset]:
    """Return the training data and the test data.

    1. With ``test_data``, the data of both specs.
    2. Without, the splits ``train`` and ``test`` of ``data``, which has no other split.  Random
       labels are for training alone; the test labels are the true ones.

    No part of the training data is held out for testing: the model file names its test data by a
    spec, and no spec can name such a part.

    Raises:
        UsageError: a spec is wrong, the source has no such splits, or both would be the same.
        DataError: data cannot be read or have no labels.

    Example:
        >>> [part.spec for part in divided("digits")]
        ['digits?split=train', 'digits?split=test']
    """
    if test_data is not None:
        return labelled(data), labelled(test_data)
    spec = read_spec(data, installed())
    if spec.options.get("split", "train") != "train":
        raise UsageError(f"{data} has no test split of its own; name test data by --test-data")
    try:
        parts = [
            open_data(part, None)
            for part in (
                spec.with_options(split="train"),
                spec.with_options(split="test").without("labels", "labels_seed"),
            )
        ]
    except UsageError as error:
        labelled(spec)  # if the spec is wrong as it stands, this says so
        raise UsageError(
            f"{data} cannot be split into train and test ({error}); name test data by --test-data"
        ) from error
    train_set, test = map(_checked, parts)
    return train_set, test


def labelled(spec: str | DataSpec) -> Dataset:
    """Return data for training a classifier: one float32 input, and labels.

    Raises:
        UsageError: the spec is wrong.
        DataError: data cannot be read or are of another kind.
    """
    return _checked(open_data(spec, None))


def _checked(data: Dataset) -> Dataset:
    if data.examples < 2:
        raise DataError(f"data {data.spec} has a single example; give at least 2")
    if not data.has_labels:
        raise DataError(f"data {data.spec} has no labels to learn; give data with labels")
    if len(data.inputs) != 1 or data.inputs[0].dtype != "float32":
        columns = ", ".join(f"{column.name} ({column.dtype})" for column in data.inputs)
        raise DataError(
            f"data {data.spec} has {columns}; training takes one float32 input, so give such data"
        )
    return data


def _shape(parts: Sequence[Dataset]) -> tuple[int, ...]:
    """Return the shape of an example, the same in all parts."""
    shapes = {part.inputs[0].shape: part.spec for part in parts}
    if len(shapes) > 1:
        text = " and ".join(f"{spec} has {shape}" for shape, spec in shapes.items())
        raise DataError(f"all data must have the same shape, but {text}")
    return tuple(size or 0 for size in parts[0].inputs[0].shape)


def _classes(parts: Sequence[Dataset]) -> int:
    """Return one more than the largest label, for which all labels are read."""
    labels = [batch.labels for part in parts for batch in part.batches(1024)]
    largest = max(int(some.max()) for some in labels if some is not None)
    if largest < 1:
        raise DataError(f"all labels of {parts[0].spec} are 0; give data of at least two classes")
    return largest + 1
