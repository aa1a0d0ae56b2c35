"""Runs of a network as it is and under perturbations, read by its task and compared."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Entry
from frivkit.data import Dataset
from frivkit.data.subset import Subset
from frivkit.errors import ModelError
from frivkit.graph.instrument.stages import STEP, StagePlan
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site, SiteMap
from frivkit.measure.kept_results import KeptResults
from frivkit.runtime.batch_loops import run_baseline, run_perturbed
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import room_for_stages
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.runtime.stage_runs import StageRuns
from frivkit.tasks.choose import OutputTask
from frivkit.tasks.constant import ConstantNetwork, is_label
from frivkit.tasks.memory import check_room
from frivkit.tasks.task import Comparer
from frivkit.units.masks import Mask
from frivkit.units.perturbations import Perturbation
from frivkit.units.selector import UnitSelector

WORTH_KEEPING = 100
"""Multiply-accumulates a byte above which predictions an entry back beats computing it again."""

STAGES = {"stages": str(STEP)}
"""What the last bits of a perturbed network depend on beside the model, for keys."""


class ComparedRuns:
    """The network as it is, and under perturbations.

    Args:
        model: The model.
        data: The examples.
        execution: How to run the model.
        site_map: The model's sites.
        task: How outputs are compared.
        kept: Where results are kept.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        execution: Execution,
        *,
        site_map: SiteMap,
        task: OutputTask,
        kept: KeptResults,
    ) -> None:
        self._model, self._data, self._execution = model, data, execution
        self._site_map, self._task, self._kept = site_map, task, kept
        self._comparer = task.comparer
        self._rows: dict[int, tuple[int, ...]] = {}
        self._entry_bytes = 0
        self._path: tuple[object, PerturbedModel] | None = None

    def baseline(self, name: str) -> NDArray[Any]:
        """Return something of the network as it is.

        Args:
            name: ``"labels"`` for what its task reads, ``"outputs"`` for the first output of the
                task, both of shape (n, ...); ``"constant"`` for the agreement of the constant
                network, shape (1,), where predictions are no labels.

        Raises:
            DataError: what is read from all examples does not fit into memory.
            ModelError: an output has other rows in one batch than in another.
        """
        key = self._kept.key("outputs", "")
        with self._kept.stored(key) as entry:
            if entry is not None and name in entry.names:
                self._kept.count("baseline outputs", key)
                return entry.read(name)
            self._kept.built(key)
            memory, comparer = self._execution.memory, self._fitted()
            constant = ConstantNetwork(comparer, memory // 4)
            parts: list[NDArray[Any]] = []
            with self._kept.cache.build(key) as writer:
                for outputs in self._run_baseline():
                    self._check_rows(outputs)
                    predictions = comparer.read(outputs)
                    check_room(predictions, self._data.examples, memory)
                    size = outputs[0].nbytes // len(outputs[0]) * self._data.examples
                    if self._kept.cache.takes(size):
                        writer.append("outputs", outputs[0])
                    writer.append("labels", predictions)
                    if name in ("labels", "outputs"):
                        parts.append(predictions if name == "labels" else outputs[0])
                    if not is_label(predictions):
                        constant.add(outputs, predictions)
                if not is_label(predictions):
                    agreement = np.array([constant.agreement()])
                    writer.put("constant", agreement)
                    parts = [agreement] if name == "constant" else parts
            return np.concatenate(parts)

    def _check_rows(self, outputs: Sequence[NDArray[Any]]) -> None:
        """Raise an error if an output has other rows than in the batches before.

        How many boxes a detector keeps depends on its input, which no shape tells.

        Raises:
            ModelError: it has.
        """
        for i, output in enumerate(outputs):
            rows = self._rows.setdefault(i, output.shape[1:])
            if output.shape[1:] != rows:
                raise ModelError(
                    f"output {self._task.outputs[i]!r} of {self._model.path.name} has shape "
                    f"{output.shape[1:]} for some examples and {rows} for others; choose another "
                    "by --output-name"
                )

    def constant_agreement(self, predictions: NDArray[Any]) -> float:
        """Return the agreement of the best constant network, in [0, 1].

        Args:
            predictions: Those of the network as it is.
        """
        if not is_label(predictions):
            return float(self.baseline("constant")[0])
        constant = ConstantNetwork(self._comparer, predictions.nbytes)
        constant.add([], predictions)
        return constant.agreement()

    def perturbed(
        self,
        changes: Sequence[Perturbation],
        selector: UnitSelector | None,
        *,
        scores: bool,
        among: NDArray[np.int64] | None = None,
    ) -> NDArray[Any]:
        """Return what the network gives under perturbations of the same sites.

        Args:
            changes: The perturbations; none is idle.
            selector: How the flags of masks are read.
            scores: Whether to compare predictions at once, and to keep none of them.
            among: The examples that are run, n indices that increase; None takes all.

        Returns:
            The predictions, shape (changes, n, ...); with ``scores`` what :func:`scored` gives of
            them, shape (changes, n, 2).
        """
        sites = [site for site in self._site_map.sites if site.name in changes[0].sites]
        digests = hashlib.sha256("".join(change.digest for change in changes).encode()).hexdigest()
        site = sites[0].name if len(sites) == 1 else ""
        read_by = "" if selector is None else selector.name
        what = "scores" if scores else "labels"
        extra = STAGES | {"masks": digests} | ({"kept": what} if scores else {})
        if among is not None:
            extra["among"] = hashlib.sha256(among.tobytes()).hexdigest()
        key = self._kept.key("ablation", site, read_by, extra)
        with self._kept.stored(key) as entry:
            if entry is not None:
                self._kept.count("ablation runs", key, len(changes))
                return entry.read(what)
            self._kept.built(key)
            shown = f"layer {sites[0].layer}" if len(sites) == 1 else "network"
            if among is None:
                found = self._in_parts(changes, selector, sites, shown, scores=scores)
            else:
                found = self._run(changes, selector, sites, shown, scores=scores, among=among)
            with self._kept.cache.build(key) as writer:
                writer.put(what, found)
            return found

    def _in_parts(
        self,
        changes: Sequence[Perturbation],
        selector: UnitSelector | None,
        sites: Sequence[Site],
        what: str,
        *,
        scores: bool,
    ) -> NDArray[Any]:
        """Run perturbations; where an example is compared by all others, as many as fit at once."""
        if not (scores and self._comparer.of_set):
            return self._run(changes, selector, sites, what, scores=scores)
        original = self.baseline("labels")
        most = max(1, self._execution.memory // (2 * max(1, original.nbytes)))
        found = []
        for first in range(0, len(changes), most):
            some = self._run(changes[first : first + most], selector, sites, what, scores=False)
            found += [scored(self._comparer, original, predictions) for predictions in some]
        return np.stack(found)

    def _run(
        self,
        changes: Sequence[Perturbation],
        selector: UnitSelector | None,
        sites: Sequence[Site],
        what: str,
        *,
        scores: bool,
        among: NDArray[np.int64] | None = None,
    ) -> NDArray[Any]:
        """Run perturbations, with the entries of masks from the cache where that pays."""
        kind, memory = type(changes[0]), self._execution.memory
        comparer = self._fitted()
        original = self.baseline("labels") if scores else None
        data = self._data
        if among is not None:
            data = Subset(data, among, "examples drawn")
            original = None if original is None else original[among]
        _, *more = self._task.outputs
        path = self._path_of(sites, kind)

        def read(outputs: Sequence[NDArray[Any]], first: int, last: int) -> NDArray[Any]:
            predictions = comparer.read(outputs)
            return (
                predictions
                if original is None
                else scored(comparer, original[first:last], predictions)
            )

        def run(
            some: Sequence[Perturbation], cached: Entry | None = None, store: Any = None
        ) -> NDArray[Any]:
            return run_perturbed(
                path,
                data,
                some,
                selector,
                read=read,
                what=what,
                runner=self._execution.runner,
                cached=cached,
                store=store,
            )

        if kind is not Mask:
            size = max(1, memory // max(1, path.weight_bytes()))
            return np.concatenate(
                [run(changes[i : i + size]) for i in range(0, len(changes), size)]
            )
        size = path.prefix_bytes()
        small = self._kept.cache.takes(self._entry_bytes + size * self._data.examples)
        alone = self._execution.engine.workers == 1  # else each worker computes its prefixes
        apart = not alone or len(sites) > 1 or more or among is not None
        if apart or not small or path.prefix_macs() < WORTH_KEEPING * size:
            return run(changes)
        key = self._kept.key("entries", sites[0].name, "", STAGES)
        entry = self._kept.cache.get(key)
        if entry is not None:
            with entry:
                self._kept.count("entry activations", key)
                return run(changes, cached=entry)
        self._kept.built(key)
        self._entry_bytes += size * self._data.examples
        with self._kept.cache.build(key) as writer:
            return run(changes, store=writer)

    def _path_of(self, sites: Sequence[Site], kind: type[Perturbation]) -> PerturbedModel:
        """Return the path for perturbations of some sites; the last one is kept."""
        wanted = (kind, [site.name for site in sites])
        if self._path is None or self._path[0] != wanted:
            self._path = None  # before the next is made
            main, *more = self._task.outputs
            path = PerturbedModel(
                self._model,
                sites,
                main,
                self._execution.placement,
                self._execution.memory,
                kind=kind,
                more=more,
                stages=self._stages,
            )
            self._path = wanted, path
        return self._path[1]

    @cached_property
    def _stages(self) -> StageRuns:
        """What computes the tensors in front of a site, from stage to stage."""
        main, memory = self._task.outputs[0], self._execution.memory
        plan = StagePlan(self._model, main, self._site_map.sites)
        return StageRuns(
            self._model, plan, room_for_stages(self._model.graph, memory, self._model.batch)
        )

    def forget(self) -> None:
        """Let go of sessions and tensors that are kept for the next perturbations."""
        self._path = None
        self.__dict__.pop("_stages", None)

    def _run_baseline(self) -> Any:
        """Yield the outputs of the task, batch by batch."""
        main, *more = self._task.outputs
        memory, placement = self._execution.memory, self._execution.placement
        baseline = BaselineModel(self._model, main, placement, memory, more=more)
        return run_baseline(baseline, self._data, self._execution.runner)

    def _fitted(self) -> Comparer:
        """Return the comparer, which has seen the outputs of the network as it is if need be."""
        if self._comparer.spread_needed:
            self._comparer = self._comparer.fitted(self._run_baseline())
        return self._comparer


def scored(comparer: Comparer, original: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return the agreement of each example and the number of its undefined predictions.

    Args:
        comparer: Compares predictions.
        original: The predictions of the network as it is, shape (n, ...).
        other: Those of another run, shape (n, ...).

    Returns:
        Shape (n, 2).
    """
    return np.stack([comparer.agreement(original, other), comparer.undefined(other)], axis=1)
