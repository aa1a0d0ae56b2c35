"""Paths through a model: the intact whole, the masked whole, and what lies behind one site."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.engine.memory import batch_size, tensor_bytes
from frivkit.engine.session import Device, Session
from frivkit.errors import ModelError
from frivkit.graph.cost import node_macs
from frivkit.graph.instrument import Instrumented, masked_whole, suffix, tapped
from frivkit.graph.model import Model
from frivkit.graph.sites import Site
from frivkit.masks import Mask
from frivkit.units import UnitSelector

Feeds = Mapping[str, NDArray[Any]]


class Path:
    """A graph with masks as inputs, and what must be computed once before any mask is tried.

    For one site that is the *entry*: the tensors that enter the part of the graph behind the
    site.  For several sites the whole graph is run and the entry is the model's own input.
    """

    def __init__(
        self, model: Model, sites: Sequence[Site], output: str, device: Device, memory: int
    ) -> None:
        self._model = model
        self._sites = {site.name: site for site in sites}
        self._device = device
        self._output = output
        self._graph = (
            suffix(model, sites[0], output)
            if len(sites) == 1
            else masked_whole(model, sites, output)
        )
        self._session = Session(self._graph.ir, device)
        self._prefix: tuple[Session, tuple[str, ...]] | None = None
        self._dtypes = _dtypes(model, self._sites)
        self.batch = batch_size(model.graph, memory, model.batch)

    @property
    def entries(self) -> tuple[str, ...]:
        """The names of the tensors that are computed once."""
        return self._graph.inputs

    def prepare(self, inputs: Feeds) -> Feeds:
        """Compute the entry of one batch of examples."""
        if len(self._sites) > 1:
            return inputs
        given = {name: inputs[name] for name in self.entries if name in inputs}
        wanted = [name for name in self.entries if name not in inputs]
        if self._prefix is None:
            graph = tapped(self._model, wanted)
            self._prefix = (Session(graph.ir, self._device), graph.inputs)
        session, names = self._prefix
        needed = {name: inputs[name] for name in names}  # not all inputs need lead to the site
        arrays = run_whole_batches(session, self._model, needed, wanted)
        return given | dict(zip(wanted, arrays, strict=True))

    def run(self, entry: Feeds, mask: Mask, selector: UnitSelector) -> NDArray[Any]:
        """Give the output for one batch under one mask, shape (n, ...)."""
        feeds = dict(entry)
        for name, flags in mask.keep.items():
            spread = selector.mask(self._sites[name], flags)
            feeds[self._graph.masks[name]] = spread[np.newaxis].astype(self._dtypes[name])
        return run_whole_batches(self._session, self._model, feeds, [self._output])[0]

    def entry_bytes(self) -> int:
        """Give the bytes that the entry of one example takes (0 when sizes are unknown)."""
        inputs = self._graph.ir.graph.inputs
        return sum(tensor_bytes(value) for value in inputs if value.name in self.entries)

    def entry_macs(self) -> int:
        """Give the multiply-accumulates that computing the entry of one example takes."""
        whole = sum(node_macs(node) or 0 for node in self._model.graph)
        return whole - sum(node_macs(node) or 0 for node in self._graph.ir.graph)


class Intact:
    """The model as it is."""

    def __init__(self, model: Model, output: str, device: Device, memory: int) -> None:
        self._model, self._output = model, output
        self._graph: Instrumented = tapped(model, [output])
        self._session = Session(self._graph.ir, device)
        self.batch = batch_size(model.graph, memory, model.batch)

    def run(self, inputs: Feeds) -> NDArray[Any]:
        """Give the output for one batch, shape (n, ...)."""
        feeds = {name: inputs[name] for name in self._graph.inputs}
        return run_whole_batches(self._session, self._model, feeds, [self._output])[0]


def run_whole_batches(
    session: Session, model: Model, feeds: Feeds, wanted: Sequence[str], *, cut: bool = True
) -> list[NDArray[Any]]:
    """Run a batch; where the model insists on a size, fill up with the last example.

    Args:
        session: What to run.
        model: The model that the session's graph was made of.
        feeds: At most ``model.batch`` examples of each input, and masks.
        wanted: Names of outputs.
        cut: Give rows of the given examples only; else all that the graph gives, whatever its
            first axis.

    Raises:
        ModelError: the run fails, or an output that is to be cut has no batch axis in front.
    """
    inputs = {name: array for name, array in feeds.items() if not name.startswith("frivkit.")}
    given = len(next(iter(inputs.values())))
    missing = 0 if model.batch is None else model.batch - given
    if missing > 0:
        filled = {n: np.concatenate([a, np.repeat(a[-1:], missing, 0)]) for n, a in inputs.items()}
        feeds = {**feeds, **filled}
    arrays = session.run(feeds, wanted)
    if not cut:
        return arrays
    for name, array in zip(wanted, arrays, strict=True):
        if not isinstance(array, np.ndarray) or array.ndim == 0 or len(array) != given + missing:
            shape = getattr(array, "shape", type(array).__name__)
            raise ModelError(
                f"tensor {name!r} has shape {shape} for {given + missing} examples: "
                "its first axis must be the batch"
            )
    return [array[:given] for array in arrays]


def _dtypes(model: Model, sites: Mapping[str, Site]) -> dict[str, np.dtype[Any]]:
    produced = {value.name: value.dtype for node in model.graph for value in node.outputs}
    return {
        name: np.dtype(np.float32) if (dtype := produced.get(name)) is None else dtype.numpy()
        for name in sites
    }
