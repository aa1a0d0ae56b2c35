"""Refit with the nonlinearity in sight: where the original output is cut off, any negative will do.

Least squares on outputs before a ReLU spends effort on numbers that the ReLU sets to zero.  So
targets are moved and refitted, round by round: where the original is negative, the target is what
the refitted node gives, or zero if that is positive.  Each round can only lessen the squared error
behind the ReLU that the moved targets bound.

Source: alternating least squares for a one-sided loss, as in nonlinear response reconstruction,
Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection",
IEEE TPAMI 38(10), 2016, with the auxiliary variable solved for exactly.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from frivkit.compression.calibration import Calibration
from frivkit.compression.linear_consumers import sources_of
from frivkit.compression.patch_moments import PatchMoments, PatchReader, chunks_of
from frivkit.compression.ridge import Fit, solve
from frivkit.graph.names import node_label
from frivkit.runtime.memory import batch_size

ROUNDS = 4
"""How often targets are moved; more rounds change little."""


def refit_in_rounds(calibration: Calibration, fits: Sequence[Fit]) -> tuple[Fit, ...]:
    """Refit those nodes whose outputs go into a ReLU; the others stay as they are.

    Takes ``ROUNDS`` passes over the data.

    Args:
        calibration: The original model, and what the data tell of it.
        fits: What was fitted to outputs as they are.
    """
    model, patch_moments, run = calibration.model, calibration.patch_moments, calibration.run
    data = run.data
    nodes = {node_label(node): node for node in model.graph}
    cut = [
        i
        for i, each in enumerate(fits)
        if each.bias is not None
        and not patch_moments[each.linear_consumer.source].per_channel
        and into_relu(nodes[each.linear_consumer.consumer.node], each)
    ]
    found = list(fits)
    if not cut:
        return tuple(found)
    sources = sources_of([fits[i].linear_consumer for i in cut])
    execution = run.execution
    patches = PatchReader(model, sources, execution.placement)
    size = batch_size(model.graph, execution.memory, model.batch)
    for number in range(ROUNDS):
        crosses = {i: _Cross(found[i], patch_moments[found[i].linear_consumer.source]) for i in cut}
        what = f"refit, round {number + 1}"
        for first, tensors in execution.runner.map(data, size, patches.of_batch, what):
            for source in sources:
                mine = [c for i, c in crosses.items() if found[i].linear_consumer.source == source]
                for _, _, rows in chunks_of(
                    source, tensors[source.tensor], data, execution.seed, first
                ):
                    for cross in mine:
                        cross.add(rows)
        for i, cross in crosses.items():
            found[i] = cross.solved()
    return tuple(found)


class _Cross:
    """Products of what a node reads with moved targets, in the making."""

    def __init__(self, fit: Fit, patch_moments: PatchMoments) -> None:
        self._fit, self._sums = fit, patch_moments
        linear_consumer = fit.linear_consumer
        self._shift = patch_moments.fitted.shift[fit.columns].astype(np.float32)
        self._matrices = [m.astype(np.float32) for m in (linear_consumer.matrix, fit.matrix)]
        bias = linear_consumer.bias if fit.bias is None else fit.bias
        self._biases = [linear_consumer.bias.astype(np.float32), bias.astype(np.float32)]
        self._products = np.zeros(fit.matrix.shape)
        self._targets = np.zeros(fit.matrix.shape[1])
        self._count = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add rows, all columns of them."""
        mine = rows[:, self._fit.columns]
        output = rows @ self._matrices[0] + self._biases[0]
        guess = mine @ self._matrices[1] + self._biases[1]
        target = np.where(output < 0, np.minimum(guess, 0), output)
        self._products += (mine - self._shift).T @ target
        self._targets += target.sum(axis=0, dtype=np.float64)
        self._count += len(rows)

    def solved(self) -> Fit:
        """Solve for the matrix and the bias."""
        fit, whole = self._fit, self._sums.whole
        mean, covariance = whole.mean, whole.covariance
        target = self._targets / self._count
        step = mean[fit.columns] - self._shift
        cross = self._products / self._count - np.outer(step, target)
        matrix = solve(covariance, fit.columns, fit.ridge, cross, fit.linear_consumer.matrix)
        return replace(fit, matrix=matrix, bias=target - mean[fit.columns] @ matrix)


def into_relu(node: ir.Node, fit: Fit) -> bool:
    """Whether a node's outputs, its bias included, go into a ReLU and nowhere else."""
    value, bias = node.outputs[0], fit.linear_consumer.consumer.bias
    for _ in range(2):
        uses = list(value.uses())
        if len(uses) != 1 or value.is_graph_output():
            return False
        reader = uses[0].node
        if reader.op_type == "Relu":
            return True
        names = {other.name for other in reader.inputs if other is not None}
        if node.op_type != "MatMul" or bias not in names:
            return False
        value = reader.outputs[0]
    return False
