"""The study: the one door through which a metric sees a model and its data."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Cache, Entry, Key
from frivkit.data import Dataset
from frivkit.errors import ModelError
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site, SiteMap, find_sites
from frivkit.hooks.registry import installed
from frivkit.measure.scope import Scope
from frivkit.runtime.batch_loops import run_baseline, run_perturbed
from frivkit.runtime.execution import Execution
from frivkit.runtime.labels import UNDEFINED, LabelReader
from frivkit.runtime.memory import gram_room, plan_gram_passes
from frivkit.runtime.moment_pass import ActivationReader, accumulate_moments
from frivkit.runtime.perturbed_model import BaselineModel, PerturbedModel
from frivkit.units.masks import Mask
from frivkit.units.moments import Moments, read_moments, write_moments
from frivkit.units.perturbations import Perturbation
from frivkit.units.selector import UnitSelector

GROUPS = 10
"""Runs of consecutive examples whose moments are kept apart, for intervals."""
WORTH_KEEPING = 100
"""Multiply-accumulates a byte above which reading an entry back beats computing it again."""


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
        self.reused: dict[str, int] = {}
        self._scope = scope
        self._cache = cache or Cache(None)
        self._label_reader = LabelReader.of_output(model.graph, self._output, self.execution.labels)
        self._labels: NDArray[np.int32] | None = None
        self._built: set[str] = set()
        self._entry_bytes = 0
        self._moments: dict[tuple[str, bool], dict[str, tuple[Moments, ...]]] = {}

    @property
    def seed(self) -> int:
        """The seed of all random choices."""
        return self.execution.seed

    @property
    def memory(self) -> int:
        """The bytes that activations, and what is computed of them, may take."""
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
    def label_reader(self) -> LabelReader:
        """What reads labels from the output."""
        return self._label_reader

    @property
    def regression(self) -> bool:
        """Whether the output holds numbers, of which only changes count."""
        return self._label_reader.regression

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
            ModelError: the model gives NaN for an example.
        """
        if self._labels is None:
            self._labels = self._baseline("labels")
            undefined = (self._labels == UNDEFINED).any(axis=1)
            if undefined.any():
                raise ModelError(
                    f"{self.model.path.name} gives NaN for {undefined.sum()} of {self.examples} "
                    f"examples, first for example {int(undefined.argmax())} of "
                    f"{self.data.description}"
                )
        return self._labels

    def outputs(self) -> NDArray[Any]:
        """Return the outputs of the intact network, shape (n, classes, ...)."""
        return self._baseline("outputs")

    def ablate(self, masks: Sequence[Mask], selector: UnitSelector) -> NDArray[np.int32]:
        """Return the labels of the network under each mask.

        Masks that act on one site run only what lies behind it.  Masks that do the same thing are
        run once, and one that ablates nothing is not run at all.

        Args:
            masks: What to ablate; all act on the same sites.
            selector: How the masks' flags are read.

        Returns:
            Shape (masks, n, positions); ``frivkit.runtime.labels.UNDEFINED`` where the ablated
            network gives NaN.

        Raises:
            ValueError: the masks act on different sites.
        """
        return self._under(masks, selector)

    def perturb(self, changes: Sequence[Perturbation]) -> NDArray[np.int32]:
        """Return the labels of the network under noise, edits of weights, or folds.

        Args:
            changes: What to do; all of one kind, and on the same sites.

        Returns:
            As :meth:`ablate` does, shape (changes, n, positions).

        Raises:
            ValueError: the changes are of several kinds, or act on different sites.
            ModelError: weights to be edited are computed in the graph.
        """
        return self._under(changes, None)

    def _under(
        self, changes: Sequence[Perturbation], selector: UnitSelector | None
    ) -> NDArray[np.int32]:
        """Run every change that differs once."""
        if len({(type(change), change.sites) for change in changes}) > 1:
            raise ValueError("the changes of one call must be of one kind, on the same sites")
        found = {"": self.labels()}
        distinct = {change.digest: change for change in changes if not change.idle}
        if distinct:
            found |= zip(distinct, self._perturbed(list(distinct.values()), selector), strict=True)
        labels = [found["" if change.idle else change.digest] for change in changes]
        return np.stack(labels) if labels else np.empty((0, *found[""].shape), np.int32)

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
        requested = self.sites if sites is None else tuple(sites)
        passes, groups = plan_gram_passes(self.memory, requested, selector, GROUPS)
        keep = self._cache.takes(groups * sum(8 * selector.count(s) ** 2 for s in requested))
        extra = {"exact": str(exact), "groups": str(groups)}
        group = (f"{selector.name} in {groups}", exact)
        kept = self._moments.setdefault(group, {}) if len(passes) == 1 else {}
        for together in passes:
            keys = {s.name: self._key("moments", s.name, selector.name, extra) for s in together}
            found = {name: parts for name, parts in kept.items() if name in keys}
            for name, key in keys.items():
                entry = None if name in found else self._cache.get(key)
                if entry is not None:
                    with entry:
                        found[name] = read_moments(entry)
                    self._count("moments", key)
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
                        with self._cache.build(keys[name]) as writer:
                            write_moments(writer, parts)
                    self._built.add(keys[name].digest)
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
        requested = self.sites if sites is None else tuple(sites)
        reader = ActivationReader(self.model, requested, selector, self.execution.placement)
        most = reader.batch_size(self.memory)

        def rows_of(first: int, last: int) -> tuple[int, dict[str, NDArray[Any]]]:
            runs = [
                reader.rows(self.data.read(start, min(start + most, last)).inputs)
                for start in range(first, last, most)
            ]
            return first, {s.name: np.concatenate([run[s.name] for run in runs]) for s in requested}

        runner = self.execution.runner
        return runner.map_ranges(self.examples, batch or most, rows_of, "activations")

    def _baseline(self, name: str) -> NDArray[Any]:
        """Return ``"labels"`` or ``"outputs"`` of the network as it is, cached if possible."""
        key = self._key("outputs", "")
        with self._stored(key) as entry:
            if entry is not None and name in entry.names:
                self._count("baseline outputs", key)
                return entry.read(name)
            self._built.add(key.digest)
            baseline = BaselineModel(
                self.model, self._output, self.execution.placement, self.memory
            )
            parts: list[NDArray[Any]] = []
            with self._cache.build(key) as writer:
                for outputs in run_baseline(baseline, self.data, self.execution.runner):
                    labels = self._label_reader.labels(outputs)
                    if self._cache.takes(outputs.nbytes // len(outputs) * self.examples):
                        writer.append("outputs", outputs)
                    writer.append("labels", labels)
                    parts.append(labels if name == "labels" else outputs)
            return np.concatenate(parts)

    def _perturbed(
        self, changes: Sequence[Perturbation], selector: UnitSelector | None
    ) -> NDArray[np.int32]:
        sites = [site for site in self.site_map.sites if site.name in changes[0].sites]
        digests = hashlib.sha256("".join(change.digest for change in changes).encode()).hexdigest()
        site = sites[0].name if len(sites) == 1 else ""
        read_by = "" if selector is None else selector.name
        key = self._key("ablation", site, read_by, {"masks": digests})
        with self._stored(key) as entry:
            if entry is not None:
                self._count("ablation runs", key, len(changes))
                return entry.read("labels")
            self._built.add(key.digest)
            what = f"layer {sites[0].layer}" if len(sites) == 1 else "network"
            labels = self._run(changes, selector, sites, what)
            with self._cache.build(key) as writer:
                writer.put("labels", labels)
            return labels

    def _run(
        self,
        changes: Sequence[Perturbation],
        selector: UnitSelector | None,
        sites: Sequence[Site],
        what: str,
    ) -> NDArray[np.int32]:
        """Run changes, with the entries of masks from the cache where that pays."""
        kind = type(changes[0])
        outputs = self.outputs() if self._label_reader.regression else None
        if outputs is not None and self._label_reader.spread is None:
            self._label_reader = self._label_reader.fitted([outputs])
        path = PerturbedModel(
            self.model, sites, self._output, self.execution.placement, self.memory, kind=kind
        )

        def run(
            some: Sequence[Perturbation], cached: Entry | None = None, store: Any = None
        ) -> NDArray[np.int32]:
            return run_perturbed(
                path,
                self.data,
                some,
                selector,
                label_reader=self._label_reader,
                baseline=lambda a, b: None if outputs is None else outputs[a:b],
                what=what,
                runner=self.execution.runner,
                cached=cached,
                store=store,
            )

        if kind is not Mask:
            size = max(1, self.memory // max(1, path.weight_bytes()))
            return np.concatenate(
                [run(changes[i : i + size]) for i in range(0, len(changes), size)]
            )
        size = path.prefix_bytes()
        small = self._cache.takes(self._entry_bytes + size * self.examples)
        if len(sites) > 1 or not small or path.prefix_macs() < WORTH_KEEPING * size:
            return run(changes)
        key = self._key("entries", sites[0].name)
        entry = self._cache.get(key)
        if entry is not None:
            with entry:
                self._count("entry activations", key)
                return run(changes, cached=entry)
        self._built.add(key.digest)
        self._entry_bytes += size * self.examples
        with self._cache.build(key) as writer:
            return run(changes, store=writer)

    @contextmanager
    def _stored(self, key: Key) -> Iterator[Entry | None]:
        with self._cache.building(key) as entry:
            if entry is None:
                yield None
            else:
                with entry:
                    yield entry

    def _key(
        self, what: str, site: str, selector: str = "", extra: dict[str, str] | None = None
    ) -> Key:
        fixed = {"runtime": self.execution.placement.fingerprint, "output": self._output}
        shared = fixed | (extra or {})
        if self._label_reader.fingerprint:
            shared |= {"labels": self._label_reader.fingerprint}
        return Key(self.model.identity, self.data.digest, site, selector, what, shared)

    def _count(self, what: str, key: Key, number: int = 1) -> None:
        """Note what an earlier run had kept; what this one built itself is no news."""
        if key.digest not in self._built:
            self.reused[what] = self.reused.get(what, 0) + number
