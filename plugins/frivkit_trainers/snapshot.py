"""The state of a training run on disk, from which it resumes with identical results."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frivkit.data import Dataset
from frivkit.digests import split_digest, warn_unchecked, with_digest
from frivkit.errors import ModelError
from frivkit.experiments.train import TrainingError
from frivkit.files import check_writable, read_regular, write_file
from frivkit_trainers.best_epoch import BestEpoch, Weights
from frivkit_trainers.loaders import Batches
from frivkit_trainers.settings import LabOptions

NAME = "training.pt"
FORMAT = 1
FREE = ("epochs", "checkpoint")  # settings that may differ when training resumes


@dataclass(slots=True)
class TrainingState:
    """The progress of a training run.

    Attributes:
        epochs: Epochs done.
        losses: Mean training loss of each epoch.
        stopped: Whether training stopped early.
        choice: The best epoch so far.
        last_weights: Weights after each of the last epochs, by number of epochs done.
    """

    epochs: int = 0
    losses: list[float] = field(default_factory=list)
    stopped: bool = False
    choice: BestEpoch = field(default_factory=BestEpoch)
    last_weights: dict[int, Weights] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The parts of a run that are saved to a file and restored from it.

    Attributes:
        folder: The folder of the file.
        run: The identity of the run as :func:`run_identity` returns it.
        network: The network, of which weights and buffers are saved.
        optimiser: The optimiser, with its state.
        batches: The loader, with its position in the data.
        device: The device on which torch draws random numbers, such as those of dropout.
    """

    folder: Path
    run: str
    network: nn.Module
    optimiser: torch.optim.Optimizer
    batches: Batches
    device: str

    def save(self, progressed: TrainingState) -> None:
        """Write the state; an existing file stays until the new one is complete.

        Raises:
            ModelError: it cannot be written.
        """
        state = {
            "format": FORMAT,
            "run": self.run,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "batches": self.batches.state,
            "random": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if self.device == "cuda" else None,
            "progressed": {
                "epochs": progressed.epochs,
                "losses": progressed.losses,
                "stopped": progressed.stopped,
                "choice": _plain(progressed.choice),
                "kept": progressed.last_weights,
            },
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_file(self.folder / NAME, with_digest(content.getvalue()), ModelError)

    def load(self) -> TrainingState:
        """Restore the saved state; without one, make the folder for it.

        Raises:
            TrainingError: the file is damaged, or belongs to another run.
            ModelError: no file can be written there.
        """
        path = self.folder / NAME
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(
                f"no folder {self.folder} can be made ({error.strerror}); give another checkpoint"
            ) from error
        check_writable(path, ModelError)
        if not path.exists():
            return TrainingState()
        try:
            # Only tensors and plain values are unpickled.
            content, digest = split_digest(read_regular(path))
            if digest == "wrong":
                raise ValueError("its digest is not that of its content")
            unchecked = digest == "missing"
            state: dict[str, Any] = torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
            version, run = state["format"], state["run"]
            progressed = self._restored(state) if (version, run) == (FORMAT, self.run) else None
        except Exception as error:  # torch may raise anything
            raise TrainingError(
                f"the checkpoint {path} cannot be read; remove it to train from the beginning"
            ) from error
        if unchecked:
            warn_unchecked(path)
        if progressed is None:
            raise TrainingError(
                f"the checkpoint {path} belongs to another run ({_difference(run, self.run)}); "
                "give another folder, or remove it"
            )
        return progressed

    def _restored(self, state: Mapping[str, Any]) -> TrainingState:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.batches.state = state["batches"]
        torch.set_rng_state(state["random"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"])
        saved = state["progressed"]
        return TrainingState(
            saved["epochs"],
            saved["losses"],
            saved["stopped"],
            BestEpoch(**saved["choice"]),
            saved["kept"],
        )


def _plain(state: BestEpoch) -> dict[str, Any]:
    """Return the attributes by name; unlike ``asdict``, without copying weights."""
    return {each.name: getattr(state, each.name) for each in fields(state)}


def run_identity(
    network: nn.Module, train: Dataset, validation: Dataset | None, seed: int, options: LabOptions
) -> str:
    """Return everything that determines the weights after an epoch, as JSON."""
    settings = {key: value for key, value in asdict(options).items() if key not in FREE}
    identity = {
        **settings,
        "seed": seed,
        "train": train.digest,
        "validation": validation and validation.digest,
        "weights": {name: list(value.shape) for name, value in network.state_dict().items()},
    }
    return json.dumps(identity, sort_keys=True)


def _difference(saved: str, current: str) -> str:
    """Return the first setting in which two runs differ, in words."""
    try:
        before, now = json.loads(saved), json.loads(current)
        key = next(key for key in now if before.get(key) != now[key])
    except (ValueError, TypeError, AttributeError, StopIteration):
        return "of another version"
    if key in ("train", "validation", "weights"):
        return f"other {'network' if key == 'weights' else f'{key} data'}"
    return f"{key}={before.get(key)}, not {now[key]}"
