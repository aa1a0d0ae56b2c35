"""The keys of the networks of a sweep, and the rows that are written of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from frivkit.experiments.jobs import Row
from frivkit_sweep_mlp.measures import Measured
from frivkit_sweep_mlp.stack import Net, Stack

MEASUREMENTS = {
    "train accuracy": "train_accuracy",
    "validation accuracy": "validation_accuracy",
    "test accuracy": "test_accuracy",
    "prunability": "prunability",
    "redundancy": "redundancy",
}
COLUMNS = ("inputs", "examples", "optimiser", "width", "seed", "rate", "factor")
"""Columns of each row of a network of a stack, and of no other row."""


@dataclass(frozen=True, slots=True)
class Key:
    """The identity of a trained network in a sweep."""

    inputs: int
    examples: int
    optimiser: str
    width: float
    seed: int
    net: Net

    @classmethod
    def of(cls, row: Row) -> "Key | None":
        """Return the key of a row; None for rows of another planner."""
        if not all(column in row for column in COLUMNS):
            return None
        net = Net(row["rate"], row["factor"])
        grid = (row["inputs"], row["examples"], row["optimiser"], row["width"], row["seed"])
        return cls(*grid, net)


def keys(stack: Stack) -> list[Key]:
    """Return the keys of a stack's networks, in their order."""
    grid = (stack.inputs, stack.examples, stack.optimiser, stack.width, stack.seed)
    return [Key(*grid, net) for net in stack.nets]


def rows_of(stack: Stack, measured: Sequence[Measured]) -> list[Row]:
    """Return one row for each network and measurement.

    Args:
        stack: The networks.
        measured: The measurements of each, in their order.
    """
    return [
        {
            "inputs": stack.inputs,
            "examples": stack.examples,
            "optimiser": stack.optimiser,
            "width": stack.width,
            "units": stack.units,
            "seed": stack.seed,
            "rate": net.rate,
            "factor": net.factor,
            "measurement": measurement,
            "value": getattr(measurements, attribute),
        }
        for net, measurements in zip(stack.nets, measured, strict=True)
        for measurement, attribute in MEASUREMENTS.items()
    ]
