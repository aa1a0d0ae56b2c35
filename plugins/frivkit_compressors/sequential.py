"""Refit layer by layer: inputs as the narrowed layers before really give them, original targets.

What a plain refit of each layer leaves over adds up through the network.  Here each node is fitted
to what it made in the intact network from what it reads in the narrowed one, so that it makes good
for the layers before it, too.  Where its outputs are added to a stream, the sum is what has to come
out as it did: the node also makes good for what the stream lost.

Source:
    Asymmetric reconstruction, Zhang et al., "Accelerating Very Deep Convolutional Networks for
    Classification and Detection", IEEE TPAMI 38(10), 2016, section 3.3, by ridge regression that
    pulls towards the plain refit, so that a node which has nothing to make good stays as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import Array, ConsumerInput
from frivkit.compression.patch_moments import (
    FLAT,
    VALIDATION_SHARE,
    PatchReader,
    picked_of,
    places_of,
    rows_of,
)
from frivkit.compression.plan import Plan, apply_plan, group_flags, ridge_fits
from frivkit.compression.ridge import STRENGTHS, Fit, solve
from frivkit.data import Batch
from frivkit.data.subset import Subset
from frivkit.graph.cost import macs
from frivkit.graph.names import node_label
from frivkit.runtime.memory import batch_size
from frivkit_compressors.rounds import ROUNDS, into_relu

FIRM = (*STRENGTHS, 1e2, 1e3)
"""Ridges that are tried: the strongest leave the plain refit as it is."""
LEAST = 1e-3
"""Gain of an output below which it cannot make good for anything."""
SHARE = 4
"""The rows of one node may take this part of the memory."""
WORK = 1e13
"""Multiply-accumulates that all passes together may take, some minutes on two cores; deep networks
of large images are refitted on fewer examples."""
FEWEST = 64
"""Examples that are taken whatever they cost, where there are as many."""

Rows = NDArray[np.float32]


def refit_in_sequence(calibration: Calibration, plan: Plan) -> tuple[Fit, ...]:
    """Refit what reads units that leave, in the order of the graph.

    Takes a pass of both networks over the data, up to the tensor, for each tensor that is read.
    Nodes whose whole patches do not fit into memory keep the plain refit.
    """
    model = calibration.model
    place = {node_label(node): i for i, node in enumerate(model.graph)}
    fits = sorted(
        ridge_fits(calibration, plan), key=lambda fit: place[fit.linear_consumer.consumer.node]
    )
    nodes = {node_label(node): node for node in model.graph}
    sources = [
        source
        for source in dict.fromkeys(fit.linear_consumer.source for fit in fits)
        if not calibration.patch_moments[source].per_channel
    ]
    calibration = _on_enough(calibration, len(sources))
    for source in sources:
        mine = [i for i, fit in enumerate(fits) if fit.linear_consumer.source == source]
        sample = _gathered(calibration, replace(plan, fits=tuple(fits)), source, mine)
        for i in mine:
            relu = into_relu(nodes[fits[i].linear_consumer.consumer.node], fits[i])
            fits[i] = _refitted(fits[i], sample, relu=relu)
    return tuple(fits)


def _on_enough(calibration: Calibration, passes: int) -> Calibration:
    """Leave out examples, evenly, where so many passes over all would take too long."""
    run, cost = calibration.run, macs(calibration.model.graph) or 0
    room = int(WORK / max(1, cost * passes))  # two networks, half of each on average
    count = min(run.data.examples, max(FEWEST, room))
    if count == run.data.examples:
        return calibration
    chosen = np.linspace(0, run.data.examples - 1, count).round().astype(np.int64)
    return replace(calibration, run=replace(run, data=Subset(run.data, chosen, f"{count} of them")))


@dataclass(frozen=True, slots=True)
class _Sample:
    """Rows of one tensor in both networks, the same places of the same examples.

    Attributes:
        baseline: As the intact network has them, shape (rows, columns).
        narrow: As the narrowed one has them, shape (rows, columns that stay).
        validation: Whether a row's example is kept apart, shape (rows,).
        lost: By the name of a stream what it lost at each place, shape (rows, units that stay).
    """

    baseline: Rows
    narrow: Rows
    validation: NDArray[np.bool_]
    lost: Mapping[str, Rows]


def _gathered(
    calibration: Calibration, plan: Plan, source: ConsumerInput, mine: Sequence[int]
) -> _Sample:
    """Run both networks and take rows."""
    model, run = calibration.model, calibration.run
    fits = [plan.fits[i] for i in mine]
    narrow = replace(model, ir=apply_plan(calibration, plan))
    thin = _thin(source, int(fits[0].columns.sum()) // source.taps)
    streams = _streams(calibration, plan, fits)
    picked = _picked(calibration, source, thin, sum(fit.matrix.shape[1] for fit in fits))
    execution = run.execution
    both = [
        (PatchReader(each, [where], execution.placement, tuple(streams)), where)
        for each, where in ((model, source), (narrow, thin))
    ]

    def rows_of_both(batch: Batch) -> list[Rows]:
        tensors = [patches.tensors(batch.inputs) for patches, _ in both]

        def rows(where: ConsumerInput, tensor: NDArray[Any]) -> Rows:
            # The same positions of both networks and of all streams.
            generator = np.random.default_rng([execution.seed, batch.first])
            return rows_of(where, tensor, picked, generator)

        taken = [rows(w, t[w.tensor]) for (_, w), t in zip(both, tensors, strict=True)]
        for name, (stream, stays) in streams.items():
            before, after = (rows(stream, t[name]) for t in tensors)
            taken.append(before[:, stays] - after)
        return taken

    size = batch_size(model.graph, execution.memory, model.batch)
    parts = [*execution.runner.map(run.data, size, rows_of_both, "refit in sequence")]
    whole = [np.concatenate(each) for each in zip(*parts, strict=True)]
    example = np.arange(run.data.examples).repeat(len(whole[0]) // run.data.examples)
    apart = run.data.examples >= 2 * VALIDATION_SHARE
    held = apart & (example % VALIDATION_SHARE == VALIDATION_SHARE - 1)
    return _Sample(whole[0], whole[1], held, dict(zip(streams, whole[2:], strict=True)))


def _thin(source: ConsumerInput, positions: int) -> ConsumerInput:
    """Return a source with fewer positions on its axis."""
    sizes = list(source.shape)
    sizes[source.axis - 1] = positions
    return replace(source, shape=tuple(sizes))


def _streams(
    calibration: Calibration, plan: Plan, fits: Sequence[Fit]
) -> dict[str, tuple[ConsumerInput, NDArray[np.bool_]]]:
    """Return the streams that nodes are added to: where rows come from, and which units stay.

    Rows of a stream are one for each row of the node, so transposed convolutions have none.
    """
    stays = group_flags(calibration, plan.keep)
    whole = {
        linear_consumer.consumer.node: linear_consumer
        for linear_consumer in calibration.linear_consumers
    }
    found = {}
    for fit in fits:
        linear_consumer = whole[fit.linear_consumer.consumer.node]
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
        found[linear_consumer.residual_input] = (stream, stays[linear_consumer.output_groups])
    return found


def _picked(
    calibration: Calibration, source: ConsumerInput, thin: ConsumerInput, outputs: int
) -> int | None:
    """Return how many places of each example are taken: as memory allows, None for all."""
    run = calibration.run
    wanted = picked_of(thin, run.data.examples)
    each = 4 * (source.columns + thin.columns + 2 * outputs) * run.data.examples
    room = max(1, run.execution.memory // SHARE // each)
    most = places_of(source) if wanted is None else wanted
    return wanted if most <= room else room


def _refitted(fit: Fit, sample: _Sample, *, relu: bool) -> Fit:
    """Fit one node to what it made of the intact rows, from the narrow ones."""
    linear_consumer, has_bias_freedom = fit.linear_consumer, fit.bias is not None
    bias = linear_consumer.bias if has_bias_freedom else np.zeros_like(linear_consumer.bias)
    wanted = sample.baseline @ linear_consumer.matrix.astype(np.float32) + bias.astype(np.float32)
    lost = sample.lost.get(linear_consumer.residual_input or "")
    if lost is not None:
        wanted += lost / np.where(
            np.abs(linear_consumer.output_scale) < LEAST, np.inf, linear_consumer.output_scale
        )
    ridge = fit.ridge
    if sample.validation.any():
        seen = _Products(sample.narrow[~sample.validation], has_bias_freedom=has_bias_freedom)
        found = list(seen.solutions(wanted[~sample.validation], FIRM, fit.matrix))
        errors = [
            float(
                ((sample.narrow[sample.validation] @ m + b - wanted[sample.validation]) ** 2).sum()
            )
            for m, b in found
        ]
        ridge = FIRM[int(np.argmin(errors))]
    products = _Products(sample.narrow, has_bias_freedom=has_bias_freedom)
    (matrix, offset), *_ = products.solutions(wanted, (ridge,), fit.matrix)
    for _ in range(ROUNDS if relu and has_bias_freedom else 0):
        guess = sample.narrow @ matrix.astype(np.float32) + offset.astype(np.float32)
        moved = np.where(wanted < 0, np.minimum(guess, 0), wanted)
        (matrix, offset), *_ = products.solutions(moved, (ridge,), fit.matrix)
    return replace(fit, matrix=matrix, bias=offset if has_bias_freedom else None, ridge=ridge)


class _Products:
    """The covariance of rows, and what is solved by it."""

    def __init__(self, rows: Rows, *, has_bias_freedom: bool) -> None:
        self._mean = rows.mean(axis=0, dtype=np.float64) * has_bias_freedom
        # With few rows directions that no row has are told from others by rounding alone.
        kind = np.float64 if len(rows) < FLAT * rows.shape[1] else np.float32
        self._about = (rows - self._mean.astype(np.float32)).astype(kind)
        self._covariance = (self._about.T @ self._about).astype(np.float64) / len(rows)
        self._has_bias_freedom = has_bias_freedom

    def solutions(
        self, targets: Rows, strengths: tuple[float, ...], original: Array
    ) -> Iterator[tuple[Array, Array]]:
        """Return matrix and bias for each strength of the ridge, which pulls towards a matrix."""
        mean = targets.mean(axis=0, dtype=np.float64) * self._has_bias_freedom
        about = (targets - mean.astype(np.float32)).astype(self._about.dtype)
        cross = (self._about.T @ about).astype(np.float64) / len(targets)
        all_of_them = np.ones(len(cross), np.bool_)
        for strength in strengths:
            matrix = solve(self._covariance, all_of_them, strength, cross, original)
            yield matrix, mean - self._mean @ matrix
