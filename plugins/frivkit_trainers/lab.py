"""The trainer ``lab``: the paper's optimisers, schedules, augmentation and choice of epoch."""

from contextlib import AbstractContextManager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from frivkit.data import Dataset
from frivkit.errors import DataError, UsageError
from frivkit.experiments.train import Trainer, TrainingError, TrainingRecord, accuracy
from frivkit.progress import Progress
from frivkit.torch_io.placement import OnDevice, exact_on, torch_device
from frivkit_trainers.augment import Augmenter
from frivkit_trainers.best_epoch import copied
from frivkit_trainers.loaders import Batches, SequentialLoader, ShuffledLoader
from frivkit_trainers.optimisers import optimiser
from frivkit_trainers.settings import LabOptions, rate
from frivkit_trainers.snapshot import Snapshot, TrainingState, run_identity


def lab(  # noqa: PLR0917  # the arguments of every trainer
    network: nn.Module,
    train: Dataset,
    validation: Dataset | None,
    seed: int,
    options: LabOptions,
    progress: Progress,
) -> TrainingRecord:
    """Train ``network`` in place on the mean cross-entropy, with the settings in ``options``.

    With ``protocol=reference``, training follows the code published with the paper:

    1. Examples are not shuffled.  An epoch has as many full batches as there are, continues where
       the previous epoch ended, and makes no step with its first batch.
    2. Accuracy is measured before the steps of an epoch, so the weights after the last epoch
       cannot be chosen.
    3. The learning rate falls with ``momentum`` and ``sgd`` only.  Adam's is 0.001, that of all
       other optimisers a tenth of ``lr``.

    Args:
        network: Maps (n, ...) float32 to logits (n, classes).
        train: Labelled examples.
        validation: Labelled examples by which the epoch is chosen, or None.
        seed: Determines the order of the examples and their augmentation.
        options: The settings.
        progress: Updated after each epoch.

    Raises:
        UsageError: settings contradict each other, the data or the network.
        DataError: augmentation is requested for data without images.
        DeviceError: the device does not exist.
        TrainingError: the loss or a weight is no longer finite, or a checkpoint belongs to another
            run.
        ModelError: a checkpoint cannot be written.

    Source:
        Casper et al. 2021, arXiv:1912.04783, table 1 and appendix D; the code published with it
        for ``reference``, the warm-up and the augmentation.
    """
    _check(train, validation, options)
    device = torch_device(options.device)
    network.to(device)
    run = _Run(network, train, validation, seed, options)
    done = run.snapshot.load() if run.snapshot else TrainingState()
    if done.epochs > options.epochs:
        raise TrainingError(
            f"the checkpoint in {options.checkpoint} has {done.epochs} epochs, more than "
            f"epochs={options.epochs}; give a larger number, or another folder"
        )
    progress.start("training", options.epochs)
    progress.advance(done.epochs)
    with exact_on(device):
        while done.epochs < options.epochs and not done.stopped:
            run.advance(done)
            progress.advance()
    progress.finish()
    if done.choice.weights:
        network.load_state_dict(done.choice.weights)
    network.to("cpu")
    network.eval()
    return _record(network, validation, run, done)


class _Run:
    """The training of one network."""

    def __init__(
        self,
        network: nn.Module,
        train: Dataset,
        validation: Dataset | None,
        seed: int,
        options: LabOptions,
    ) -> None:
        self.options = options
        self._network = network
        self._watched = train if options.watch == "train" else validation
        random = np.random.default_rng([seed, 1])  # independent of the order of the examples
        augmenter = Augmenter(options, random) if options.augments else None
        self._reference = options.protocol == "reference"
        self.batches: Batches = (
            SequentialLoader(train, options.size, augmenter)
            if self._reference
            else ShuffledLoader(train, options.size, seed, augmenter)
        )
        self._optimiser = optimiser(network, options)
        self._forward = torch.compile(network) if options.compile else network
        self.snapshot: Snapshot | None = None
        if options.checkpoint:
            folder = Path(options.checkpoint).expanduser()
            which = run_identity(network, train, validation, seed, options)
            self.snapshot = Snapshot(
                folder, which, network, self._optimiser, self.batches, options.device
            )

    def advance(self, done: TrainingState) -> None:
        """Train for one epoch, measure the accuracy before or after it, and save the state."""
        if self._reference:
            self._watch(done)
        if not done.stopped:
            loss = self._epoch(done.epochs)
            done.epochs += 1
            done.losses.append(loss)
            if not self._reference:
                self._watch(done)
            if self.options.keep_last:
                done.last_weights[done.epochs] = copied(self._network)
                done.last_weights.pop(done.epochs - self.options.keep_last, None)
        if self.snapshot:
            self.snapshot.save(done)

    def _epoch(self, epoch: int) -> float:
        """Make the steps of one epoch, and return the mean loss over its examples."""
        self._network.train()
        total, seen = 0.0, 0
        for number, (inputs, labels) in enumerate(self.batches.epoch()):
            for group in self._optimiser.param_groups:
                group["lr"] = rate(self.options, epoch, number, self.batches.updates)
            self._optimiser.zero_grad()
            with self._precision():
                logits = self._forward(inputs.to(self.options.device))
                loss = nn.functional.cross_entropy(logits, labels.to(self.options.device))
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._optimiser.step()
            total += loss.item() * len(labels)
            seen += len(labels)
        mean = total / seen
        if not isfinite(mean) or not all(p.isfinite().all() for p in self._network.parameters()):
            raise TrainingError(
                f"training diverged in epoch {epoch + 1}: the loss is {mean:g}; the learning rate "
                f"lr={self.options.lr:g} is too high; give a lower one"
            )
        return mean

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.mixed)

    def _watch(self, done: TrainingState) -> None:
        if self._watched is None:
            return
        reached = accuracy(OnDevice(self._network, self.options.device), self._watched)
        copy = self.options.choose == "best"
        done.choice.record(reached, done.epochs, self._network, copy=copy)
        done.stopped = done.choice.stops_early(self.options)


def _record(
    network: nn.Module, validation: Dataset | None, run: _Run, done: TrainingState
) -> TrainingRecord:
    options, choice = run.options, done.choice
    recipe = {key: value for key, value in asdict(options).items() if key != "checkpoint"}
    recipe |= {
        "updates_an_epoch": run.batches.updates,
        "epochs_done": done.epochs,
        "stopped_early": done.stopped,
        "watched_accuracy": choice.best,
        "chosen_epoch": choice.epoch if choice.weights else done.epochs,
    }
    validation_accuracy = choice.best if choice.weights and options.watch == "validation" else None
    if validation is not None and validation_accuracy is None and done.epochs:
        validation_accuracy = accuracy(network, validation)
    return TrainingRecord(
        done.epochs, tuple(done.losses), validation_accuracy, recipe, dict(done.last_weights)
    )


def _check(train: Dataset, validation: Dataset | None, options: LabOptions) -> None:
    if options.augments and not train.images:
        raise DataError(
            f"data {train.spec} has no images to augment; remove crop, flip, brightness "
            "and contrast"
        )
    if validation is None and options.watch == "validation":
        for name in ("patience", "enough"):
            if getattr(options, name):
                raise UsageError(
                    f"option {name}={getattr(options, name):g} needs an accuracy to watch; give "
                    "--validation-data, or watch=train"
                )


LAB = Trainer(lab, LabOptions)
