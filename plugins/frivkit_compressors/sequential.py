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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import ConsumerInput
from frivkit.compression.patch_moments import (
    FLOAT64_BELOW,
    VALIDATION_SHARE,
    PatchReader,
    patch_rows,
    patches_per_example,
    sample_size,
)
from frivkit.compression.plan import Plan, apply_plan, group_flags, ridge_fits
from frivkit.compression.ridge import STRENGTHS, Fit, solve
from frivkit.data import Batch
from frivkit.data.subset import Subset
from frivkit.graph.cost import macs
from frivkit.graph.names import node_label
from frivkit.graph.operators.table import operators_of
from frivkit.runtime.memory import batch_size
from frivkit.units.moments import Float64Array
from frivkit_compressors.relu import ROUNDS, into_relu

STRONGER = (*STRENGTHS, 1e2, 1e3)
"""Ridges that are tried: the strongest leave the plain refit as it is."""
MIN_SCALE = 1e-3
"""Scale of an output below which it compensates nothing."""
MEMORY_SHARE = 4
"""The rows of one node may take one part in this many of the memory."""
MAX_MACS = 1e13
"""Multiply-accumulates that all passes together may take, some minutes on two cores; deep networks
of large images are refitted on fewer examples."""
MIN_EXAMPLES = 64
"""Examples that are used whatever they cost, if there are that many."""

Rows = NDArray[np.float32]


