"""One network of an experiment: trained into a file, measured, and the file thrown away."""

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
"""Entries of measurements' details that are kept as arrays."""


@dataclass(frozen=True, slots=True)
class NetworkJob:
    """A network to train and measure.

    Attributes:
        label: What the recipe calls it.
        architecture: An offer of ``architectures``.
        trainer: An offer of ``trainers``.
        width: Factor on the sizes of layers.
        seed: Decides initial weights, the order of examples and masks.
        options: Of architecture and trainer.
        choice: Those of them that the recipe tries several values of.
        train: Spec of the data to train on.
        validation: Spec of the data to choose an epoch by, or None.
        test: Spec of the data to measure on.
        protocol: ``paper`` or ``reference``.
        metrics: Names of metrics, with their options.
        back: Epochs, counted back from the last one, that are measured too.
        trainer_options: Options of the trainer alone.
        layers: Patterns of the layers that are measured; empty for those of the architecture.
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
        """All that decides what is found; what the network is called does not."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        del told["label"], told["choice"]
        return told

    @property
    def name(self) -> str:
        """Twelve hexadecimal digits of the settings."""
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def table_cell(self) -> tuple[str, str]:
        """Row and column of the table of progress."""
        return self.label, f"width {self.width:g}"

    @property
    def networks(self) -> int:
        """One."""
        return 1

    def run(self, folder: Path, threads: int, progress: Progress) -> JobResult:
        """Train and measure; training goes on from its last epoch if the trainer can.

        A network that cannot be trained, because its loss is no longer finite, gives one row that
        says so: other networks of a grid go on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            trained = self._trained(folder, threads, progress)
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
                reached = analysis.accuracy  # all of them are of the test data
                for found in analysis.measurements:
                    rows.append(self._row(found.metric, found.value, found) | epoch)
                    arrays |= _arrays(found, f"back{back}/" if self.back else "")
            rows.append(self._row("test accuracy", reached) | epoch)
        return JobResult(rows, arrays)

    def _trained(self, folder: Path, threads: int, progress: Progress) -> Trained:
        design: Architecture[Any] = installed().load("architectures", self.architecture)
        method: Trainer[Any] = installed().load("trainers", self.trainer)
        known = {each.name for cls in (design.options, method.options) for each in fields(cls)}
        own = {
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
            options={**{key: value for key, value in own.items() if key in known}, **self.options},
            trainer=self.trainer,
            trainer_options=self.trainer_options,
            progress=progress,
        )

    def _files(self, trained: Trained) -> Iterator[tuple[int, Path]]:
        """Return the files that are measured, with the epochs that each is back."""
        if not self.back:
            yield 0, trained.path
            return
        kept = dict(enumerate(reversed(trained.kept)))  # 0 back is the last one kept
        for back in self.back:
            if back in kept:
                yield back, kept[back]

    def _train_accuracy(self, path: Path, threads: int, progress: Progress) -> float | None:
        request = Request(path, self.train, execution=self._execution(threads, progress))
        return analyze(request, ()).accuracy

    def _analyses(self, path: Path, threads: int, progress: Progress) -> Iterator[Analysis]:
        design: Architecture[Any] = installed().load("architectures", self.architecture)
        request = Request(
            path,
            self.test,
            layers=self.layers or design.layers,
            whole=True,
            protocol=self.protocol,
            execution=self._execution(threads, progress),
        )
        for metric, options in self.metrics.items():
            yield analyze(request, (metric,), options)

    def _execution(self, threads: int, progress: Progress) -> Execution:
        return Execution(threads=threads, seed=self.seed, progress=progress)

    def _row(
        self, measurement: str, value: float | None, found: Measurement | None = None
    ) -> dict[str, Any]:
        return {
            "network": self.label,
            "architecture": self.architecture,
            "width": self.width,
            "seed": self.seed,
            **({"choice": dict(self.choice)} if self.choice else {}),
            "measurement": measurement,
            **({"layer": found.layer, "detail": _detail(found)} if found is not None else {}),
            "value": value,
        }


def _detail(found: Measurement) -> dict[str, Any]:
    """Return what curves are drawn of: short lists only, the rest is in the arrays."""
    kept = ARRAYS.get(found.metric, ())
    return {key: found.detail[key] for key in kept if key != "explained" and key in found.detail}


def _arrays(found: Measurement, prefix: str) -> dict[str, NDArray[np.generic]]:
    table_cell = f"{prefix}{found.metric}/{(found.layer or 'network').replace('/', '|')}"
    return {
        f"{table_cell}/{key}": np.array(found.detail[key], np.float64)  # None becomes NaN
        for key in ARRAYS.get(found.metric, ())
        if found.detail.get(key) is not None
    }
