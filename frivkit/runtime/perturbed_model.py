"""Paths through a model: the intact whole, the perturbed whole, and what lies behind one site."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.errors import ModelError
from frivkit.graph.cost import node_macs
from frivkit.graph.instrument.perturb import (
    RUN,
    Insert,
    Instrumented,
    insert_linear_map,
    insert_mask,
    insert_noise,
    perturbed_whole,
    suffix,
    with_outputs,
    with_weight_inputs,
)
from frivkit.graph.model import Model, constant_tensor, remembered
from frivkit.graph.operators.table import operators_of
from frivkit.graph.shapes import batch_symbol, examples_axis
from frivkit.graph.sites.site_map import Site
from frivkit.graph.sites.site_weights import weights_of
from frivkit.runtime.feeds import PreparedBatch, Target, feeds
from frivkit.runtime.file_session import FileSession
from frivkit.runtime.memory import batch_size, runs_at_once, tensor_bytes
from frivkit.runtime.session import Device, Feeds, Session
from frivkit.runtime.side_by_side import side_by_side
from frivkit.runtime.varying_rows import with_rows
from frivkit.units.masks import Mask
from frivkit.units.perturbations import LinearReplacement, Noise, Perturbation
from frivkit.units.selector import UnitSelector

INSERTS: Mapping[type[Perturbation], Insert] = {
    Mask: insert_mask,
    Noise: insert_noise,
    LinearReplacement: insert_linear_map,
}
"""Perturbations that act on a site's tensor; the others are edits of the weights behind it."""


