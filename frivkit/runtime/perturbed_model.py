"""Paths through a model: the intact whole, the perturbed whole, and what lies behind one site."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.graph.cost import node_macs
from frivkit.graph.instrument.perturb import (
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
from frivkit.graph.model import Model, constant_tensor
from frivkit.graph.operators.table import operators_of
from frivkit.graph.sites.site_map import Site
from frivkit.graph.sites.site_weights import weights_of
from frivkit.runtime.feeds import PreparedBatch, Target, feeds
from frivkit.runtime.file_session import FileSession
from frivkit.runtime.memory import runs_at_once, tensor_bytes
from frivkit.runtime.padded_runs import examples_at_once, run_padded
from frivkit.runtime.session import Device, Feeds, Session
from frivkit.runtime.side_by_side import side_by_side
from frivkit.runtime.stage_runs import Leg, StageRuns
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
        stages: StageRuns | None = None,
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
            stages: Computes what is in front of the entry by way of stages; None computes it from
                the inputs of the model alone, so that its last bits may be others.
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
        given = {value.name for value in model.graph.inputs}
        self._computed = [name for name in self.prefix if name not in given]
        self._stages = stages
        self._stage = stages.toward(self._computed) if stages and self._computed else None
        self._leg: Leg | None = None
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

    def prepare(self, inputs: Feeds, batch: Hashable = None) -> PreparedBatch:
        """Compute the entry of one batch of examples.

        Args:
            inputs: The examples.
            batch: A name of these examples, under which tensors are kept for other sites; None
                keeps nothing.
        """
        known = dict(inputs)
        if self._stages is not None and self._stage is not None:
            known |= self._stages.tensors(self._stage, inputs, batch, self._device)
        if self._leg is None:
            wanted = [name for name in self._computed if name not in known]
            self._leg = Leg(
                self._model, self._stage.tensors if self._stage else (), wanted, self._device
            )
        known |= self._leg.tensors(known)
        return PreparedBatch({name: known[name] for name in self.prefix}, inputs)

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
