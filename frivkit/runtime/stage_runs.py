"""What is in front of a site, computed from what was kept of the sites before it."""

from collections.abc import Hashable, Sequence
from typing import Any

from numpy.typing import NDArray

from frivkit.graph.instrument.perturb import between
from frivkit.graph.instrument.stages import Stage, StagePlan
from frivkit.graph.model import Model
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.session import Device, Feeds, Session

StageTensors = dict[str, NDArray[Any]]
WORTH_KEEPING = 16
"""Multiply-accumulates a byte below which a tensor is computed again sooner than it is kept."""


class Leg:
    """The part of a model between tensors that are known and others.

    Args:
        model: The model.
        known: The names of tensors that are known, beside the model's inputs.
        wanted: The names of tensors that are computed, none of them known.
        device: Where to run.
    """

    def __init__(
        self, model: Model, known: Sequence[str], wanted: Sequence[str], device: Device
    ) -> None:
        self._model, self._wanted = model, tuple(wanted)
        if self._wanted:
            part = between(model, known, self._wanted)
            self._inputs, self._session = part.inputs, Session(part.ir, device, arena=False)

    def tensors(self, known: Feeds) -> StageTensors:
        """Return the wanted tensors of one batch.

        Args:
            known: The known tensors, and the inputs of the model.
        """
        if not self._wanted:
            return {}
        feeds = {name: known[name] for name in self._inputs}
        arrays = run_padded(self._session, self._model, feeds, self._wanted)
        return dict(zip(self._wanted, arrays, strict=True))


class StageRuns:
    """Computes the tensors of stages, and keeps those of the present stage and of the one before.

    What is kept changes no bit: a stage is always computed from the one before, by the same graph.

    Args:
        model: The model.
        plan: Its stages; None where stages are only run, as in a worker.
        room: Bytes that kept tensors may take.

    Attributes:
        kept_bytes: Bytes that they take.
    """

    def __init__(self, model: Model, plan: StagePlan | None, room: int) -> None:
        self._model, self._plan, self._room = model, plan, room
        self._path: list[Stage] = []
        self._legs: dict[Stage, Leg] = {}
        self._kept: dict[Hashable, dict[Stage, StageTensors]] = {}
        self.kept_bytes = 0

    def __reduce__(self) -> Any:
        """Return what a worker has of it: it keeps nothing, for it sees a batch once."""
        return StageRuns, (self._model, None, 0)

    def toward(self, tensors: Sequence[str]) -> Stage | None:
        """Return the stage from which tensors are computed, None for the inputs of the model.

        What was kept of stages that are not near it is forgotten.

        Args:
            tensors: Names of tensors that nodes of the model compute.
        """
        stage = None if self._plan is None else self._plan.before(tensors)
        self._path = [] if stage is None else [*stage.path]
        self._legs = {each: leg for each, leg in self._legs.items() if each in self._path}
        for kept in self._kept.values():
            for each in kept.keys() - self._path[-2:]:
                self._forget(kept, each)
        self._kept = {batch: kept for batch, kept in self._kept.items() if kept}
        return stage

    def tensors(self, stage: Stage, inputs: Feeds, batch: Hashable, device: Device) -> StageTensors:
        """Return the tensors of a stage for one batch of examples.

        Args:
            stage: The stage.
            inputs: The examples.
            batch: A name of these examples, under which tensors are kept; None keeps nothing.
            device: Where to run.
        """
        kept = self._kept.get(batch, {})
        if stage not in kept:
            known: StageTensors = {}
            if stage.before is not None:
                known = self.tensors(stage.before, inputs, batch, device)
            if stage not in self._legs:
                wanted = [name for name in stage.tensors if name not in known]
                self._legs[stage] = Leg(self._model, tuple(known), wanted, device)
            known = known | self._legs[stage].tensors({**inputs, **known})
            found = {name: known[name] for name in stage.tensors}
            if batch is not None and stage.macs * _examples(found) >= WORTH_KEEPING * _size(found):
                self._keep(self._kept.setdefault(batch, {}), stage, found)
            return found
        return kept[stage]

    def _keep(self, kept: dict[Stage, StageTensors], stage: Stage, found: StageTensors) -> None:
        """Keep tensors of one batch if they fit, if need be in the place of those before them."""
        if stage not in self._path[-2:]:
            return
        if not self._fits(found) and stage.before in kept:
            self._forget(kept, stage.before)
        if self._fits(found):
            kept[stage] = found
            self.kept_bytes += _size(found)

    def _fits(self, found: StageTensors) -> bool:
        return self.kept_bytes + _size(found) <= self._room

    def _forget(self, kept: dict[Stage, StageTensors], stage: Stage) -> None:
        self.kept_bytes -= _size(kept.pop(stage))


def _examples(tensors: StageTensors) -> int:
    return max((len(array) for array in tensors.values()), default=0)


def _size(tensors: StageTensors) -> int:
    return sum(array.nbytes for array in tensors.values())
