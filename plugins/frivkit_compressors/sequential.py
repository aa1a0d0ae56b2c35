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
from frivkit.compression.linear_consumers import Array, Source
from frivkit.compression.patch_moments import FLAT, HELD_OUT, Patches, picked_of, places_of, rows_of
from frivkit.compression.plan import Plan, fitted, group_flags, thinned
from frivkit.compression.ridge import STRENGTHS, Fit, solve
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
    fits = sorted(fitted(calibration, plan), key=lambda fit: place[fit.reading.consumer.node])
    nodes = {node_label(node): node for node in model.graph}
    sources = [
        source
        for source in dict.fromkeys(fit.reading.source for fit in fits)
        if not calibration.sums[source].channels
    ]
    calibration = _on_enough(calibration, len(sources))
    for source in sources:
        mine = [i for i, fit in enumerate(fits) if fit.reading.source == source]
        sample = _gathered(calibration, replace(plan, fits=tuple(fits)), source, mine)
        for i in mine:
            relu = into_relu(nodes[fits[i].reading.consumer.node], fits[i])
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
        intact: As the intact network has them, shape (rows, columns).
        narrow: As the narrowed one has them, shape (rows, columns that stay).
        held: Whether a row's example is kept apart, shape (rows,).
        lost: By the name of a stream what it lost at each place, shape (rows, units that stay).
    """

    intact: Rows
    narrow: Rows
    held: NDArray[np.bool_]
    lost: Mapping[str, Rows]


def _gathered(calibration: Calibration, plan: Plan, source: Source, mine: Sequence[int]) -> _Sample:
    """Run both networks and take rows."""
    model, run = calibration.model, calibration.run
    fits = [plan.fits[i] for i in mine]
    narrow = replace(model, ir=thinned(calibration, plan))
    thin = _thin(source, int(fits[0].columns.sum()) // source.taps)
    streams = _streams(calibration, plan, fits)
    picked = _picked(calibration, source, thin, sum(fit.matrix.shape[1] for fit in fits))
    both = [
        (Patches(each, [where], run.device, tuple(streams)), where)
        for each, where in ((model, source), (narrow, thin))
    ]
    batch = batch_size(model.graph, run.memory, model.batch)
    run.progress.start("refit in sequence", run.data.examples)
    parts: list[list[Rows]] = []
    for first in range(0, run.data.examples, batch):
        inputs = run.data.read(first, min(first + batch, run.data.examples)).inputs
        tensors = [patches.tensors(inputs) for patches, _ in both]

        def rows(where: Source, tensor: NDArray[Any], start: int = first) -> Rows:
            generator = np.random.default_rng([run.seed, start])  # the same places of all
            return rows_of(where, tensor, picked, generator)

        found = [rows(w, t[w.tensor]) for (_, w), t in zip(both, tensors, strict=True)]
        for name, (stream, stays) in streams.items():
            before, after = (rows(stream, t[name]) for t in tensors)
            found.append(before[:, stays] - after)
        parts.append(found)
        run.progress.advance(len(next(iter(inputs.values()))))
    run.progress.finish()
    whole = [np.concatenate(each) for each in zip(*parts, strict=True)]
    example = np.arange(run.data.examples).repeat(len(whole[0]) // run.data.examples)
    apart = run.data.examples >= 2 * HELD_OUT
    held = apart & (example % HELD_OUT == HELD_OUT - 1)
    return _Sample(whole[0], whole[1], held, dict(zip(streams, whole[2:], strict=True)))


def _thin(source: Source, positions: int) -> Source:
    """Give a source with fewer positions on its axis."""
    sizes = list(source.shape)
    sizes[source.axis - 1] = positions
    return replace(source, shape=tuple(sizes))


def _streams(
    calibration: Calibration, plan: Plan, fits: Sequence[Fit]
) -> dict[str, tuple[Source, NDArray[np.bool_]]]:
    """Give the streams that nodes are added to: where rows come from, and which units stay.

    Rows of a stream are one for each row of the node, so transposed convolutions have none.
    """
    stays = group_flags(calibration, plan.keep)
    whole = {reading.consumer.node: reading for reading in calibration.readings}
    found = {}
    for fit in fits:
        reading = whole[fit.reading.consumer.node]
        if reading.beside is None or fit.bias is None or reading.consumer.op == "ConvTranspose":
            continue
        axis = reading.source.axis if reading.consumer.op == "MatMul" else 1
        stream = Source(reading.beside, axis, None, (len(reading.made),), 1)
        found[reading.beside] = (stream, stays[reading.made])
    return found


def _picked(calibration: Calibration, source: Source, thin: Source, outputs: int) -> int | None:
    """Give how many places of each example are taken: as memory allows, None for all."""
    run = calibration.run
    wanted = picked_of(thin, run.data.examples)
    each = 4 * (source.columns + thin.columns + 2 * outputs) * run.data.examples
    room = max(1, run.memory // SHARE // each)
    most = places_of(source) if wanted is None else wanted
    return wanted if most <= room else room


def _refitted(fit: Fit, sample: _Sample, *, relu: bool) -> Fit:
    """Fit one node to what it made of the intact rows, from the narrow ones."""
    reading, centred = fit.reading, fit.bias is not None
    bias = reading.bias if centred else np.zeros_like(reading.bias)
    wanted = sample.intact @ reading.matrix.astype(np.float32) + bias.astype(np.float32)
    lost = sample.lost.get(reading.beside or "")
    if lost is not None:
        wanted += lost / np.where(np.abs(reading.gain) < LEAST, np.inf, reading.gain)
    ridge = fit.ridge
    if sample.held.any():
        seen = _Products(sample.narrow[~sample.held], centred=centred)
        found = list(seen.solutions(wanted[~sample.held], FIRM, fit.matrix))
        errors = [
            float(((sample.narrow[sample.held] @ m + b - wanted[sample.held]) ** 2).sum())
            for m, b in found
        ]
        ridge = FIRM[int(np.argmin(errors))]
    products = _Products(sample.narrow, centred=centred)
    (matrix, offset), *_ = products.solutions(wanted, (ridge,), fit.matrix)
    for _ in range(ROUNDS if relu and centred else 0):
        guess = sample.narrow @ matrix.astype(np.float32) + offset.astype(np.float32)
        moved = np.where(wanted < 0, np.minimum(guess, 0), wanted)
        (matrix, offset), *_ = products.solutions(moved, (ridge,), fit.matrix)
    return replace(fit, matrix=matrix, bias=offset if centred else None, ridge=ridge)


class _Products:
    """The covariance of rows, and what is solved by it."""

    def __init__(self, rows: Rows, *, centred: bool) -> None:
        self._mean = rows.mean(axis=0, dtype=np.float64) * centred
        # With few rows directions that no row has are told from others by rounding alone.
        kind = np.float64 if len(rows) < FLAT * rows.shape[1] else np.float32
        self._about = (rows - self._mean.astype(np.float32)).astype(kind)
        self._covariance = (self._about.T @ self._about).astype(np.float64) / len(rows)
        self._centred = centred

    def solutions(
        self, targets: Rows, strengths: tuple[float, ...], original: Array
    ) -> Iterator[tuple[Array, Array]]:
        """Give matrix and bias for each strength of the ridge, which pulls towards a matrix."""
        mean = targets.mean(axis=0, dtype=np.float64) * self._centred
        about = (targets - mean.astype(np.float32)).astype(self._about.dtype)
        cross = (self._about.T @ about).astype(np.float64) / len(targets)
        all_of_them = np.ones(len(cross), np.bool_)
        for strength in strengths:
            matrix = solve(self._covariance, all_of_them, strength, cross, original)
            yield matrix, mean - self._mean @ matrix
