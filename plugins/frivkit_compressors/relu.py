"""Refit nodes before a ReLU: any negative output will do if the original output is negative.

Least squares on outputs before a ReLU spends effort on numbers that the ReLU sets to zero.  So
targets are moved and refitted, round by round: if the original is negative, the target is the
output of the refitted node, or zero if that is positive.  The moved targets bound the squared error
behind the ReLU, and no round raises that bound.

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
from frivkit.compression.linear_consumers import distinct_sources
from frivkit.compression.patch_moments import PatchMoments, PatchReader, reading_batch
from frivkit.compression.patch_rows import row_chunks
from frivkit.compression.ridge import Fit, solve
from frivkit.graph.names import node_label

ROUNDS = 4
"""The number of rounds; more change little."""


def refit_before_relu(calibration: Calibration, fits: Sequence[Fit]) -> tuple[Fit, ...]:
    """Refit the nodes whose outputs go into a ReLU, and return the other fits unchanged.

    Takes ``ROUNDS`` passes over the data.

    Args:
        calibration: The original model and its statistics.
        fits: The ridge fits to the original outputs.
    """
    model, patch_moments, run = calibration.model, calibration.patch_moments, calibration.run
    data = run.data
    nodes = {node_label(node): node for node in model.graph}
    before_relu = [
        i
        for i, each in enumerate(fits)
        if each.bias is not None
        and each.linear_consumer.shared is None  # its weight is fitted to other nodes, too
        and not patch_moments[each.linear_consumer.source].per_channel
        and into_relu(nodes[each.linear_consumer.consumer.node], each)
    ]
    refitted = list(fits)
    if not before_relu:
        return tuple(refitted)
    sources = distinct_sources([fits[i].linear_consumer for i in before_relu])
    execution = run.execution
    reader = PatchReader(model, sources, execution.placement)
    size = reading_batch(model, [source.tensor for source in sources], execution)
    for number in range(ROUNDS):
        sums = {
            i: _CrossProducts(refitted[i], patch_moments[refitted[i].linear_consumer.source])
            for i in before_relu
        }
        task = f"refit, round {number + 1}"
        for first, tensors in execution.runner.map(data, size, reader.of_batch, task):
            for source in sources:
                mine = [s for i, s in sums.items() if refitted[i].linear_consumer.source == source]
                tensor = tensors[source.tensor]
                for _, _, rows in row_chunks(source, tensor, data, execution.seed, first):
                    for products in mine:
                        products.add(rows)
        for i, products in sums.items():
            refitted[i] = products.solved()
    return tuple(refitted)


class _CrossProducts:
    """Accumulates products of a node's inputs with its moved targets."""

    def __init__(self, fit: Fit, patch_moments: PatchMoments) -> None:
        self._fit, self._moments = fit, patch_moments
        linear_consumer = fit.linear_consumer
        self._shift = patch_moments.parts[0].shift[fit.columns].astype(np.float32)
        self._matrices = [m.astype(np.float32) for m in (linear_consumer.matrix, fit.matrix)]
        bias = linear_consumer.bias if fit.bias is None else fit.bias
        self._biases = [linear_consumer.bias.astype(np.float32), bias.astype(np.float32)]
        self._products = np.zeros(fit.matrix.shape)
        self._targets = np.zeros(fit.matrix.shape[1])
        self._count = 0

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add rows, with all columns, shape (n, columns)."""
        kept = rows[:, self._fit.columns]
        output = rows @ self._matrices[0] + self._biases[0]
        refitted = kept @ self._matrices[1] + self._biases[1]
        target = np.where(output < 0, np.minimum(refitted, 0), output)
        self._products += (kept - self._shift).T @ target
        self._targets += target.sum(axis=0, dtype=np.float64)
        self._count += len(rows)

    def solved(self) -> Fit:
        """Return the fit to the moved targets."""
        fit, whole = self._fit, self._moments.whole
        mean, covariance = whole.mean, whole.covariance
        target = self._targets / self._count
        shift = mean[fit.columns] - self._shift
        cross = self._products / self._count - np.outer(shift, target)
        matrix = solve(covariance, fit.columns, fit.ridge, cross, fit.linear_consumer.matrix)
        return replace(fit, matrix=matrix, bias=target - mean[fit.columns] @ matrix)


def into_relu(node: ir.Node, fit: Fit) -> bool:
    """Whether a node's outputs, its bias included, go into a ReLU and nowhere else."""
    value, bias = node.outputs[0], fit.linear_consumer.consumer.bias
    for _ in range(2):
        uses = list(value.uses())
        if len(uses) != 1 or value.is_graph_output():
            return False
        consumer = uses[0].node
        if consumer.op_type == "Relu":
            return True
        names = {other.name for other in consumer.inputs if other is not None}
        if node.op_type != "MatMul" or bias not in names:
            return False
        value = consumer.outputs[0]
    return False
