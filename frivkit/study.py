"""The study: the one door through which a metric sees a model and its data."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.cache import Cache, Entry, Key
from frivkit.data import Dataset
from frivkit.engine.executor import run_intact, run_masks
from frivkit.engine.labels import UNDEFINED, labels_of, threshold_of
from frivkit.engine.runs import Intact, Path
from frivkit.engine.session import Device
from frivkit.errors import ModelError, UsageError
from frivkit.graph.model import Model
from frivkit.graph.sites import Site, Survey
from frivkit.masks import Mask
from frivkit.progress import Progress, Silent
from frivkit.units import UnitSelector

PROTOCOLS = ("paper", "reference")
WORTH_KEEPING = 100
"""Multiply-accumulates a byte above which reading an entry back beats computing it again."""


class Study:
    """A model, its data, how units are read, and everything that was already worked out.

    Attributes:
        model: The model.
        survey: Its sites, couplings and skipped nodes.
        sites: The sites under study, in the order of the graph: all of them, or those asked for.
        data: The examples.
        protocol: ``"paper"`` or ``"reference"``.
        seed: The seed of all random choices.
        warnings: What a reader of the results must know; metrics add to it.
        reused: How many results of each kind came out of the cache.
    """

    def __init__(
        self,
        model: Model,
        survey: Survey,
        sites: Sequence[Site],
        data: Dataset,
        *,
        output: str,
        select: Callable[[str], UnitSelector],
        cache: Cache | None = None,
        device: Device | None = None,
        progress: Progress | None = None,
        units: str | None = None,
        protocol: str = "paper",
        seed: int = 0,
        memory: int = 2 << 30,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise UsageError(f"no protocol is named {protocol!r}; known: {', '.join(PROTOCOLS)}")
        self.model, self.survey, self.sites, self.data = model, survey, tuple(sites), data
        self.protocol, self.seed = protocol, seed
        self.warnings: list[str] = []
        self.reused: dict[str, int] = {}
        self._output, self._select, self._units = output, select, units
        self._cache = cache or Cache(None)
        self._device = device or Device()
        self._memory = memory
        self._progress = progress or Silent()
        self._threshold = threshold_of(model.graph, output)
        self._labels: NDArray[np.int32] | None = None
        self._built: set[str] = set()

    @property
    def examples(self) -> int:
        """The number of examples."""
        return self.data.examples

    @property
    def complete(self) -> bool:
        """Whether the sites under study are all the sites of the model."""
        return len(self.sites) == len(self.survey.sites)

    def units(self, default: str) -> UnitSelector:
        """Give the unit selector that the user asked for, else the one named ``default``."""
        return self._select(self._units or default)

    def labels(self) -> NDArray[np.int32]:
        """Give the labels of the intact network.

        Returns:
            Shape (n, positions): one position, unless the network labels pixels or tokens.

        Raises:
            ModelError: the model gives NaN for an example.
        """
        if self._labels is None:
            self._labels = self._intact("labels")
            undefined = (self._labels == UNDEFINED).any(axis=1)
            if undefined.any():
                raise ModelError(
                    f"{self.model.path.name} gives NaN for {undefined.sum()} of {self.examples} "
                    f"examples, first for example {int(undefined.argmax())} of {self.data.spec}"
                )
        return self._labels

    def outputs(self) -> NDArray[Any]:
        """Give the outputs of the intact network, shape (n, classes, ...)."""
        return self._intact("outputs")

    def ablate(self, masks: Sequence[Mask], selector: UnitSelector) -> NDArray[np.int32]:
        """Give the labels of the network under each mask.

        Masks that act on one site run only what lies behind it.  Masks that do the same thing are
        run once, and one that ablates nothing is not run at all.

        Args:
            masks: What to ablate; all act on the same sites.
            selector: How the masks' flags are read.

        Returns:
            Shape (masks, n, positions); ``frivkit.engine.labels.UNDEFINED`` where the ablated
            network gives NaN.

        Raises:
            ValueError: the masks act on different sites.
        """
        if len({mask.sites for mask in masks}) > 1:
            raise ValueError("the masks of one call must act on the same sites")
        found = {"": self.labels()}
        distinct = {mask.digest: mask for mask in masks if mask.ablated}
        if distinct:
            labels = self._ablated(list(distinct.values()), selector)
            found |= dict(zip(distinct, labels, strict=True))
        return np.stack([found[mask.digest if mask.ablated else ""] for mask in masks])

    def _intact(self, name: str) -> NDArray[Any]:
        """Give ``"labels"`` or ``"outputs"`` of the intact network, stored if there is a cache."""
        with self._stored("outputs", "") as entry:
            if entry is not None:
                if self._key("outputs", "").digest not in self._built:
                    self._count("baseline outputs")
                return entry.read(name)
            self._built.add(self._key("outputs", "").digest)
            intact = Intact(self.model, self._output, self._device, self._memory)
            parts: list[NDArray[Any]] = []
            with self._cache.build(self._key("outputs", "")) as writer:
                for outputs in run_intact(intact, self.data, self._progress):
                    labels = labels_of(outputs, self._threshold)
                    writer.append("outputs", outputs)
                    writer.append("labels", labels)
                    parts.append(labels if name == "labels" else outputs)
            return np.concatenate(parts)

    def _ablated(self, masks: Sequence[Mask], selector: UnitSelector) -> NDArray[np.int32]:
        sites = [site for site in self.survey.sites if site.name in masks[0].keep]
        digests = hashlib.sha256("".join(mask.digest for mask in masks).encode()).hexdigest()
        extra = {"masks": digests}
        site = sites[0].name if len(sites) == 1 else ""
        with self._stored("ablation", site, selector.name, extra) as entry:
            if entry is not None:
                self._count("ablation runs", len(masks))
                return entry.read("labels")
            path = Path(self.model, sites, self._output, self._device, self._memory)
            what = f"layer {sites[0].layer}" if len(sites) == 1 else "network"
            labels = self._through(path, masks, selector, site, what)
            with self._cache.build(self._key("ablation", site, selector.name, extra)) as writer:
                writer.put("labels", labels)
            return labels

    def _through(
        self, path: Path, masks: Sequence[Mask], selector: UnitSelector, site: str, what: str
    ) -> NDArray[np.int32]:
        """Run masks along a path, with its entries from the cache where that pays."""

        def run(kept: Entry | None = None, keep: Any = None) -> NDArray[np.int32]:
            return run_masks(
                path,
                self.data,
                masks,
                selector,
                threshold=self._threshold,
                what=what,
                progress=self._progress,
                kept=kept,
                keep=keep,
            )

        size = path.entry_bytes()
        fits = size * self.examples <= self._cache.limit // 4
        if not site or not fits or path.entry_macs() < WORTH_KEEPING * size:
            return run()
        key = self._key("entries", site)
        entry = self._cache.get(key)
        if entry is not None:
            with entry:
                if key.digest not in self._built:
                    self._count("entry activations")
                return run(kept=entry)
        self._built.add(key.digest)
        with self._cache.build(key) as writer:
            return run(keep=writer)

    @contextmanager
    def _stored(
        self, what: str, site: str, selector: str = "", extra: dict[str, str] | None = None
    ) -> Iterator[Entry | None]:
        with self._cache.building(self._key(what, site, selector, extra)) as entry:
            if entry is None:
                yield None
            else:
                with entry:
                    yield entry

    def _key(
        self, what: str, site: str, selector: str = "", extra: dict[str, str] | None = None
    ) -> Key:
        fixed = {"runtime": self._device.fingerprint, "output": self._output}
        shared = fixed | (extra or {})
        return Key(self.model.sha256, self.data.digest, site, selector, what, shared)

    def _count(self, what: str, number: int = 1) -> None:
        self.reused[what] = self.reused.get(what, 0) + number