def refit_in_sequence(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit the consumers of removed units, in the order of the graph.

    Takes a pass of both networks over the data for each tensor that is read, up to that tensor.
    Nodes whose whole patches do not fit into memory keep the plain refit.
    """
    model = calibration.model
    position = {node_label(node): i for i, node in enumerate(model.graph)}
    fits = sorted(
        ridge_fits(calibration, plan), key=lambda fit: position[fit.linear_consumer.consumer.node]
    )
    nodes = {node_label(node): node for node in model.graph}
    sources = [
        source
        for source in dict.fromkeys(fit.linear_consumer.source for fit in fits)
        if not calibration.patch_moments[source].per_channel
    ]
    calibration = _with_affordable_examples(calibration, len(sources))
    for source in sources:
        mine = [i for i, fit in enumerate(fits) if fit.linear_consumer.source == source]
        sample = _read_sample(calibration, replace(plan, fits=tuple(fits)), source, mine)
        for i in mine:
            relu = into_relu(nodes[fits[i].linear_consumer.consumer.node], fits[i])
            fits[i] = _refitted(fits[i], sample, relu=relu)
    return tuple(fits)


def _with_affordable_examples(calibration: Calibration, passes: int) -> Calibration:
    """Return the calibration with fewer examples, evenly chosen, if passes would take too long."""
    run, model = calibration.run, calibration.model
    cost = macs(model.graph, operators_of(model)) or 0
    affordable = int(MAX_MACS / max(1, cost * passes))  # two networks, half of each on average
    count = min(run.data.examples, max(MIN_EXAMPLES, affordable))
    if count == run.data.examples:
        return calibration
    chosen = np.linspace(0, run.data.examples - 1, count).round().astype(np.int64)
    return replace(calibration, run=replace(run, data=Subset(run.data, chosen, f"{count} of them")))


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows of one tensor in both networks, at the same positions of the same examples.

    Attributes:
        original: The rows in the original network, shape (rows, columns).
        compressed: The rows in the compressed one, shape (rows, kept columns).
        validation: Whether a row's example is set aside, shape (rows,).
        stream_errors: Original minus compressed values of each residual stream, shape (rows, kept
            units), by the stream's name.
    """

    original: Rows
    compressed: Rows
    validation: NDArray[np.bool_]
    stream_errors: Mapping[str, Rows]


def _read_sample(
    calibration: Calibration, plan: Plan, source: ConsumerInput, mine: Sequence[int]
) -> _Sample:
    """Run both networks and read rows of one tensor and of the residual streams."""
    model, run = calibration.model, calibration.run
    fits = [plan.fits[i] for i in mine]
    compressed = replace(model, ir=apply_plan(calibration, plan))
    narrowed = _narrowed(source, int(fits[0].columns.sum()) // source.kernel_size)
    streams = _streams(calibration, plan, fits)
    execution = run.execution
    outputs = sum(fit.matrix.shape[1] for fit in fits)
    count = _affordable_patches(calibration, source, narrowed, outputs)
    both = [
        (PatchReader(each, [where], execution.placement, tuple(streams)), where)
        for each, where in ((model, source), (compressed, narrowed))
    ]

    def rows_of_both(batch: Batch) -> list[Rows]:
        tensors = [reader.tensors(batch.inputs) for reader, _ in both]

        def rows(where: ConsumerInput, tensor: NDArray[Any]) -> Rows:
            # The same positions of both networks and of all streams.
            generator = np.random.default_rng([execution.seed, batch.first])
            return patch_rows(where, tensor, count, generator)

        part = [rows(w, t[w.tensor]) for (_, w), t in zip(both, tensors, strict=True)]
        for name, (stream, kept) in streams.items():
            before, after = (rows(stream, t[name]) for t in tensors)
            part.append(before[:, kept] - after)
        return part

    size = batch_size(model.graph, execution.memory, model.batch)
    parts = [*execution.runner.map(run.data, size, rows_of_both, "refit in sequence")]
    whole = [np.concatenate(each) for each in zip(*parts, strict=True)]
    example = np.arange(run.data.examples).repeat(len(whole[0]) // run.data.examples)
    sets_aside = run.data.examples >= 2 * VALIDATION_SHARE
    validation = sets_aside & (example % VALIDATION_SHARE == VALIDATION_SHARE - 1)
    return _Sample(whole[0], whole[1], validation, dict(zip(streams, whole[2:], strict=True)))


def _narrowed(source: ConsumerInput, channels: int) -> ConsumerInput:
    """Return an input with fewer channels."""
    sizes = list(source.shape)
    sizes[source.axis - 1] = channels
    return replace(source, shape=tuple(sizes))


def _streams(
    calibration: Calibration, plan: Plan, fits: Sequence[Fit]
) -> dict[str, tuple[ConsumerInput, NDArray[np.bool_]]]:
    """Return the residual streams that nodes are added to, and which of their units are kept.

    A stream needs a row for each row of the node, so transposed convolutions are left out.
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
    affordable = max(1, run.execution.memory // MEMORY_SHARE // each)
    most = patches_per_example(source) if wanted is None else wanted
    return wanted if most <= affordable else affordable


def _refitted(fit: Fit, sample: _Sample, *, relu: bool) -> Fit:
    """Return the fit of a node to its original outputs, from its inputs in the compressed model."""
    linear_consumer, has_bias_freedom = fit.linear_consumer, fit.bias is not None
    bias = linear_consumer.bias if has_bias_freedom else np.zeros_like(linear_consumer.bias)
    targets = sample.original @ linear_consumer.matrix.astype(np.float32) + bias.astype(np.float32)
    stream_error = sample.stream_errors.get(linear_consumer.residual_input or "")
    if stream_error is not None:
        scale = linear_consumer.output_scale
        targets += stream_error / np.where(np.abs(scale) < MIN_SCALE, np.inf, scale)
    ridge = fit.ridge
    if sample.validation.any():
        fitted, unseen = ~sample.validation, sample.validation
        normal = _NormalEquations(sample.compressed[fitted], has_bias_freedom=has_bias_freedom)
        errors = [
            float(((sample.compressed[unseen] @ m + b - targets[unseen]) ** 2).sum())
            for m, b in normal.solutions(targets[fitted], STRONGER, fit.matrix)
        ]
        ridge = STRONGER[int(np.argmin(errors))]
    normal = _NormalEquations(sample.compressed, has_bias_freedom=has_bias_freedom)
    (matrix, offset), *_ = normal.solutions(targets, (ridge,), fit.matrix)
    for _ in range(ROUNDS if relu and has_bias_freedom else 0):
        outputs = sample.compressed @ matrix.astype(np.float32) + offset.astype(np.float32)
        moved = np.where(targets < 0, np.minimum(outputs, 0), targets)
        (matrix, offset), *_ = normal.solutions(moved, (ridge,), fit.matrix)
    return replace(fit, matrix=matrix, bias=offset if has_bias_freedom else None, ridge=ridge)


class _NormalEquations:
    """The covariance of rows, and ridge regression by it.

    Args:
        rows: Shape (n, columns).
        has_bias_freedom: Whether rows are taken about their mean.
    """

    def __init__(self, rows: Rows, *, has_bias_freedom: bool) -> None:
        self._mean = rows.mean(axis=0, dtype=np.float64) * has_bias_freedom
        # With few rows, float32 rounding would hide which directions have no variance.
        kind = np.float64 if len(rows) < FLOAT64_BELOW * rows.shape[1] else np.float32
        self._centred = (rows - self._mean.astype(np.float32)).astype(kind)
        self._covariance = (self._centred.T @ self._centred).astype(np.float64) / len(rows)
        self._has_bias_freedom = has_bias_freedom

    def solutions(
        self, targets: Rows, strengths: tuple[float, ...], original: Float64Array
    ) -> Iterator[tuple[Float64Array, Float64Array]]:
        """Yield matrix and bias for each strength of a ridge that pulls towards ``original``."""
        mean = targets.mean(axis=0, dtype=np.float64) * self._has_bias_freedom
        centred = (targets - mean.astype(np.float32)).astype(self._centred.dtype)
        cross = (self._centred.T @ centred).astype(np.float64) / len(targets)
        all_columns = np.ones(len(cross), np.bool_)
        for strength in strengths:
            matrix = solve(self._covariance, all_columns, strength, cross, original)
            yield matrix, mean - self._mean @ matrix
