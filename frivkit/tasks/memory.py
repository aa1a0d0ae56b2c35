"""The bound on what is kept of the outputs of all examples."""

from typing import Any

from numpy.typing import NDArray

from frivkit.cache import format_size
from frivkit.errors import DataError

LEAST = 64 << 20
"""Bytes that predictions may take, however little memory activations get."""


def check_room(predictions: NDArray[Any], examples: int, memory: int, *, copies: int = 1) -> None:
    """Raise an error if the predictions of all examples would not fit into memory.

    Args:
        predictions: The predictions of some examples, shape (n, ...).
        examples: How many there are in all.
        memory: Bytes that activations may take; predictions may take as many, or ``LEAST``.
        copies: How many predictions of each example are kept.

    Raises:
        DataError: they would not.
    """
    needed = copies * predictions[:1].nbytes * examples
    if needed > max(memory, LEAST):
        raise DataError(
            f"the outputs for {examples:,} examples take {format_size(needed)} to compare, more "
            "than --memory allows; give fewer --examples, or more --memory"
        )
