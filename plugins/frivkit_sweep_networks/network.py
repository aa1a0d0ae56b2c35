"""One network of an experiment: trained into a temporary file, and measured."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.experiments.jobs import JobResult
from frivkit.experiments.train import Architecture, Trained, Trainer, TrainingError, train
from frivkit.hooks.registry import installed
from frivkit.measure.metric import Measurement
from frivkit.measure.pipeline import Analysis, Request, analyze
from frivkit.progress import Progress
from frivkit.runtime.execution import Execution

ARRAYS = {
    "prunability": ("levels", "unchanged"),
    "redundancy": ("explained",),
    "correlation": ("histogram", "quantiles"),
}
"""Entries of a measurement's detail that are written as arrays, by metric."""


def settings_name(settings: Mapping[str, Any]) -> str:
    """Return twelve hexadecimal digits that stand for the settings of a network.

    Example:
        >>> settings_name({"width": 1, "seed": 0}) == settings_name({"seed": 0, "width": 1})
        True
    """
    text = json.dumps(dict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class NetworkJob:
    """A network to train and measure.

    Attributes:
        label: Its name in the recipe.
        architecture: An offer of ``architectures``.
        trainer: An offer of ``trainers``.
        width: Factor on the sizes of layers.
        seed: Decides initial weights, the order of examples and masks.
        options: Options of architecture and trainer.
        choice: The options of a grid, with the values of this network.
        train: Data spec of the training examples.
        validation: Data spec of the examples that choose the epoch, or None.
        test: Data spec of the examples to measure on.
        protocol: ``paper`` or ``reference``.
        metrics: The options of each metric, by its name.
        back: Epochs, counted back from the last, whose networks are measured.
        trainer_options: Options of the trainer alone.
        layers: Patterns of the layers to measure; empty for those of the architecture.
    """

    label: str
    architecture: str
    trainer: str
    width: float
    seed: int
    options: Mapping[str, str]
    choice: Mapping[str, str]
    train: str
    validation: str | None
    test: str
    protocol: str
    metrics: Mapping[str, Mapping[str, str]]
    back: tuple[int, ...] = ()
    trainer_options: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the result, without the network's name in the recipe."""
        settings = {each.name: getattr(self, each.name) for each in fields(self)}
        del settings["label"], settings["choice"]
        return settings

    @property
    def name(self) -> str:
        """The name of the settings."""
        return settings_name(self.settings)

    @property
    def table_cell(self) -> tuple[str, str]:
        """Row and column of the progress table."""
        return self.label, f"width {self.width:g}"

    @property
    def networks(self) -> int:
        """One."""
        return 1

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        """Train and measure; training resumes at its last epoch if the trainer can.

        A network whose loss is no longer finite gives one row, ``failure`` with its reason, and the
        other networks of a grid are trained.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            trained = self.fit(folder, threads, progress)
        except TrainingError as error:
            reason = f"{self.label}, width {self.width:g}, seed {self.seed}: {error}"
            return JobResult([self._row("failure", None) | {"reason": reason}])
        accuracies = {
            "validation accuracy": trained.record.validation_accuracy,
            "train accuracy": self._train_accuracy(trained.path, threads, progress),
        }
        rows = [self._row(name, value) for name, value in accuracies.items()]
        rows.append(self._row("epochs", trained.record.epochs))
        arrays: dict[str, NDArray[np.generic]] = {"losses": np.array(trained.record.losses)}
        for back, path in self._files(trained):
            epoch = {"back": back} if self.back else {}
            for analysis in self._analyses(path, threads, progress):
                test_accuracy = analysis.accuracy  # the same for all metrics
                for measured in analysis.measurements:
                    rows.append(self._row(measured.metric, measured.value, measured) | epoch)
                    arrays |= _arrays(measured, f"back{back}/" if self.back else "")
            rows.append(self._row("test accuracy", test_accuracy) | epoch)
        return JobResult(rows, arrays)

    def fit(self, folder: Path, threads: int, progress: Progress) -> Trained:
        """Train the network into ``network.onnx`` of a folder, without measuring it.

        Raises:
            TrainingError: its loss is no longer finite.
        """
        architecture: Architecture[Any] = installed().load("architectures", self.architecture)
        trainer: Trainer[Any] = installed().load("trainers", self.trainer)
        names = {
            each.name for cls in (architecture.options, trainer.options) for each in fields(cls)
        }
        given = {
            "protocol": self.protocol,
            "checkpoint": str(folder),
            "keep_last": str(max(self.back, default=-1) + 1),
        }
        return train(
            self.architecture,
            self.train,
            folder / "network.onnx",
            test_data=self.test,
            validation_data=self.validation,
            width=self.width,
            seed=self.seed,
            threads=threads,
            options={
                **{key: value for key, value in given.items() if key in names},
                **self.options,
            },
            trainer=self.trainer,
            trainer_options=self.trainer_options,
            progress=progress,
        )

    def _files(self, trained: Trained) -> Iterator[tuple[int, Path]]:
        """Yield the files to measure, each with its number of epochs before the last."""
        if not self.back:
            yield 0, trained.path
            return
        paths = dict(enumerate(reversed(trained.epoch_files)))  # 0 is the last epoch
        for back in self.back:
            if back in paths:
                yield back, paths[back]

    def _train_accuracy(self, path: Path, threads: int, progress: Progress) -> float | None:
        request = Request(path, self.train, execution=self._execution(threads, progress))
        return analyze(request, ()).accuracy

    def _analyses(self, path: Path, threads: int, progress: Progress) -> Iterator[Analysis]:
        architecture: Architecture[Any] = installed().load("architectures", self.architecture)
        request = Request(
            path,
            self.test,
            layers=self.layers or architecture.layers,
            whole=True,
            protocol=self.protocol,
            execution=self._execution(threads, progress),
        )
        for metric, options in self.metrics.items():
            yield analyze(request, (metric,), options)

    def _execution(self, threads: int, progress: Progress) -> Execution:
        return Execution(threads=threads, seed=self.seed, progress=progress)

    def _row(
        self, measurement: str, value: float | None, measured: Measurement | None = None
    ) -> dict[str, Any]:
        return {
            "network": self.label,
            "architecture": self.architecture,
            "width": self.width,
            "seed": self.seed,
            **({"choice": dict(self.choice)} if self.choice else {}),
            "measurement": measurement,
            **({} if measured is None else {"layer": measured.layer, "detail": _detail(measured)}),
            "value": value,
        }


def _detail(measured: Measurement) -> dict[str, Any]:
    """Return the entries from which curves are drawn; ``explained`` is in the arrays alone."""
    detail = measured.detail
    keys = ARRAYS.get(measured.metric, ())
    return {key: detail[key] for key in keys if key != "explained" and key in detail}


def _arrays(measured: Measurement, prefix: str) -> dict[str, NDArray[np.generic]]:
    group = f"{prefix}{measured.metric}/{(measured.layer or 'network').replace('/', '|')}"
    return {
        f"{group}/{key}": np.array(measured.detail[key], np.float64)  # None becomes NaN
        for key in ARRAYS.get(measured.metric, ())
        if measured.detail.get(key) is not None
    }
