"""The paper's laboratory: its optimisers, schedules, augmentation and choice of epoch."""

from contextlib import AbstractContextManager
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from frivkit.data import Dataset
from frivkit.errors import DataError, DeviceError, UsageError
from frivkit.experiments.train import Trainer, TrainingError, TrainingRecord, accuracy
from frivkit.progress import Progress
from frivkit_trainers.augment import Augmenter
from frivkit_trainers.choosing import copied
from frivkit_trainers.loaders import Batches, SequentialLoader, ShuffledLoader
from frivkit_trainers.optimisers import optimiser
from frivkit_trainers.settings import LabOptions, rate
from frivkit_trainers.snapshot import Progressed, Snapshot, run_of


def lab(  # noqa: PLR0917  # what every trainer is called with
    network: nn.Module,
    train: Dataset,
    validation: Dataset | None,
    seed: int,
    options: LabOptions,
    progress: Progress,
) -> TrainingRecord:
    """Train ``network`` in place on the mean cross-entropy, as ``options`` say.

    With ``protocol=reference``, training is as in the code published with the paper:

    1. Examples are not mixed.  An epoch takes the whole batches that there are, goes on where the
       one before ended, and makes no step with its first batch.
    2. Accuracy is measured before the steps of an epoch, so those of the last one cannot be chosen.
    3. Only with ``momentum`` and ``sgd`` the learning rate falls.  Adam's is 0.001, that of all
       other optimisers a tenth of ``lr``.

    Args:
        network: Maps (n, ...) float32 to logits (n, classes).
        train: Labelled examples.
        validation: Labelled examples that choose the epoch, or None.
        seed: Decides the order of the examples and their augmentation.
        options: The settings.
        progress: Told after each epoch.

    Raises:
        UsageError: settings do not go together, or not with the data or the network.
        DataError: what is to be augmented are no images.
        DeviceError: there is no such device.
        TrainingError: the loss or a weight is no longer finite, or a checkpoint is of another run.
        ModelError: a checkpoint cannot be written.

    Source:
        Casper et al. 2021, arXiv:1912.04783, table 1 and appendix D; the code published with it
        for ``reference``, for the warm-up and for what augmentation does.
    """
    _check(train, validation, options)
    network.to(options.device)
    run = _Run(network, train, validation, seed, options)
    done = run.snapshot.load() if run.snapshot else Progressed()
    if done.epochs > options.epochs:
        raise TrainingError(
            f"the checkpoint in {options.checkpoint} has {done.epochs} epochs, more than "
            f"epochs={options.epochs}; ask for as many, or give another folder"
        )
    progress.start("training", options.epochs)
    progress.advance(done.epochs)
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
    """One network in training."""

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
        random = np.random.default_rng([seed, 1])  # not the one that orders the examples
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
            which = run_of(network, train, validation, seed, options)
            self.snapshot = Snapshot(
                folder, which, network, self._optimiser, self.batches, options.device
            )

    def advance(self, done: Progressed) -> None:
        """Train for one epoch, measure before or after it, and save."""
        if self._reference:
            self._watch(done)
        if not done.stopped:
            loss = self._epoch(done.epochs)
            done.epochs += 1
            done.losses.append(loss)
            if not self._reference:
                self._watch(done)
            if self.options.keep_last:
                done.kept[done.epochs] = copied(self._network)
                done.kept.pop(done.epochs - self.options.keep_last, None)
        if self.snapshot:
            self.snapshot.save(done)

    def _epoch(self, epoch: int) -> float:
        """Make the steps of one epoch and give the mean loss over its examples."""
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
                f"lr={self.options.lr:g} is too high, set a lower one"
            )
        return mean

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.mixed)

    def _watch(self, done: Progressed) -> None:
        if self._watched is None:
            return
        reached = accuracy(_There(self._network, self.options.device), self._watched)
        keep = self.options.choose == "best"
        done.choice.tell(reached, done.epochs, self._network, keep=keep)
        done.stopped = done.choice.enough(self.options)


class _There(nn.Module):
    """A network on another device, for whoever has its inputs and wants its outputs on the CPU."""

    def __init__(self, network: nn.Module, device: str) -> None:
        super().__init__()
        self.network = network
        self._device = device

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.network(inputs.to(self._device)).cpu()
        return outputs


def _record(
    network: nn.Module, validation: Dataset | None, run: _Run, done: Progressed
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
    kept_on_validation = choice.best if choice.weights and options.watch == "validation" else None
    if validation is not None and kept_on_validation is None and done.epochs:
        kept_on_validation = accuracy(network, validation)
    return TrainingRecord(
        done.epochs, tuple(done.losses), kept_on_validation, recipe, dict(done.kept)
    )


def _check(train: Dataset, validation: Dataset | None, options: LabOptions) -> None:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("option device=cuda: torch finds no such device; train on device=cpu")
    if options.augments and not train.images:
        raise DataError(
            f"data {train.spec} has no images that could be augmented; leave crop, flip, "
            "brightness and contrast out"
        )
    if validation is None and options.watch == "validation":
        for name in ("patience", "enough"):
            if getattr(options, name):
                raise UsageError(
                    f"option {name}={getattr(options, name):g} needs an accuracy to watch; give "
                    "--validation-data, or watch=train"
                )


LAB = Trainer(lab, LabOptions)
