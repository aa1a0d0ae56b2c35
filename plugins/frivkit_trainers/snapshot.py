"""The state of a training run on disk, from which it goes on to the same bits."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.experiments.train import TrainingError
from frivkit.files import check_writable, write_file
from frivkit_trainers.choosing import Choice, Weights
from frivkit_trainers.loaders import Batches
from frivkit_trainers.settings import LabOptions

NAME = "training.pt"
FORMAT = 1
FREE = ("epochs", "checkpoint")  # settings that may differ when training goes on


@dataclass(slots=True)
class Progressed:
    """How far training has come.

    Attributes:
        epochs: Epochs done.
        losses: Mean training loss of each.
        stopped: Whether it ended before its time.
        choice: The best epoch so far.
        kept: Weights after each of the last epochs, by number of epochs done.
    """

    epochs: int = 0
    losses: list[float] = field(default_factory=list)
    stopped: bool = False
    choice: Choice = field(default_factory=Choice)
    kept: dict[int, Weights] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What of a run is saved and restored, and where.

    Attributes:
        folder: Where the file is, or will be.
        run: Text that says which run it is: settings, seed, data and shapes of the weights.
        network: Its weights and buffers.
        optimiser: Its memory of gradients.
        batches: Where in the data it stands.
        device: Where torch draws random numbers, such as those of dropout.
    """

    folder: Path
    run: str
    network: nn.Module
    optimiser: torch.optim.Optimizer
    batches: Batches
    device: str

    def save(self, progressed: Progressed) -> None:
        """Write the state; the file that was there stays until the new one is whole.

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
            "progressed": _plain(progressed) | {"choice": _plain(progressed.choice)},
        }
        content = io.BytesIO()
        torch.save(state, content)
        write_file(self.folder / NAME, content.getvalue(), ModelError)

    def load(self) -> Progressed:
        """Restore the state that was saved, if one was; else make the folder for it.

        Raises:
            TrainingError: the file is damaged, or of another run.
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
            return Progressed()
        try:
            # Nothing but tensors and plain values is unpickled.
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            found, run = state["format"], state["run"]
            progressed = self._restored(state) if (found, run) == (FORMAT, self.run) else None
        except Exception as error:  # torch raises what it likes
            raise TrainingError(
                f"the checkpoint {path} cannot be read; remove it to train from the beginning"
            ) from error
        if progressed is None:
            raise TrainingError(
                f"the checkpoint {path} is of another run ({_difference(run, self.run)}); "
                "give another folder, or remove it"
            )
        return progressed

    def _restored(self, state: Mapping[str, Any]) -> Progressed:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.batches.state = state["batches"]
        torch.set_rng_state(state["random"])
        if state["cuda"] is not None:
            torch.cuda.set_rng_state(state["cuda"])
        saved = state["progressed"]
        return Progressed(**{**saved, "choice": Choice(**saved["choice"])})


def _plain(state: Progressed | Choice) -> dict[str, Any]:
    """Return the attributes by name, without the copies of weights that ``asdict`` makes."""
    return {each.name: getattr(state, each.name) for each in fields(state)}


def run_of(
    network: nn.Module, train: Dataset, validation: Dataset | None, seed: int, options: LabOptions
) -> str:
    """Return which run it is: whatever decides the weights after an epoch, as JSON."""
    settings = {key: value for key, value in asdict(options).items() if key not in FREE}
    told = {
        **settings,
        "seed": seed,
        "train": train.digest,
        "validation": validation and validation.digest,
        "weights": {name: list(value.shape) for name, value in network.state_dict().items()},
    }
    return json.dumps(told, sort_keys=True)


def _difference(found: str, asked: str) -> str:
    """Name the first thing in which two runs differ."""
    try:
        before, now = json.loads(found), json.loads(asked)
        key = next(key for key in now if before.get(key) != now[key])
    except (ValueError, TypeError, AttributeError, StopIteration):
        return "of another version"
    if key in ("train", "validation", "weights"):
        return f"other {'network' if key == 'weights' else f'{key} data'}"
    return f"{key}={before.get(key)}, not {now[key]}"
