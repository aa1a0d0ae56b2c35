"""One pass over the data that sums the second moments of every site."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.data import Batch, Dataset
from frivkit.graph.instrument.gram_outputs import with_grams
from frivkit.graph.instrument.perturb import with_outputs
from frivkit.graph.model import Model
from frivkit.graph.sites.site_map import Site
from frivkit.runtime.binding import unchanging
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import batch_size, runs_at_once
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.session import Device, Feeds, Session
from frivkit.runtime.side_by_side import side_by_side
from frivkit.units.moments import Moments, merged
from frivkit.units.selector import UnitSelector

SHIFT_EXAMPLES = 16
"""Examples behind the shift, which needs to be near the mean and no better."""

MomentsBySite = dict[str, Moments]
Shifts = dict[str, NDArray[np.float64]]


def accumulate_moments(
    model: Model,
    sites: Sequence[Site],
    selector: UnitSelector,
    data: Dataset,
    execution: Execution,
    *,
    groups: int,
    exact: bool,
) -> dict[str, list[Moments]]:
    """Sum the moments of sites in one pass.

    Grams are nodes of the graph where the selector's units are whole axes of the tensor; else, and
    for a last batch that a fixed batch size had to fill up, activations are taken out and summed
    in float64.  Batches run side by side, each on one thread, and are added in their order.

    Args:
        model: The model.
        sites: The sites; the squares of their widths must fit into memory together.
        selector: How units are read.
        data: The examples.
        execution: How to run.
        groups: Into how many runs of consecutive examples the data is split, at most.
        exact: Sum in float64 also within a batch, rather than in shifted float32.

    Returns:
        For each site by name the moments of each group, in the order of the examples.
    """
    device = execution.placement
    batch = batch_size(model.graph, execution.memory, model.batch)
    if model.batch is None:  # every group gets examples, if there are enough
        batch = min(batch, max(SHIFT_EXAMPLES, -(-data.examples // groups)))
    starts = range(0, data.examples, batch)
    grams = sum((4 + 8) * selector.count(site) ** 2 for site in sites)  # as float32 and float64
    at_once = runs_at_once(model.graph, batch, execution.memory, device, beside=grams)
    if at_once > 1:
        device = replace(device, threads=1)
    reader = ActivationReader(model, sites, selector, device)
    first = data.read(0, min(batch, SHIFT_EXAMPLES, data.examples)).inputs
    shifts = {name: _near_mean(rows) for name, rows in reader.rows(first).items()}
    reader.close()  # most often all that follows is summed in the graph
    graph = _InGraph(model, sites, selector, device, shifts, exact=exact)
    groups = min(groups, len(starts))
    parts: dict[str, list[Moments]] = {site.name: [] for site in sites}

    def moments_of(inputs: Feeds) -> MomentsBySite:
        given = len(next(iter(inputs.values())))
        moments = graph.moments(inputs, given) if model.batch in (None, given) else {}
        if len(moments) < len(sites):
            moments = reader.moments(inputs, shifts) | moments
        return moments

    def moments_of_each(examples: Batch) -> list[MomentsBySite]:
        parts = [
            {name: array[first : first + batch] for name, array in examples.inputs.items()}
            for first in range(0, len(next(iter(examples.inputs.values()))), batch)
        ]
        return list(side_by_side(moments_of, parts, at_once))

    batches = execution.runner.map(data, batch * at_once, moments_of_each, "moments")
    for i, of_batch in enumerate(chain.from_iterable(batches)):
        group = i * groups // len(starts)
        for name, moments in of_batch.items():
            earlier = parts[name][group:]  # of the same group, if it has begun
            parts[name][group:] = [merged([*earlier, moments])]
    return parts


class ActivationReader:
    """Takes activations out of the runtime and sums them in float64."""

    def __init__(
        self, model: Model, sites: Sequence[Site], selector: UnitSelector, device: Device
    ) -> None:
        self._model, self._sites, self._selector = model, sites, selector
        self._names = [site.name for site in sites]
        graph = with_outputs(model, self._names)
        self._inputs = graph.inputs
        self._rows = graph.ir  # the model and not its graph, which no other process could get
        self._open = partial(Session, graph.ir, device)
        self._session: Session | None = None

    def close(self) -> None:
        """Let go of the session, and so of its copy of the weights, until rows are wanted."""
        self._session = None

    def batch_size(self, memory: int) -> int:
        """Return how many examples to run at once, all that is taken out included."""
        return batch_size(self._rows.graph, memory, self._model.batch)

    def rows(self, inputs: Feeds) -> dict[str, NDArray[Any]]:
        """Return each site's activations with units as columns."""
        feeds = {name: inputs[name] for name in self._inputs}
        self._session = session = self._session or self._open()
        arrays = run_padded(session, self._model, feeds, self._names)
        return {
            site.name: self._selector.rows(site, array)
            for site, array in zip(self._sites, arrays, strict=True)
        }

    def moments(self, inputs: Feeds, shifts: Shifts) -> MomentsBySite:
        """Return each site's moments over one batch."""
        return {name: Moments.of(rows, shifts[name]) for name, rows in self.rows(inputs).items()}


class _InGraph:
    """Lets the runtime sum, for the sites whose units are whole axes."""

    def __init__(
        self,
        model: Model,
        sites: Sequence[Site],
        selector: UnitSelector,
        device: Device,
        shifts: Shifts,
        *,
        exact: bool,
    ) -> None:
        found = {site.name: selector.axes(site) for site in sites}
        axes = {name: units for name, units in found.items() if units is not None}
        self._sites = [site for site in sites if site.name in axes]
        self._shifts = shifts
        if not self._sites:
            return
        self._graph = with_grams(model, self._sites, axes, exact=exact)
        self._session = Session(self._graph.ir, device)
        dtype = np.float64 if exact else np.float32
        self._fixed = {
            self._graph.shifts[name]: unchanging(
                shifts[name].astype(dtype)[np.newaxis, :, np.newaxis]
            )
            for name in axes
        }

    def moments(self, inputs: Feeds, given: int) -> MomentsBySite:
        """Return the moments of its sites over one batch of ``given`` examples."""
        if not self._sites:
            return {}
        feeds = {name: inputs[name] for name in self._graph.inputs} | self._fixed
        names = [site.name for site in self._sites]
        wanted = [kind[name] for kind in (self._graph.grams, self._graph.totals) for name in names]
        arrays = [array.astype(np.float64) for array in self._session.run(feeds, wanted)]
        found = {}
        for site, gram, total in zip(
            self._sites, arrays[: len(names)], arrays[len(names) :], strict=True
        ):
            shift = self._shifts[site.name]
            rows = given * (site.width * site.positions // len(shift))
            found[site.name] = Moments(rows, shift, total, gram)
        return found


def _near_mean(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean of each column as float32 holds it, 0 where it is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32).astype(np.float64)
    return np.where(np.isfinite(mean), mean, 0.0)