class PerturbedModel:
    """A graph with perturbations as inputs, and what must be computed once before any is tried.

    That is the *entry*: the tensors that enter the part of the graph that perturbations change.
    For one site, or for weights, it is what lies behind them; for several sites the whole graph is
    run and the entry is the model's own input.

    Runs of one batch under several perturbations go side by side, as many as there are threads,
    and each takes one thread: threads that share a run wait for each other at every node.

    Attributes:
        batch: Examples of a run.
        at_once: How many runs go side by side.
    """

    def __init__(
        self,
        model: Model,
        sites: Sequence[Site],
        output: str,
        device: Device,
        memory: int,
        *,
        kind: type[Perturbation] = Mask,
        more: Sequence[str] = (),
    ) -> None:
        """Build the graph.

        Args:
            model: The model.
            sites: What is perturbed.
            output: The first output that is computed.
            device: Where to run.
            memory: Bytes that activations may take.
            kind: What is done to the sites.
            more: Other outputs that are computed; with any, the whole graph is run.
        """
        self._model = model
        self._outputs = (output, *more)
        by_name = {site.name: site for site in sites}
        insert = INSERTS.get(kind)
        weights = {} if insert else {site.name: weights_of(model, site) for site in sites}
        if insert is None:
            self._graph = with_weight_inputs(model, weights, output, more=more)
        elif len(sites) == 1 and not more:
            self._graph = suffix(model, sites[0], output, insert)
        else:
            self._graph = perturbed_whole(model, sites, output, insert, more=more)
        self.batch = examples_at_once(model, self._outputs, memory)
        self.at_once = runs_at_once(model.graph, self.batch, memory, device)
        if self.at_once > 1:
            device = replace(device, threads=1)
        self._device = device
        self._session = Session(self._graph.ir, device)
        self._prefix: tuple[Session, tuple[str, ...]] | None = None
        self._target = Target(
            by_name,
            self._graph.added,
            _dtypes(model, by_name),
            {site: tuple(map(_named, values)) for site, values in weights.items()},
        )

    @property
    def prefix(self) -> tuple[str, ...]:
        """The names of the tensors that are computed once."""
        return self._graph.inputs

    def prepare(self, inputs: Feeds) -> PreparedBatch:
        """Compute the entry of one batch of examples."""
        given = {name: inputs[name] for name in self.prefix if name in inputs}
        wanted = [name for name in self.prefix if name not in inputs]
        if not wanted:
            return PreparedBatch(given, inputs)
        if self._prefix is None:
            graph = with_outputs(self._model, wanted)
            self._prefix = (Session(graph.ir, self._device), graph.inputs)
        session, names = self._prefix
        needed = {name: inputs[name] for name in names}  # not all inputs need lead to the site
        arrays = run_padded(session, self._model, needed, wanted)
        return PreparedBatch(given | dict(zip(wanted, arrays, strict=True)), inputs)

    def run(
        self, batch: PreparedBatch, change: Perturbation, selector: UnitSelector | None = None
    ) -> NDArray[Any]:
        """Return the first output for one batch under one perturbation, shape (n, ...)."""
        return self.run_all(batch, change, selector)[0]

    def run_all(
        self, batch: PreparedBatch, change: Perturbation, selector: UnitSelector | None = None
    ) -> list[NDArray[Any]]:
        """Return all outputs for one batch under one perturbation, each of shape (n, ...)."""
        return self._run(self._feeds(batch, change, selector))

    def run_each(
        self,
        batch: PreparedBatch,
        changes: Iterable[Perturbation],
        selector: UnitSelector | None = None,
    ) -> Iterator[list[NDArray[Any]]]:
        """Yield what :meth:`run_all` returns for each perturbation, in order."""
        inputs = (self._feeds(batch, change, selector) for change in changes)
        return side_by_side(self._run, inputs, self.at_once)

    def _feeds(
        self, batch: PreparedBatch, change: Perturbation, selector: UnitSelector | None
    ) -> Feeds:
        return {**batch.entry, **feeds(change, self._target, batch, selector)}

    def _run(self, inputs: Feeds) -> list[NDArray[Any]]:
        return run_padded(self._session, self._model, inputs, self._outputs)

    def forget(self) -> None:
        """Let go of edited weights."""
        self._target.edited.clear()

    def weight_bytes(self) -> int:
        """Return the bytes that one edit of the weights takes."""
        return sum(w.nbytes for values in self._target.weights.values() for _, w in values)

    def prefix_bytes(self) -> int:
        """Return the bytes that the entry of one example takes (0 when sizes are unknown)."""
        inputs = self._graph.ir.graph.inputs
        return sum(tensor_bytes(value) for value in inputs if value.name in self.prefix)

    def prefix_macs(self) -> int:
        """Return the multiply-accumulates that computing the entry of one example takes."""
        operators = operators_of(self._model)
        whole, behind = (
            sum(node_macs(node, operators) or 0 for node in graph)
            for graph in (self._model.graph, self._graph.ir.graph)
        )
        return whole - behind


class BaselineModel:
    """The model as it is.

    Args:
        model: The model.
        output: The first output that is computed.
        device: Where to run.
        memory: Bytes that activations may take.
        as_file: Run the model's file with ONNX Runtime's default options, and not the part of the
            graph that computes the outputs.
        more: Other outputs that are computed.
    """

    def __init__(
        self,
        model: Model,
        output: str,
        device: Device,
        memory: int,
        *,
        as_file: bool = False,
        more: Sequence[str] = (),
    ) -> None:
        self._model, self._outputs = model, (output, *more)
        if as_file:
            self._inputs = tuple(spec.name for spec in model.inputs)
            self._session: Session | FileSession = FileSession(Session(model.path, device), model)
        else:
            graph: Instrumented = with_outputs(model, self._outputs)
            self._inputs = graph.inputs
            self._session = Session(graph.ir, device)
        self.batch = examples_at_once(model, self._outputs, memory)

    def run(self, inputs: Feeds) -> NDArray[Any]:
        """Return the first output for one batch, shape (n, ...)."""
        return self.run_all(inputs)[0]

    def run_all(self, inputs: Feeds) -> list[NDArray[Any]]:
        """Return all outputs for one batch, each of shape (n, ...)."""
        feeds = {name: inputs[name] for name in self._inputs}
        return run_padded(self._session, self._model, feeds, self._outputs)


