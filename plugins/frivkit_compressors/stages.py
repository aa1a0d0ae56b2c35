"""Run a network stage by stage, each stage on from tensors that the stages before it computed.

A stage reads some tensors.  Behind them lie nodes whose weights are not final yet.  Tensors that
only final nodes lead to, and that later stages start from, are kept in memory for all examples: the
*cut*.  The next stage runs from the cut and not from the inputs of the network.  Where a cut would
take more memory than it may, the next stage runs from the cut before it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.data import Batch, Dataset
from frivkit.graph.instrument.perturb import ancestors, between
from frivkit.graph.model import Model, consumed_values, is_constant
from frivkit.graph.names import node_label
from frivkit.graph.operators.operator import operator_name
from frivkit.graph.operators.table import operators_of
from frivkit.graph.shapes import batch_first
from frivkit.runtime.execution import Execution
from frivkit.runtime.memory import tensor_bytes
from frivkit.runtime.padded_runs import run_padded
from frivkit.runtime.session import Session

Tensors = dict[str, NDArray[Any]]
"""Tensors of one batch by name, examples first."""


@dataclass(frozen=True, slots=True)
class _Cut:
    """Tensors from which later stages start.

    Attributes:
        names: Their names, and those of inputs of the network.
        behind: The names of all tensors that need not be computed again.
        batches: The tensors of each batch, by its first example, without inputs of the network.
    """

    names: frozenset[str]
    behind: frozenset[str]
    batches: dict[int, Tensors] = field(default_factory=dict)


class StagedRun:
    """Runs a network in stages.

    Args:
        data: The examples.
        size: Examples in a batch.
        reads: The names of the tensors that each stage reads.
        execution: How to run the network.
        room: Bytes that the tensors of a cut may take for all examples together.
    """

    def __init__(
        self,
        data: Dataset,
        size: int,
        reads: Sequence[Sequence[str]],
        execution: Execution,
        room: int,
    ) -> None:
        self._data, self._size, self._reads = data, size, reads
        self._execution, self._room = execution, room
        self._cut = _Cut(frozenset(), frozenset())

    def tensors(
        self, stage: int, model: Model, pending: Collection[str], what: str
    ) -> Iterator[tuple[int, Tensors]]:
        """Run one stage, and yield the first example and the tensors of each batch.

        Stages run in their order, each once, and each to its end.

        Args:
            stage: The number of the stage.
            model: The network.  Its names do not change from stage to stage, nor do the nodes in
                front of nodes that are pending.
            pending: The labels of nodes whose weights later stages may change.
            what: What is being done, for the display of progress.
        """
        wanted = list(dict.fromkeys(self._reads[stage]))
        cut, following = self._cut, self._following(stage, model, frozenset(pending))
        kept = following.names if following is not None else frozenset()
        inputs = {value.name or "" for value in model.graph.inputs}
        computed = [
            name for name in dict.fromkeys([*wanted, *kept]) if name not in cut.names | inputs
        ]
        session, needed = None, frozenset[str]()
        if computed:
            part = between(model, cut.names, computed)
            session, needed = Session(part.ir, self._execution.placement), frozenset(part.inputs)
        read = (needed | set(wanted)) & inputs

        def run(first: int, given: Tensors) -> tuple[int, Tensors]:
            given = given | cut.batches.get(first, {})
            if session is None:
                return first, given
            feeds = {name: given[name] for name in needed}
            arrays = run_padded(session, model, feeds, computed)
            return first, given | dict(zip(computed, arrays, strict=True))

        def run_batch(batch: Batch) -> tuple[int, Tensors]:
            return run(batch.first, {name: batch.inputs[name] for name in read})

        runner, data = self._execution.runner, self._data
        results = (
            runner.map(data, self._size, run_batch, what)
            if read
            else runner.map_ranges(
                data.examples, self._size, lambda first, last: run(first, {}), what
            )
        )
        for first, found in results:
            if following is not None:
                cut.batches.pop(first, None)
                following.batches[first] = {name: found[name] for name in kept - inputs}
            yield first, {name: found[name] for name in wanted}
        if following is not None:
            self._cut = following

    def _following(self, stage: int, model: Model, pending: frozenset[str]) -> _Cut | None:
        """Return the cut behind a stage without its tensors, None if it is not worth keeping."""
        graph = model.graph
        values = {value.name: value for node in graph for value in node.outputs}
        values |= {value.name: value for value in graph.inputs}
        later = [values[name] for names in self._reads[stage + 1 :] for name in names]
        if not later:
            return None
        here = ancestors(
            [values[name] for name in self._reads[stage]],
            lambda value: value.name not in self._cut.names,
        )
        final = _final(graph, pending)
        behind = self._cut.behind | {
            value.name or "" for value in here.values() if id(value) in final
        }
        boundary: dict[str, ir.Value] = {}

        def is_computed(value: ir.Value) -> bool:
            """Whether a later stage computes a value; what it starts from is noted."""
            if value.name not in behind:
                return True
            if not _is_kept(value, model.batch):
                return True  # a size, for example, which is computed again
            boundary[value.name or ""] = value
            return False

        again = ancestors(later, is_computed)
        operators = operators_of(model)
        for value in again.values():
            node = value.producer()
            if node is None or value.name not in behind or value.name in boundary:
                continue
            operator = operators.get(operator_name(node))
            if operator is not None and operator.weights is not None and not is_constant(value):
                return None  # weighted nodes would run again
        sizes = [tensor_bytes(value) for value in boundary.values() if not value.is_graph_input()]
        if 0 in sizes or sum(sizes) * self._data.examples > self._room:
            return None
        return _Cut(frozenset(boundary), frozenset(behind))


def _is_kept(value: ir.Value, batch: int | None) -> bool:
    """Whether a value can be kept: a tensor with the examples on its first axis."""
    return value.shape is not None and batch_first(value, batch) and not is_constant(value)


def _final(graph: ir.Graph, pending: frozenset[str]) -> set[int]:
    """Return the ids of the values that no pending node leads to."""
    changing: set[int] = set()
    final = {id(value) for value in graph.inputs}
    for node in graph:
        outputs = {id(value) for value in node.outputs}
        is_changing = node_label(node) in pending or any(
            id(value) in changing for value in consumed_values(node)
        )
        (changing if is_changing else final).update(outputs)
    return final
