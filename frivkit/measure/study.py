"""The study: the one door through which a metric sees a model and its data."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Cache
from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site, SiteMap, find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.compared_runs import ComparedRuns, scored
from frivkit.measure.kept_results import KeptResults
from frivkit.measure.scope import Scope
from frivkit.measure.unchanged import Unchanged
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import gram_room, plan_gram_passes
from frivkit.runtime.moment_pass import ActivationReader, accumulate_moments
from frivkit.tasks.choose import choose_tasks
from frivkit.tasks.classify import ClassLabels, SameLabels
from frivkit.tasks.doubt import some_outputs
from frivkit.tasks.memory import LEAST
from frivkit.units.masks import Mask
from frivkit.units.moments import Moments, read_moments, write_moments
from frivkit.units.perturbations import Perturbation
from frivkit.units.selector import UnitSelector

GROUPS = 10
"""Runs of consecutive examples whose moments are kept apart, for intervals."""


class Study:
    """A model, its data, how units are read, and everything that was already computed.

    Args:
        model: The model, its shapes known (see ``frivkit.runtime.opening.prepare_model``).
        data: The examples.
        execution: How to run the model; None takes the defaults.
        site_map: The model's sites; None finds them.
        scope: What is studied; None takes all sites, by the paper's protocol.
        cache: Where results are kept; None keeps nothing.

    Attributes:
        model: The model.
        site_map: Its sites, couplings and skipped nodes.
        sites: The sites under study, in the order of the graph: all of them, or those asked for.
        data: The examples.
        execution: How the model is run.
        protocol: ``"paper"`` or ``"reference"``.
        task: How the outputs of a perturbed network are compared with those of the intact one.
        tasks: The tasks of all outputs, this one first.
        warnings: What a reader of the results must know; metrics add to it.
        reused: How many results of each kind came out of the cache.

    Raises:
        ModelError: there is no such output.
    """

    def __init__(
        self,
        model: Model,
        data: Dataset,
        execution: Execution | None = None,
        *,
        site_map: SiteMap | None = None,
        scope: Scope | None = None,
        cache: Cache | None = None,
    ) -> None:
        scope = scope or Scope()
        self.model, self.data = model, data
        self.execution = execution or Execution()
        self._output = model.output(scope.output)
        self.site_map = find_sites(model, self._output) if site_map is None else site_map
        self.sites = self.site_map.sites if scope.sites is None else scope.sites
        self.protocol = scope.protocol
        self.warnings: list[str] = []
        self._scope = scope
        cache = cache or Cache(None)
        self.tasks = choose_tasks(
            model, self.execution.labels, self._output, values=partial(self._values, cache)
        )
        self.task = self.tasks[0]
        fixed = {"runtime": self.execution.placement.fingerprint, "output": self._output}
        if self.task.fingerprint:
            fixed["labels"] = self.task.fingerprint
        self._kept = KeptResults(cache, model.identity, data.digest, fixed)
        self.reused = self._kept.reused
        self._runs = ComparedRuns(
            model, data, self.execution, site_map=self.site_map, task=self.task, kept=self._kept
        )
        self._predictions: NDArray[Any] | None = None
        self._moments: dict[tuple[str, bool], dict[str, tuple[Moments, ...]]] = {}

    @property
    def seed(self) -> int:
        """The seed of all random choices."""
        return self.execution.seed

    @property
    def memory(self) -> int:
        """See :class:`frivkit.runtime.execution.Execution`."""
        return self.execution.memory

    @property
    def examples(self) -> int:
        """The number of examples."""
        return self.data.examples

    @property
    def complete(self) -> bool:
        """Whether the sites under study stand for the model: all, or some that were so named."""
        return self._scope.whole or len(self.sites) == len(self.site_map.sites)

    @property
    def output(self) -> str:
        """The output that was asked for, or the first."""
        return self._output

    def units(self, default: str) -> UnitSelector:
        """Return the unit selector that the user asked for, else the one named ``default``."""
        name = self._scope.units or default
        selector: UnitSelector = installed().load("unit_selectors", name)
        return selector

    def labels(self) -> NDArray[np.int32]:
        """Return the labels of the intact network.

        Returns:
            Shape (n, positions): one position, unless the network labels pixels or tokens.

        Raises:
            ModelError: the model gives NaN for an example, or its task has no labels.
        """
        self._check_labels()
        return self.predictions()

    def predictions(self) -> NDArray[Any]:
        """Return what the task reads from the outputs of the intact network, shape (n, ...).

        Raises:
            ModelError: the model gives NaN for an example.
            DataError: the predictions of all examples do not fit into memory.
        """
        if self._predictions is None:
            self._predictions = self._runs.baseline("labels")
            undefined = self.task.comparer.undefined(self._predictions) > 0
            if undefined.any():
                raise ModelError(
                    f"{self.model.path.name} gives NaN for {undefined.sum()} of {self.examples} "
                    f"examples, first for example {int(undefined.argmax())} of "
                    f"{self.data.description}"
                )
        return self._predictions

    def outputs(self) -> NDArray[Any]:
        """Return the first outputs of the intact network, shape (n, classes, ...)."""
        return self._runs.baseline("outputs")

    def constant_agreement(self) -> float:
        """Return the agreement of a network that gives the same for every input, in [0, 1].

        A perturbed network that agrees no better may be dead: see ``frivkit.tasks.constant``.
        """
        return self._runs.constant_agreement(self.predictions())

    def unchanged(
        self,
        changes: Sequence[Perturbation],
        selector: UnitSelector | None = None,
        *,
        among: NDArray[np.int64] | None = None,
    ) -> Unchanged:
        """Return how far the network agrees with the intact one under each perturbation.

        Masks that act on one site run only what lies behind it.  Perturbations that do the same
        thing are run once, and one that does nothing is not run at all.

        Args:
            changes: What to do; all of one kind, and on the same sites.
            selector: How the flags of masks are read; None for other perturbations.
            among: The examples that are run, indices that increase, n of them; None takes all.

        Raises:
            ValueError: the changes are of several kinds, or act on different sites, or examples are
                compared by all others and only some are run.
            ModelError: weights to be edited are computed in the graph.
        """
        comparer = self.task.comparer
        original = self.predictions() if among is None else self.predictions()[among]
        by_label = isinstance(comparer, ClassLabels)
        runs = self._under(changes, selector, scores=not by_label, among=among)
        shares = np.empty((len(changes), len(original)))
        undefined = np.empty(shares.shape, np.bool_)
        for i, run in enumerate(runs):
            found = scored(comparer, original, run) if by_label else run
            shares[i], undefined[i] = found[:, 0], found[:, 1] > 0
        return Unchanged(shares, undefined)

    @property
    def changes_at_once(self) -> int:
        """How many perturbations :meth:`unchanged` can compare within half of the memory bound.

        Half of :data:`frivkit.tasks.memory.LEAST` bytes are always allowed.
        """
        kept = 16 * self.examples  # the shares and what is undefined, before they are taken apart
        compared = 9 * self.examples
        room = max(self.memory, LEAST) // 2
        return max(1, room // (max(kept, self.predictions().nbytes) + compared))

    def ablate(self, masks: Sequence[Mask], selector: UnitSelector) -> NDArray[np.int32]:
        """Return the labels of the network under each mask.

        Masks that act on one site run only what lies behind it.  Masks that do the same thing are
        run once, and one that ablates nothing is not run at all.  :meth:`unchanged` takes less
        memory, and tasks that have no labels, too.

        Args:
            masks: What to ablate; all act on the same sites.
            selector: How the masks' flags are read.

        Returns:
            Shape (masks, n, positions); ``frivkit.runtime.labels.UNDEFINED`` where the ablated
            network gives NaN.

        Raises:
            ValueError: the masks act on different sites.
            ModelError: the task has no labels.
        """
        self._check_labels()
        return self._stacked(self._under(masks, selector, scores=False))

    def perturb(self, changes: Sequence[Perturbation]) -> NDArray[np.int32]:
        """Return the labels of the network under noise, edits of weights, or folds.

        Args:
            changes: What to do; all of one kind, and on the same sites.

        Returns:
            As :meth:`ablate` does, shape (changes, n, positions).

        Raises:
            ValueError: the changes are of several kinds, or act on different sites.
            ModelError: weights to be edited are computed in the graph, or the task has no labels.
        """
        self._check_labels()
        return self._stacked(self._under(changes, None, scores=False))

    def _values(self, cache: Cache, output: str) -> NDArray[Any] | None:
        """Return what an output gives for some examples, by which its task is chosen."""
        placement = self.execution.placement
        fixed = {"runtime": placement.fingerprint, "output": output}
        kept = KeptResults(cache, self.model.identity, self.data.digest, fixed)
        key = kept.key("values", "")
        with kept.stored(key) as entry:
            if entry is not None:
                return entry.read("values")
            found = some_outputs(self.model, self.data, placement, output)
            if found is not None:
                with cache.build(key) as writer:
                    writer.put("values", found)
            return found

    def _check_labels(self) -> None:
        """Raise an error if the task has no labels."""
        if not isinstance(self.task.comparer, SameLabels):
            raise ModelError(
                f"the outputs of {self.model.path.name} are compared by the task {self.task.name}, "
                "which has no labels; give --task classify"
            )

    def _under(
        self,
        changes: Sequence[Perturbation],
        selector: UnitSelector | None,
        *,
        scores: bool,
        among: NDArray[np.int64] | None = None,
    ) -> list[NDArray[Any]]:
        """Run every change that differs once; see ``ComparedRuns.perturbed``."""
        if len({(type(change), change.sites) for change in changes}) > 1:
            raise ValueError("the changes of one call must be of one kind, on the same sites")
        if among is not None and self.task.comparer.of_set:
            raise ValueError(f"the task {self.task.name} compares an example by all others")
        found = {"": self.predictions() if among is None else self.predictions()[among]}
        if scores:
            found[""] = np.tile([1.0, 0.0], (len(found[""]), 1))
        distinct = {change.digest: change for change in changes if not change.idle}
        if distinct:
            runs = self._runs.perturbed(
                list(distinct.values()), selector, scores=scores, among=among
            )
            found |= zip(distinct, runs, strict=True)
        return [found["" if change.idle else change.digest] for change in changes]

    def _stacked(self, labels: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return labels as one array, shape (changes, n, positions)."""
        none = self.predictions()[np.newaxis][:0]
        return np.stack(labels) if labels else none

    def fits(self, selector: UnitSelector, site: Site) -> bool:
        """Whether the second moments of a site fit into the memory bound."""
        return gram_room(self.memory, selector.count(site)) >= 1

    def moments(
        self, selector: UnitSelector, sites: Sequence[Site] | None = None, *, exact: bool = False
    ) -> Iterator[tuple[Site, tuple[Moments, ...]]]:
        """Return the second moments of sites over every place of every example.

        Takes one pass over the data for all sites whose Grams fit into the memory bound together;
        let go of one site's moments before taking the next.

        Args:
            selector: How units are read.
            sites: Which sites; None takes all that are under study.
            exact: Sum in float64 also within a batch, rather than in shifted float32.

        Yields:
            Each site, in order, with the moments of up to ``GROUPS`` runs of consecutive examples,
            as many for every site; ``frivkit.units.moments.merged`` adds them up.

        Raises:
            ModelError: the Gram of a site alone does not fit (see :meth:`fits`).
        """
        self._runs.forget()
        requested = self.sites if sites is None else tuple(sites)
        passes, groups = plan_gram_passes(self.memory, requested, selector, GROUPS)
        size = groups * sum(8 * selector.count(s) ** 2 for s in requested)
        keep = self._kept.cache.takes(size)
        extra = {"exact": str(exact), "groups": str(groups)}
        group = (f"{selector.name} in {groups}", exact)
        kept = self._moments.setdefault(group, {}) if len(passes) == 1 else {}
        for together in passes:
            keys = {
                s.name: self._kept.key("moments", s.name, selector.name, extra) for s in together
            }
            found = {name: parts for name, parts in kept.items() if name in keys}
            for name, key in keys.items():
                entry = None if name in found else self._kept.cache.get(key)
                if entry is not None:
                    with entry:
                        found[name] = read_moments(entry)
                    self._kept.count("moments", key)
            missing = [site for site in together if site.name not in found]
            if missing:
                sums = accumulate_moments(
                    self.model,
                    missing,
                    selector,
                    self.data,
                    self.execution,
                    groups=groups,
                    exact=exact,
                )
                for name, parts in sums.items():
                    if keep:
                        with self._kept.cache.build(keys[name]) as writer:
                            write_moments(writer, parts)
                    self._kept.built(keys[name])
                    found[name] = tuple(parts)
            if len(passes) == 1:
                kept |= found
            for site in together:
                yield site, found.pop(site.name)

    def activations(
        self,
        selector: UnitSelector,
        sites: Sequence[Site] | None = None,
        *,
        batch: int | None = None,
    ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """Return activations batch by batch, for what moments do not tell.

        Args:
            selector: How units are read.
            sites: Which sites; None takes all that are under study.
            batch: Examples at a time; None takes as many as memory allows.

        Yields:
            The index of the batch's first example, and for each site by name its activations with
            units as columns, shape (rows, units); the rows of one example follow each other.
        """
        self._runs.forget()
        requested = self.sites if sites is None else tuple(sites)
        reader = ActivationReader(self.model, requested, selector, self.execution.placement)
        data, most = self.data, reader.batch_size(self.memory)

        def rows_of(first: int, last: int) -> tuple[int, dict[str, NDArray[Any]]]:
            runs = [
                reader.rows(data.read(start, min(start + most, last)).inputs)
                for start in range(first, last, most)
            ]
            return first, {s.name: np.concatenate([run[s.name] for run in runs]) for s in requested}

        runner = self.execution.runner
        return runner.map_ranges(self.examples, batch or most, rows_of, "activations")