def examples_at_once(model: Model, outputs: Sequence[str], memory: int) -> int:
    """Return how many examples a run for some outputs may have: one where their rows vary."""
    if any(name in model.varying for name in outputs):
        return 1
    return batch_size(model.graph, memory, model.batch)


def run_padded(
    session: Session | FileSession,
    model: Model,
    feeds: Feeds,
    wanted: Sequence[str],
    *,
    cut: bool = True,
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
        ModelError: the run fails, nothing that is wanted depends on an input, or an output that is
            to be cut has no batch axis in front.

    Returns:
        The arrays, shape (n, ...), examples first wherever they lie in the graph.  Where several
        rows of an output of the model are one example, these have an axis of their own behind the
        examples: (n, rows, ...).  Where their number varies, there must be one example, and they
        are filled up: see ``frivkit.runtime.varying_rows``.
    """
    inputs = {name: array for name, array in feeds.items() if not name.startswith(RUN)}
    if not inputs:
        raise ModelError(
            f"{', '.join(wanted)} of {model.path.name} depends on no input: there is nothing to "
            "measure; choose another output with --output-name"
        )
    given = len(next(iter(inputs.values())))
    missing = 0 if model.batch is None else model.batch - given
    if missing > 0:
        filled = {n: np.concatenate([a, np.repeat(a[-1:], missing, 0)]) for n, a in inputs.items()}
        feeds = {**feeds, **filled}
    arrays = session.run(feeds, wanted)
    if not cut:
        return arrays
    outputs = {value.name for value in model.graph.outputs}
    axes = _axes_of_examples(model, wanted)
    return [
        with_rows(name, array, model.varying[name])
        if name in model.varying
        else by_example(name, _moved(array, axes.get(name)), given + missing, rows=name in outputs)[
            :given
        ]
        for name, array in zip(wanted, arrays, strict=True)
    ]


def _axes_of_examples(model: Model, names: Sequence[str]) -> dict[str, int | None]:
    """Return the axis of examples of tensors, where it is known and not the first."""

    def work_out() -> dict[str, int | None]:
        symbol, wanted = batch_symbol(model.graph), set(names)
        values = [value for node in model.graph for value in node.outputs if value.name in wanted]
        found = {value.name or "": examples_axis(value, symbol) for value in values}
        return {name: axis for name, axis in found.items() if axis}

    return remembered(model.graph, ("axes of examples", *names), work_out)


def _moved(array: Any, axis: int | None) -> Any:
    return array if axis is None else np.moveaxis(array, axis, 0)


def by_example(name: str, array: Any, examples: int, *, rows: bool) -> NDArray[Any]:
    """Return a tensor with examples on its first axis.

    Args:
        name: Its name, for messages.
        array: What a run gave.
        examples: The number of examples that were run.
        rows: Whether several consecutive rows may be one example; they get an axis of their own.

    Raises:
        ModelError: its rows are not those of the examples.

    Example:
        >>> by_example("y", np.zeros((6, 5)), 2, rows=True).shape
        (2, 3, 5)
    """
    shape = getattr(array, "shape", type(array).__name__)
    if isinstance(array, np.ndarray) and array.ndim > 0:
        each, rest = divmod(len(array), examples)
        if each == 1 and not rest:
            return array
        if rows and each > 1 and not rest:
            return array.reshape(examples, each, *array.shape[1:])
    raise ModelError(
        f"tensor {name!r} has shape {shape} for {examples} examples: its first axis must be the "
        "batch, or a multiple of it"
    )


def _named(weight: ir.Value) -> tuple[str, NDArray[Any]]:
    """Return a weight's name and its numbers."""
    tensor = constant_tensor(weight)
    if tensor is None:
        raise ValueError(f"{weight.name} is computed in the graph")
    return weight.name or "", tensor.numpy()


def _dtypes(model: Model, sites: Mapping[str, Site]) -> dict[str, np.dtype[Any]]:
    produced = {value.name: value.dtype for node in model.graph for value in node.outputs}
    return {
        name: np.dtype(np.float32) if (dtype := produced.get(name)) is None else dtype.numpy()
        for name in sites
    }
