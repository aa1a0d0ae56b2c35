"""Refit layer by layer: from the outputs of the compressed layers before to original targets.

The errors of a plain refit of each layer add up through the network.  Here each node is fitted to
its outputs in the original network from its inputs in the compressed one, so it also compensates
the errors of the layers before it.  If its outputs are added to a residual stream, the target is
the original sum: the node also compensates the error of the stream.

Source:
    Asymmetric reconstruction, Zhang et al., "Accelerating Very Deep Convolutional Networks for
    Classification and Detection", IEEE TPAMI 38(10), 2016, section 3.3, by ridge regression that
    pulls towards the plain refit, which stays as it is if there is nothing to compensate.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration, Run
from frivkit.compression.linear_consumers import ConsumerInput
from frivkit.compression.moves import kernel_of
from frivkit.compression.patch_moments import VALIDATION_SHARE, PatchReader, reading_batch
from frivkit.compression.patch_rows import patch_rows, patches_per_example, sample_size
from frivkit.compression.plan import (
    Factorization,
    Plan,
    factorized_fit,
    group_flags,
    put_fits,
    whole_fits,
    with_factors,
    with_fits,
)
from frivkit.compression.ridge import Fit
from frivkit.data.subset import Subset
from frivkit.errors import ModelError
from frivkit.graph.cost import macs
from frivkit.graph.names import node_label
from frivkit.graph.operators.table import operators_of
from frivkit.graph.surgery.narrow import narrow
from frivkit.units.moments import Float64Array
from frivkit_compressors.regression import Regression, Rows
from frivkit_compressors.relu import into_relu
from frivkit_compressors.stages import StagedRun, Tensors

MIN_SCALE = 1e-3
"""Scale of an output below which it compensates nothing."""
ROWS_SHARE = 4
"""The rows of one node may take one part in this many of the memory."""
TARGETS_SHARE = 8
"""The targets of several nodes may take one part in this many of the memory."""
CUT_SHARE = 8
"""The tensors that a stage starts from may take one part in this many of the memory."""
PASSES = 4
"""Passes of the whole network that gathering targets and running all stages usually cost."""
MAX_MACS = 1e13
"""Multiply-accumulates that all passes together may take, some minutes on two cores; deep networks
of large images are refitted on fewer examples."""
MIN_EXAMPLES = 64
"""Examples that are used whatever they cost, if there are that many."""


def refit_in_sequence(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit the consumers of removed units, in the order of the graph.

    The original network runs once to gather the targets of all nodes, or several times if these
    take too much memory together.  The compressed network runs in stages: each reads the input of
    some nodes, refits these, and the next one runs on from there.  Nodes whose whole patches do not
    fit into memory, and those that share their weight with others, keep the plain refit.
    """
    model = calibration.model
    nodes = {node_label(node): node for node in model.graph}
    position = {label: i for i, label in enumerate(nodes)}
    fits = sorted(whole_fits(calibration, plan), key=lambda fit: position[_label(fit)])
    calibration = _with_affordable_examples(calibration)
    run, memory = calibration.run, calibration.run.execution.memory
    stages = _stages(calibration, plan, fits)
    size = reading_batch(model, _read_by(stages), run.execution)
    reads = [stage.reads for stage in stages]
    staged = StagedRun(run.data, size, reads, run.execution, memory // CUT_SHARE)
    narrowed = narrow(model, calibration.site_map, plan.keep)
    pending = {_label(fits[i]) for stage in stages for i in stage.members}
    refitted: ir.Model | None = None
    for group in _grouped(stages, fits, run.data.examples, memory // TARGETS_SHARE):
        targets = _gather_targets(calibration, group, fits, size)
        for stage in group:
            if refitted is None:
                refitted = with_fits(calibration, replace(plan, fits=tuple(fits)), narrowed)
            compressed = replace(model, ir=refitted)
            batches = staged.tensors(stage.number, compressed, pending, "refit in sequence")
            rows = _read_rows(run, stage, batches, fits, targets)
            for i in stage.members:
                _check_size(_label(fits[i]), rows, targets[i])
                relu = into_relu(nodes[_label(fits[i])], fits[i])
                problem = Regression(
                    rows, targets.pop(i), stage.validation, free_bias=fits[i].bias is not None
                )
                fits[i] = _refitted(fits[i], problem, relu=relu)
                how = plan.factorized.get(_label(fits[i]))
                if how is not None:
                    fits[i] = _factorized(fits[i], how, problem, relu=relu)
                pending.remove(_label(fits[i]))
            members = [fits[i] for i in stage.members]
            if (
                plan.maps
                or plan.dropped
                or any(fit.factors is not None for fit in members)
                or not _has_all(refitted, members)
            ):
                refitted = None
            else:  # a copy of the whole network for each stage would take long in deep ones
                put_fits(refitted, members)
    return tuple(
        factorized_fit(calibration, plan, fit) if fit.factors is None else fit for fit in fits
    )


def _has_all(model: ir.Model, fits: Sequence[Fit]) -> bool:
    """Whether nodes are called as they were: without a name, one that got a bias is not."""
    return {_label(fit) for fit in fits} <= {node_label(node) for node in model.graph}


def _check_size(label: str, *several: Rows) -> None:
    """Raise an error if a node reads or writes numbers whose squares 32 bits do not hold."""
    # Without a copy of the numbers, which may be most of what is in memory.
    largest = max(float(max(rows.max(initial=0), -rows.min(initial=0))) for rows in several)
    if not largest**2 * len(several[0]) < float(np.finfo(np.float32).max):
        raise ModelError(
            f"{label} cannot be refitted: it computes with numbers as large as {largest:.3g}; give "
            "--refit none, or leave layers in front of it whole by --keep-layer"
        )


def _label(fit: Fit) -> str:
    return fit.linear_consumer.consumer.node


def _with_affordable_examples(calibration: Calibration) -> Calibration:
    """Return the calibration with fewer examples, evenly chosen, if passes would take too long."""
    run, model = calibration.run, calibration.model
    cost = macs(model.graph, operators_of(model)) or 0
    affordable = int(MAX_MACS / max(1, cost * PASSES))
    count = min(run.data.examples, max(MIN_EXAMPLES, affordable))
    if count == run.data.examples:
        return calibration
    chosen = np.linspace(0, run.data.examples - 1, count).round().astype(np.int64)
    return replace(calibration, run=replace(run, data=Subset(run.data, chosen, f"{count} of them")))


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """Nodes that read the same rows, and are refitted together.

    Attributes:
        number: Its place in the sequence.
        source: Their input in the original network.
        narrowed: Their input in the compressed one.
        members: The indices of their fits.
        streams: The residual streams that they are added to, and which of their units are kept, by
            the stream's name.
        count: How many patches of each example are read, None for all.
        validation: Whether a row's example is set aside, shape (rows,).
    """

    number: int
    source: ConsumerInput
    narrowed: ConsumerInput
    members: tuple[int, ...]
    streams: Mapping[str, tuple[ConsumerInput, NDArray[np.bool_]]]
    count: int | None
    validation: NDArray[np.bool_]

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the tensors that are read."""
        return (self.source.tensor, *self.streams)

    def rows(
        self, source: ConsumerInput, tensor: NDArray[Any], seed: int, first: int
    ) -> NDArray[np.float32]:
        """Return rows of a batch, at the same positions in both networks and in all streams."""
        return patch_rows(source, tensor, self.count, np.random.default_rng([seed, first]))


def _stages(calibration: Calibration, plan: Plan, fits: Sequence[Fit]) -> list[_Stage]:
    """Return the stages in the order of the graph, those whose whole patches fit into memory."""
    by_source: dict[ConsumerInput, list[int]] = {}
    for i, fit in enumerate(fits):
        if fit.linear_consumer.shared is not None:
            continue
        by_source.setdefault(fit.linear_consumer.source, []).append(i)
    examples = calibration.run.data.examples
    set_aside = np.zeros(examples, np.bool_)
    if examples >= 2 * VALIDATION_SHARE:
        set_aside = np.arange(examples) % VALIDATION_SHARE == VALIDATION_SHARE - 1
    stages: list[_Stage] = []
    for source, members in by_source.items():
        if calibration.patch_moments[source].per_channel:
            continue
        mine = [fits[i] for i in members]
        narrowed = _narrowed(source, int(mine[0].columns.sum()) // source.kernel_size)
        outputs = sum(fit.matrix.shape[1] for fit in mine)
        count = _affordable_patches(calibration, source, narrowed, outputs)
        validation = set_aside.repeat(patches_per_example(source) if count is None else count)
        streams = _streams(calibration, plan, mine)
        stages.append(
            _Stage(len(stages), source, narrowed, tuple(members), streams, count, validation)
        )
    return stages


def _read_by(stages: Sequence[_Stage]) -> list[str]:
    """Return the names of all tensors that stages read."""
    return [name for stage in stages for name in stage.reads]


def _grouped(
    stages: Sequence[_Stage], fits: Sequence[Fit], examples: int, room: int
) -> Iterator[Sequence[_Stage]]:
    """Yield consecutive stages whose targets fit into memory together, at least one at a time."""
    group: list[_Stage] = []
    free = room
    for stage in stages:
        outputs = sum(fits[i].matrix.shape[1] for i in stage.members)
        needed = 4 * len(stage.validation) * outputs
        if group and needed > free:
            yield group
            group, free = [], room
        group.append(stage)
        free -= needed
    if group:
        yield group


def _gather_targets(
    calibration: Calibration, stages: Sequence[_Stage], fits: Sequence[Fit], size: int
) -> dict[int, Rows]:
    """Return the outputs of nodes in the original network, to which they are refitted.

    If outputs are added to a residual stream, the stream is added, in units of the output.

    Returns:
        Arrays of shape (rows, outputs), by the index of the fit.
    """
    run = calibration.run
    execution = run.execution
    sources = list(dict.fromkeys(stage.source for stage in stages))
    reader = PatchReader(calibration.model, sources, execution.placement, _read_by(stages))
    targets = {
        i: np.empty((len(stage.validation), fits[i].matrix.shape[1]), np.float32)
        for stage in stages
        for i in stage.members
    }
    what = "targets of the refit"
    for first, tensors in execution.runner.map(run.data, size, reader.of_batch, what):
        for stage in stages:
            rows = stage.rows(stage.source, tensors[stage.source.tensor], execution.seed, first)
            at = _rows_of_batch(run.data.examples, stage, first, len(rows))
            for i in stage.members:
                linear_consumer = fits[i].linear_consumer
                outputs = rows @ linear_consumer.matrix.astype(np.float32)
                if fits[i].bias is not None:
                    outputs += linear_consumer.bias.astype(np.float32)
                stream = stage.streams.get(linear_consumer.residual_input or "")
                if stream is not None and fits[i].bias is not None:
                    source, kept = stream
                    tensor = tensors[source.tensor]
                    added = stage.rows(source, tensor, execution.seed, first)[:, kept]
                    outputs += added / _divisor(linear_consumer.output_scale)
                targets[i][at] = outputs
    return targets


def _read_rows(
    run: Run,
    stage: _Stage,
    batches: Iterable[tuple[int, Tensors]],
    fits: Sequence[Fit],
    targets: Mapping[int, Rows],
) -> Rows:
    """Return the rows that the nodes of a stage read in the compressed network.

    What residual streams hold there is subtracted from the targets.

    Args:
        run: The examples, and how they are run.
        stage: The stage.
        batches: The first example of each batch, and its tensors in the compressed network.
        fits: All fits.
        targets: The targets of the stage's nodes, by the index of the fit; they are changed.

    Returns:
        Shape (rows, kept columns).
    """
    seed, examples = run.execution.seed, run.data.examples
    found = np.empty((len(stage.validation), stage.narrowed.columns), np.float32)
    for first, tensors in batches:
        rows = stage.rows(stage.narrowed, tensors[stage.source.tensor], seed, first)
        at = _rows_of_batch(examples, stage, first, len(rows))
        found[at] = rows
        for i in stage.members:
            linear_consumer = fits[i].linear_consumer
            stream = stage.streams.get(linear_consumer.residual_input or "")
            if stream is not None and fits[i].bias is not None:
                source, kept = stream
                left = stage.rows(source, tensors[source.tensor], seed, first)
                if left.shape[1] == len(kept):  # an input of the network, which is read in part
                    left = left[:, kept]
                targets[i][at] -= left / _divisor(linear_consumer.output_scale)
    return found


def _rows_of_batch(examples: int, stage: _Stage, first: int, rows: int) -> slice:
    """Return where the rows of a batch lie among all rows."""
    start = first * (len(stage.validation) // examples)
    return slice(start, start + rows)


def _divisor(output_scale: Float64Array) -> Rows:
    """Return what the error of a stream is divided by, infinite where nothing is compensated."""
    small = np.abs(output_scale) < MIN_SCALE
    return np.where(small, np.inf, output_scale).astype(np.float32)


def _narrowed(source: ConsumerInput, channels: int) -> ConsumerInput:
    """Return an input with fewer channels."""
    sizes = list(source.shape)
    sizes[source.axis - 1] = channels
    return replace(source, shape=tuple(sizes))


def _streams(
    calibration: Calibration, plan: Plan, fits: Sequence[Fit]
) -> dict[str, tuple[ConsumerInput, NDArray[np.bool_]]]:
    """Return the residual streams that nodes are added to, and which of their units are kept.

    A stream needs a row for each row of the node, so transposed convolutions are left out, and so
    are streams with units at positions, which lose rows with them.
    """
    kept = group_flags(calibration, plan.keep)
    original = {
        linear_consumer.consumer.node: linear_consumer
        for linear_consumer in calibration.linear_consumers
    }
    streams = {}
    for fit in fits:
        linear_consumer = original[fit.linear_consumer.consumer.node]
        if (
            linear_consumer.residual_input is None
            or fit.bias is None
            or linear_consumer.consumer.op == "ConvTranspose"
        ):
            continue
        axis = linear_consumer.source.axis if linear_consumer.consumer.op == "MatMul" else 1
        layouts = calibration.site_map.layouts.get(linear_consumer.residual_input, ())
        if any(layout.axes != (axis,) for _, layout in layouts):
            continue
        stream = ConsumerInput(
            linear_consumer.residual_input, axis, None, (len(linear_consumer.output_groups),), 1
        )
        streams[linear_consumer.residual_input] = (stream, kept[linear_consumer.output_groups])
    return streams


def _affordable_patches(
    calibration: Calibration, source: ConsumerInput, narrowed: ConsumerInput, outputs: int
) -> int | None:
    """Return how many patches of each example fit into memory, None for all."""
    run = calibration.run
    wanted = sample_size(narrowed, run.data.examples)
    each = 4 * (source.columns + narrowed.columns + 2 * outputs) * run.data.examples
    affordable = max(1, run.execution.memory // ROWS_SHARE // each)
    most = patches_per_example(source) if wanted is None else wanted
    return wanted if most <= affordable else affordable


def _refitted(fit: Fit, problem: "Regression", *, relu: bool) -> Fit:
    """Return the fit of a node to its targets, from its inputs in the compressed network."""
    has_bias = fit.bias is not None
    matrix, offset, ridge = problem.best(fit.matrix, fit.ridge, relu=relu and has_bias)
    return replace(fit, matrix=matrix, bias=offset if has_bias else None, ridge=ridge)


def _factorized(
    fit: Fit, factorization: Factorization, problem: "Regression", *, relu: bool
) -> Fit:
    """Return a fit with factors, of which the second is fitted to the targets once more."""
    fit = with_factors(fit, factorization, problem.mean, problem.covariance)
    if fit.factors is None:
        return fit
    kernel, has_bias = kernel_of(fit.linear_consumer), fit.bias is not None
    projected = problem.projected(fit.factors.first_matrix(kernel))
    second, offset, _ = projected.best(fit.factors.second_matrix, fit.ridge, relu=relu and has_bias)
    factors = fit.factors.with_second(second)
    bias = offset if has_bias else None
    return replace(fit, matrix=factors.matrix, bias=bias, factors=factors)
